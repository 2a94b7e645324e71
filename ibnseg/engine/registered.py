"""Imports all modules that register a loop, hook or optimizer wrapper, or what builds one: mmengine
imports this one if a config asks for such a type."""

import ibnseg.engine.checkpoint
import ibnseg.engine.logged
import ibnseg.engine.loops
import ibnseg.engine.precision
import ibnseg.engine.rates  # noqa: F401
