"""Trained networks: found, loaded, and asked for predictions of images, folders and videos."""
