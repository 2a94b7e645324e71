"""Suites: lists of runs that one command works off."""
