"""Suites: lists of trainings that one command runs, and continues."""
