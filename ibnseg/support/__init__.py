"""What every room uses: files, errors, progress bars, memory, the environment."""
