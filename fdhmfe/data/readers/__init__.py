"""One reader per data set: its official layout becomes a table of images."""
