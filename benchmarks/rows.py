"""What a benchmark measured, as a table."""

import csv
import os


def load_average():
    """Processes that want a core now, averaged over the last minute: what else the machine does."""
    return round(os.getloadavg()[0], 1)


def write_rows(path, rows):
    """Write rows (dicts with the keys of the first) as CSV, making the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
