"""Data sets through one door, readers of official layouts, archives from the internet."""
