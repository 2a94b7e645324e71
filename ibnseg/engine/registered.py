"""Imports all modules that register a loop, hook or optimizer wrapper: mmengine imports this one if
a config asks for such a type."""

import ibnseg.engine.checkpoint
import ibnseg.engine.logged
import ibnseg.engine.loops
import ibnseg.engine.precision  # noqa: F401
