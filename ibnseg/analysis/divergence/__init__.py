"""Feature divergence: how far apart two sets of images are in each layer of a network."""
