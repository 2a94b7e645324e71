"""Augmentations that change how training images look and leave their labels as they are."""
