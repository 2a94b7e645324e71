"""Looks into networks and images: where domains differ in a network, which appearances break it."""
