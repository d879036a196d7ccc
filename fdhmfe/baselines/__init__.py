"""Published methods beside ours: their networks, objectives, formulas and class codes."""
