"""A run to click through: as a widget, and as one page."""
