"""A finished run to click through: a widget in Jupyter, or one HTML page."""
