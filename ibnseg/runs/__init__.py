"""Runs as data: the keys of a config, the recipe behind a number, a run's folder."""
