"""Runs as data: the keys of a config, the recipe of a training, the folder of a run."""
