"""What the notebooks share, and how they run headless."""
