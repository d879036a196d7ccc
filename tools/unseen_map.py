"""Write results/paper/unseen_map.csv anew from the training logs of aassxun/DSH_Analysis.

    git clone https://github.com/aassxun/DSH_Analysis && git -C DSH_Analysis checkout COMMIT
    python tools/unseen_map.py DSH_Analysis

It takes the runs on fine-grained data sets that hold out a quarter of the classes; results/paper/
README.md says what the columns mean.
"""

import argparse
import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

COMMIT = "44271bc7284ca4b75bc30b386cab1aad0702d852"
TARGET = Path(__file__).resolve().parents[1] / "results" / "paper" / "unseen_map.csv"
DATASETS = {
    "cub-2011-for-zero-shot": "CUB-200-2011",
    "aircraftzs": "FGVC-Aircraft",
    "food101zs": "Food-101",
    "nabirdszs": "NABirds",
    "stanforddogzs": "Stanford Dogs",
    "vegfruzs": "VegFru",
}
# What the logs call a method: its name, and where the codes of seen database images come from.
METHODS = {
    "a2net": ("A2-Net", "dcc"),
    "agmh": ("AGMH", "dcc"),
    "baseline": ("ADSH", "dcc"),
    "center": ("MDSH", "network"),
    "csq": ("CSQ", "network"),
    "dah": ("DAHNet*", "dcc"),
    "dah wocls": ("DAHNet--", "dcc"),
    "dcdh": ("DCDH", "network"),
    "dpah": ("DPAH", "network"),
    "dsh": ("DSH", "network"),
    "exchnet": ("ExchNet", "dcc"),
    "fish": ("FISH", "label"),
    "hashnet": ("HashNet", "network"),
    "ortho": ("OrthoHash", "network"),
    "psldh": ("PSLDH", "network"),
    "semicon": ("SEMICON", "dcc"),
}
SHARE = 0.25  # of the classes; data sets whose classes do not divide by four come near it
SETTINGS = re.compile(r"Namespace\((.*)\)")
SEEN = re.compile(
    r"\[iter:(\d+)/(\d+)\]\[code_length:(\d+)\]\[mAP:([\d.]+)\]\[mAP_all:([\d.]+)\]\[best"
)
UNSEEN = re.compile(
    r"\[iter:(\d+)/(\d+)\]\[code_length:(\d+)\]\[zs_mAP:([\d.]+)\]\[zs_mAP_all:([\d.]+)\]"
)
BEST = re.compile(
    r"\[code_length:(\d+)\]\[map:([\d.]+)\]\[map_all:([\d.]+)\]"
    r"\[zs_map:([\d.]+)\]\[zs_map_all:([\d.]+)\]"
)
PROTOCOLS = ("seen@seen", "seen@all", "unseen@unseen", "unseen@all")
Row = dict[str, str | int]


def percent(value: str) -> str:
    """A share as logged, in percent with the same digits: "0.82020" becomes "82.020"."""
    return f"{100 * float(value):.{len(value.split('.')[1]) - 2}f}"


def read_log(lines: Iterable[str], source: str) -> Iterator[Row]:
    """Four rows, one per protocol, for each code length that a log finished.

    Nothing if the log is of another data set or holds out more or fewer than a quarter of the
    classes. Raises ValueError if the last evaluation before a result is not of the last iteration.
    """
    settings: dict[str, str] = {}
    last: dict[str, tuple[int, re.Match[str]]] = {}
    for number, line in enumerate(lines, 1):
        if found := SETTINGS.search(line):  # a log may hold a run that was started again
            pairs = re.findall(r"(\w+)=('[^']*'|[^,]+)", found[1])
            settings = {name: value.strip("'") for name, value in pairs}
            last = {}
        elif found := SEEN.search(line):
            last["seen"] = number, found
        elif found := UNSEEN.search(line):
            last["unseen"] = number, found
        elif found := BEST.search(line):
            unseen, seen = int(settings["num_zs"]), int(settings["num_classes"])
            dataset = DATASETS.get(settings["dataset"])
            if dataset is None or abs(unseen / (seen + unseen) - SHARE) > 0.01:
                return
            bits, *best = found.groups()
            halves = [last["seen"], last["unseen"]]
            if any(half[1] != half[2] or half[3] != bits for _, half in halves):
                raise ValueError(f"{source}, line {number}: the last iteration was not evaluated")
            wocls = " wocls" if settings["info"].endswith("wocls") else ""
            method, codes = METHODS[settings["arch"] + wocls]
            for place, protocol in enumerate(PROTOCOLS):
                at, half = halves[place // 2]
                yield {
                    "dataset": dataset,
                    "protocol": f"{protocol} ({seen} of {seen + unseen} classes seen)",
                    "method": method,
                    "bits": int(bits),
                    "map_percent": percent(half[4 + place % 2]),
                    "best_percent": percent(best[place]),
                    "database_codes": "network" if protocol == "unseen@unseen" else codes,
                    "source": source,
                    "line": at,
                    "best_line": number,
                }


def main() -> None:
    """Read every log below the folder given and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a checkout of aassxun/DSH_Analysis")
    folder = parser.parse_args().folder
    rows: dict[tuple[str | int, ...], Row] = {}
    for path in sorted(folder.glob("logs/*/*/*.log"), reverse=True):  # three copies lie in Aircraft
        source = f"aassxun/DSH_Analysis@{COMMIT[:7]} {path.relative_to(folder).as_posix()}"
        with path.open(encoding="utf-8") as lines:
            for row in read_log(lines, source):
                key = tuple(row[name] for name in ("dataset", "protocol", "method", "bits"))
                numbers = ("map_percent", "best_percent", "line")
                if key in rows and any(row[name] != rows[key][name] for name in numbers):
                    raise ValueError(f"{source} and {rows[key]['source']} differ")
                rows.setdefault(key, row)
    with TARGET.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(next(iter(rows.values()))), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[key] for key in sorted(rows))
    print(f"{len(rows)} rows in {TARGET.name}")


if __name__ == "__main__":
    main()
