"""A generator of street scenes: their layouts, their appearances, and datasets of them on disk."""
