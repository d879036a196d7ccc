"""From settings to a run, its results, and tables of many."""
