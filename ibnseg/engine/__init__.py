"""Turns a config into a run: reads it, expands it, trains, tests and records the results."""
