"""A folder of one's own: all of it is checked before any work, and all problems are listed at once.

`<root>/<class>/<image>`, at any depth below the class's folder, or the same below folders for
training and queries. What stops training is an error; what it can do without is left out, and said.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from fdhmfe.data.dataset import DataError, first_ten, shown
from fdhmfe.data.readers.contents import read_all
from fdhmfe.data.splits import half_split
from fdhmfe.data.tree import folders, read_tree

# Names of split folders, in lower case. Without test, val holds the queries; else it is left out.
SPLITS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
LAYOUT = "<class>/<image>, or {train,test}/<class>/<image>"


class Finding(NamedTuple):
    """One kind of problem: what it is, what to do, and which files or classes have it."""

    what: str
    todo: str
    names: list[str]
    fatal: bool = False

    def told(self, *, all_names: bool = False) -> str:
        """One line, with the first ten names; or all names, a line each."""
        names = f" {first_ten(self.names)}"
        if all_names:
            names = "".join(f"\n    {shown(name)}" for name in self.names)
        return f"{self.what} ({len(self.names)}; {self.todo}):{names}"


class Survey(NamedTuple):
    """A checked folder: what can be trained on, and what is wrong."""

    root: Path
    table: pd.DataFrame  # path, folder (the class's name), split, sha256: what can be used
    findings: list[Finding]

    @property
    def fatal(self) -> bool:
        return any(finding.fatal for finding in self.findings)

    def told(self, *, all_names: bool = False) -> str:
        """The report: what can be used, what stops training, what is left out."""
        sizes = ", ".join(f"{n} {split}" for split, n in self.table.split.value_counts().items())
        counts = f"{len(self.table)} pictures in {self.table.folder.nunique()} classes ({sizes})"
        lines = [f"{self.root} cannot be trained on:" if self.fatal else f"{self.root}: {counts}"]
        for fatal, title in ((True, ""), (False, "left out: ")):
            told = [f for f in self.findings if f.fatal == fatal]
            lines += [f"  {title}{f.told(all_names=all_names)}" for f in told]
        return "\n".join(lines)


def survey(root: Path) -> Survey:
    """Check a folder of classes for training. DataError if it is no folder, or its layout is none.

    Without split folders, half of each class (by content, so that copies stay together) is train.
    """
    table, unreadable, findings = read_pictures(root)
    if unreadable:
        names = [f"{name} ({why})" for name, why in unreadable.items()]
        findings.append(Finding("unreadable", "replace or remove them", names))
    findings += copies(table)
    official = bool(split_folders(root))
    if not official and len(table):
        table = table.assign(split=half_split(table.folder, table.sha256))
    table, poor = usable(table, class_folders(root), official=official)
    return Survey(root, table, [*too_few(root, table), *findings, *poor])


def read_pictures(root: Path) -> tuple[pd.DataFrame, dict[str, str], list[Finding]]:
    """The pictures of a folder of classes, each read and decoded.

    Returns a table with the columns path, folder, split and sha256, where split is "" without split
    folders; why others are unreadable; and what else is left out.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: name one that holds {LAYOUT}")
    tree = read_tree(root)
    rows, findings = placed(tree.pictures, split_folders(root))
    table = pd.DataFrame(rows, columns=["path", "folder", "split"])
    hashes, unreadable = read_all(root, table.path)
    table = table.assign(sha256=table.path.map(hashes))
    table = table[~table.path.isin(unreadable)].reset_index(drop=True)
    skipped = [Finding("skipped", why, names) for why, names in tree.by_reason().items()]
    return table, unreadable, findings + skipped


def split_folders(root: Path) -> dict[str, str]:
    """The folders for training and queries: name -> train, test or val; none in other layouts.

    In any case: train and test, or train and val. DataError if there is nothing but one of them.
    """
    found = folders(root)
    roles = {path.name: SPLITS[path.name.lower()] for path in found if path.name.lower() in SPLITS}
    kinds = set(roles.values())
    if "train" in kinds and kinds & {"test", "val"}:
        return roles
    if roles and len(roles) == len(found):
        raise DataError(
            f"{root} holds {', '.join(sorted(roles))}: expected folders train and test, or train "
            f"and val, of <class>/<image>; or {root}/<class>/<image> alone"
        )
    return {}


def placed(
    names: Iterable[str], roles: Mapping[str, str]
) -> tuple[list[tuple[str, str, str]], list[Finding]]:
    """Rows (path, class, split) of the pictures that are in a class, and the others as findings."""
    splits = dict(roles)
    for folder, role in roles.items():
        if role == "val":
            splits[folder] = "unused" if "test" in roles.values() else "test"
    depth, rows = int(bool(roles)), []
    outside: list[str] = []
    unused: list[str] = []
    no_class: list[str] = []
    for name in sorted(names, key=lambda name: name.split("/")):
        parts = name.split("/")
        split = splits.get(parts[0], "outside") if roles else ""
        if len(parts) == 1 or (len(parts) < depth + 2 and split != "outside"):
            no_class.append(name)
        elif split in ("unused", "outside"):
            (unused if split == "unused" else outside).append(name)
        else:
            rows.append((name, parts[depth], split))
    findings = [
        Finding("in no class's folder", f"put them in {LAYOUT}", no_class),
        Finding("outside the folders train and test", "move them", outside),
        Finding("for validation", "the queries are in test", unused),
    ]
    rows.sort(key=lambda row: row[2] == "test")  # those of train first
    return rows, [finding for finding in findings if finding.names]


def copies(table: pd.DataFrame) -> list[Finding]:
    """The same bytes in two classes, or for training and as a query."""
    found: list[Finding] = []
    for column, what, todo in (
        ("folder", "the same picture in two classes", "remove all but one of each"),
        ("split", "the same picture in train and test", "remove one: it would find itself"),
    ):
        twice = table[table.groupby("sha256")[column].transform("nunique") > 1]
        names = [" = ".join(group) for _, group in twice.groupby("sha256", sort=False).path]
        if names:
            found.append(Finding(what, todo, names, fatal=True))
    return found


def class_folders(root: Path) -> set[str]:
    """The names of all classes' folders, empty ones too."""
    roles = split_folders(root)
    parents = [root / name for name in roles if roles[name] != "val"] if roles else [root]
    return {folder.name for parent in parents for folder in folders(parent)}


def usable(
    table: pd.DataFrame, known: set[str], *, official: bool
) -> tuple[pd.DataFrame, list[Finding]]:
    """The rows of classes that have images to learn from and queries; the others as findings."""
    train, test = (set(table.folder[table.split == split]) for split in ("train", "test"))
    lonely = "classes without a query" if official else "classes of one picture, thus no query"
    lacking = [
        ("classes without a picture", "fill or remove them", known - train - test),
        (lonely, "add some to test" if official else "add another", train - test),
        ("classes of nothing but queries", "add some to train", test - train),
    ]
    findings = [Finding(what, todo, sorted(names)) for what, todo, names in lacking if names]
    return table[table.folder.isin(train & test)].reset_index(drop=True), findings


def too_few(root: Path, table: pd.DataFrame) -> list[Finding]:
    """A finding if fewer than two classes can be trained on."""
    names = sorted(set(table.folder))
    if len(names) > 1:
        return []
    todo = f"expected {LAYOUT}, with two classes or more of two pictures or more"
    if not names:
        todo += "; pictures without classes are for fdhmfe encode and search"
        return [Finding("no class to train on", todo, [str(root)], fatal=True)]
    if any(len(Path(path).parts) > 2 for path in table.path):
        todo += f"; if the folders in it are the classes, name {root / names[0]}"
    return [Finding("one class alone", todo, names, fatal=True)]
