"""The embedded data set: beetles, drawn by the kit."""
