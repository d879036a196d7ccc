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
    """Make train images that are also test images `unused`, and warn how many there are.

    For published lists: we may not correct them, but test images must not leak into training.
    """
    copies = shared_copies(table) & (table.split == "train")
    if not copies.any():
        return table
    names = first_ten(table.path[copies].tolist())
    warnings.warn(
        f"{copies.sum()} train images are, byte for byte, test images too; they are neither "
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


def hold_out_classes(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Keep the last `count` classes out of training; queries and database come only from them.

    Rows keep their place. Train images of these unseen classes become the `database`; test images
    of the others become `unused`. DSH_Analysis also holds out the last 5 % of the classes.
    """
    table = table.copy()
    unseen = table.label > table.label.max() - count
    table.loc[unseen & (table.split == "train"), "split"] = "database"
    table.loc[~unseen & (table.split == "test"), "split"] = "unused"
    return table
