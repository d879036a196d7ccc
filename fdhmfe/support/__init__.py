"""What every room may use: files, places, progress, processes."""
