"""Finished runs opened again, and folders of images to hash codes."""
