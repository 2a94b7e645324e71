"""Runs compared with each other and with published numbers, as tables and as data."""
