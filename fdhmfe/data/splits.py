"""Which images are queries and which are database: rules that only change a table's `split`."""

import warnings

import numpy as np
import pandas as pd

from fdhmfe.data.dataset import first_ten


def half_split(labels: pd.Series, order: pd.Series) -> np.ndarray:
    """`train` for the first half of each class in the given order, `test` for the rest.

    Rows of equal order (copies) go to the same half.
    """
    rank = order.groupby(labels).rank(method="dense")
    half = rank.groupby(labels).transform("max") / 2
    return np.where(rank <= np.ceil(half), "train", "test")


def shared_copies(table: pd.DataFrame) -> pd.Series:
    """True for rows in use whose bytes occur in two splits: such a query would find itself."""
    used = table[table.split != "unused"]
    splits = table.sha256.map(used.groupby("sha256").split.nunique())
    return (splits > 1) & (table.split != "unused")


def set_aside_copies(table: pd.DataFrame) -> pd.DataFrame:
    """Make train images that are also in another split `unused`, and warn how many there are.

    For published lists: we may not correct them, but test images must not leak into training.
    """
    copies = shared_copies(table) & (table.split == "train")
    if not copies.any():
        return table
    names = first_ten(table.path[copies].tolist())
    warnings.warn(
        f"{copies.sum()} train images are, byte for byte, in another split too; they are neither "
        f"learnt from nor in the database: {names}",
        stacklevel=2,
    )
    return table.assign(split=table.split.mask(copies, "unused"))


def carve_validation(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """Make a share of each train class the queries, and the official queries `unused`.

    Rows keep their place.
    """
    table = table.copy()
    train = table.split == "train"
    rank = table[train].groupby("label").sha256.rank(method="dense", pct=True)
    table.loc[~train, "split"] = "unused"
    table.loc[rank.index[rank > 1 - share], "split"] = "test"
    return table


def leave_out_classes(table: pd.DataFrame, classes: np.ndarray) -> pd.DataFrame:
    """Make all images of the classes with these labels `unused`."""
    return table.assign(split=table.split.mask(table.label.isin(classes), "unused"))


def hold_out_classes(table: pd.DataFrame, unseen: np.ndarray) -> pd.DataFrame:
    """Keep the classes with these labels out of training: their train images become `database`.

    Their test images stay queries.
    """
    held = table.label.isin(unseen) & (table.split == "train")
    return table.assign(split=table.split.mask(held, "database"))


def half_classes(table: pd.DataFrame, classes: int) -> pd.DataFrame:
    """All images of the first half of the classes become `train`, those of the others `test`.

    Of an odd number of classes, the one in the middle is trained on. `unused` images stay so.
    Source of the custom: Song et al., "Deep metric learning via lifted structured feature
    embedding" (CVPR 2016).
    """
    split = pd.Series(np.where(table.label < -(-classes // 2), "train", "test"), table.index)
    return table.assign(split=split.mask(table.split == "unused", "unused"))


def seen_first(table: pd.DataFrame, classes: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Renumber the labels: the classes trained on, then the others in use, then the unused ones.

    Each group keeps its order. A network is built for labels 0 to the largest that it is trained
    on. Returns the table, and the old label of each new one: (classes,).
    """
    old = np.arange(classes)
    trained = np.isin(old, table.label[table.split == "train"])
    used = np.isin(old, table.label[table.split != "unused"])
    order = np.lexsort((~used, ~trained))  # the last key counts first; equal ones keep their order
    return table.assign(label=order.argsort()[table.label]), order
