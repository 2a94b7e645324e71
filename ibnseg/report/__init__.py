"""What leaves the house: runs, and published numbers, as tables and data."""
