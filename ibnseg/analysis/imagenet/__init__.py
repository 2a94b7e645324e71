"""ImageNet errors of classifiers, and how they grow as the look of the images changes."""
