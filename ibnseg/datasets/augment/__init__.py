"""Changes of training images that leave their labels as they are."""
