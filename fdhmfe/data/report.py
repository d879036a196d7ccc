"""A report of one screen: is a data set what its owner published?"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from fdhmfe.data.dataset import DataError, Dataset, first_ten, open_image, open_mask
from fdhmfe.data.fetch.sources import SOURCES
from fdhmfe.data.fetch.verify import verify
from fdhmfe.data.tree import read_tree
from fdhmfe.support.progress import progress


def overview() -> pd.DataFrame:
    """The official data sets, one row each: published counts, and who fetches the archives."""
    splits = ["train", "test", "all"]
    rows = []
    for name, source in SOURCES.items():
        sizes = [source.sizes.get(split) for split in splits]
        fetched = "by hand" if source.by_hand else "by the kit"
        rows.append((name, source.title, source.classes, *sizes, fetched))
    table = pd.DataFrame(rows, columns=["dataset", "title", "classes", *splits, "fetched"])
    return table.set_index("dataset").astype(dict.fromkeys(splits, "Int64"))


def counts(dataset: Dataset) -> dict[str, tuple[int, int | None]]:
    """Images found and published, by split, and classes; None where no count is published."""
    published = SOURCES[dataset.name].sizes
    found = dataset.table.split.value_counts().to_dict()
    # Copies that were set aside are train images of the published list.
    found["train"] = found.get("train", 0) + found.pop("unused", 0)
    found["all"] = len(dataset.table)
    shown = ("all",) if "all" in published else ("train", "test")
    sizes = {split: (found.get(split, 0), published.get(split)) for split in shown}
    return {"classes": (len(dataset.classes), SOURCES[dataset.name].classes)} | sizes


def check_sizes(dataset: Dataset) -> None:
    """DataError if lists are swapped or there are more images than published; fewer are allowed."""
    if dataset.name not in SOURCES:
        return
    sizes = counts(dataset)
    train, test = (sizes.get(split, (0, None)) for split in ("train", "test"))
    if train[1] != test[1] and (train[0], test[0]) == (test[1], train[1]):
        raise DataError(
            f"{dataset.root}: the train and test lists are swapped (train has {train[0]:,} images, "
            f"published are {train[1]:,}): take the owner's own lists"
        )
    more = {name: pair for name, pair in sizes.items() if pair[1] and pair[0] > pair[1]}
    if more:
        facts = (f"{found:,} {name} against {known:,}" for name, (found, known) in more.items())
        raise DataError(
            f"{dataset.root} has more than {SOURCES[dataset.name].title} ({', '.join(facts)}): "
            "a data set of your own is dataset 'folder'"
        )


def is_subset(dataset: Dataset) -> bool:
    """True if some published image or class is not there."""
    return any(known and found < known for found, known in counts(dataset).values())


def classes_told(dataset: Dataset) -> str:
    """How many classes there are, for a caption: "100 of 200 classes" if more are published."""
    return of_published(dataset.name, len(dataset.classes))


def of_published(name: str, found: int) -> str:
    """`classes_told` of a data set's name and the number of its classes that are there."""
    known = SOURCES[name].classes if name in SOURCES else found
    return f"{found} of {known} classes" if found < known else f"{found} classes"


def describe(dataset: Dataset, folder: Path, *, decode: bool = False) -> str:
    """The report. `folder`: where archives are, if any; `decode` also reads every image and mask.

    Raises DataError naming the first ten unreadable files, and their count.
    """
    source, root = SOURCES[dataset.name], dataset.root.resolve()
    lines = [f"{source.title} ({dataset.name}) in {root}"]
    for name, (found, published) in counts(dataset).items():
        of = f"of {published:,} published" if published else "(no verified count is published)"
        lines.append(f"  {name:<10}{found:>7,} {of}")
    if copies := int((dataset.table.split == "unused").sum()):
        lines.append(f"  {'copies':<10}{copies:>7,} train images set aside: test images too")
    if extra := unlisted(dataset):
        lines.append(f"  {'unlisted':<10}{len(extra):>7,} on disk, in no list: {first_ten(extra)}")
    lines.append(f"  {'files':<10}{len(dataset.table):>7,} there, hashed; none in two splits")
    if decode:
        lines.append(f"  {'decoded':<10}{decode_all(dataset):>7,} images and masks, all readable")
        archives = [a for a in source.archives if (folder / a.name).exists()]
        lines += [f"  {a.name}: {verify(folder / a.name, a.checksum, a.size)}" for a in archives]
    lines.append(f"  {'hash':<10}{dataset.hash}")
    lines.append(f"  {'terms':<10}{source.terms}; {source.home}")
    lines.append(f"  {'use':<10}DATASET={dataset.name} DATA_DIR={root}")
    verdict = "a subset: usable, but its numbers do not compare with published ones"
    lines.append(f"  {'verdict':<10}{verdict if is_subset(dataset) else 'complete'}")
    return "\n".join(lines)


def unlisted(dataset: Dataset) -> list[str]:
    """Image files in the data set's folders that the table does not list, relative to the root."""
    listed = set(dataset.table.path) | set(dataset.table["mask"])
    tops = sorted({path.partition("/")[0] for path in dataset.table.path if "/" in path})
    found = (f"{top}/{name}" for top in tops for name in read_tree(dataset.root / top).pictures)
    return sorted(set(found) - listed)


def decode_all(dataset: Dataset) -> int:
    """Read every image and mask; return their number. DataError if some cannot be read."""
    jobs: list[tuple[Callable, str]] = [(open_image, name) for name in dataset.table.path]
    jobs += [(open_mask, name) for name in dataset.table["mask"] if name]

    def unreadable(job: tuple[Callable, str]) -> str | None:
        read, name = job
        try:
            read(dataset.root / name)
        except DataError:
            return name
        return None

    with ThreadPoolExecutor() as pool:
        results = progress(pool.map(unreadable, jobs), "reading images", total=len(jobs))
        bad = [name for name in results if name]
    if bad:
        raise DataError(f"{len(bad)} files below {dataset.root} are unreadable: {first_ten(bad)}")
    return len(jobs)
