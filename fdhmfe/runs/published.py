"""Numbers that others published, and ours beside them."""

import pandas as pd

from fdhmfe.config.methods import METHODS
from fdhmfe.runs.tables import SEEN
from fdhmfe.support.places import shipped


def read_published() -> pd.DataFrame:
    """Numbers that others published or logged, with protocol, database-code rule and source."""
    return pd.read_csv(shipped("results/paper/published_map.csv"))


def read_unseen() -> pd.DataFrame:
    """Numbers that others logged with a quarter of the classes never trained on."""
    return pd.read_csv(shipped("results/paper/unseen_map.csv"))


def in_print(title: str) -> pd.DataFrame:
    """The public harness's mAP on the data set of this title, of the methods that the kit has.

    Columns: database_codes, bits, method, published (0..1). Empty if nothing was published.
    """
    rows = read_published()
    rows = rows[(rows.dataset == title) & rows.protocol.str.startswith(SEEN)]
    rows = rows[rows.method.isin(printed_names().values())]
    rows = rows.assign(published=rows.map_percent / 100)
    return rows[["database_codes", "bits", "method", "published"]].reset_index(drop=True)


def printed_names() -> dict[str, str]:
    """The methods of the kit, and how published tables write their names."""
    return {name: method.title.replace("²", "2") for name, method in METHODS.items()}


def beside_published(table: pd.DataFrame, title: str) -> pd.DataFrame:
    """Our mAP and that of the public harness on the data set of this title, each with its place.

    Like stands with like: the same method, code length and rule for the database's codes, classes
    seen in training. Places count the methods in both. range: of our seeds; none for a single seed.
    Empty if nothing was published.
    """
    own = table[(table.metric == "mAP") & (table.ties == "expected") & (table.variant == "full")]
    keys = ["database_codes", "bits", "method"]
    seeds = own.assign(method=own.method.map(printed_names())).groupby(keys).value
    own = pd.DataFrame({"mAP": seeds.mean(), "range": seeds.max() - seeds.min()})
    own = own.assign(range=own["range"].where(seeds.count() > 1)).reset_index()
    both = own.merge(in_print(title), on=keys)
    for column, place in (("mAP", "place"), ("published", "published place")):
        both[place] = both.groupby(keys[:2])[column].rank(ascending=False).astype(int)
    return both


def turned_pairs(order: pd.DataFrame) -> pd.DataFrame:
    """The pairs of methods whose order is not the published one, from `beside_published`.

    Each row: the method that is better here, the one that is better in print, both gaps in mAP.
    clear: our gap is larger than the range over the seeds of both; with one seed, none is.
    """
    keys = ["database_codes", "bits"]
    pairs = order.merge(order, on=keys, suffixes=(" here", " in print"))
    here, published = (pairs[f"{n} here"] - pairs[f"{n} in print"] for n in ("mAP", "published"))
    ranges = pairs[["range here", "range in print"]]
    known = ranges.notna().all(axis=1)
    found = pairs[[*keys, "method here", "method in print"]].assign(
        **{"gap here": here, "gap in print": -published}, clear=known & (here > ranges.max(axis=1))
    )
    named = {"method here": "better here", "method in print": "better in print"}
    return found[(here > 0) & (published < 0)].rename(columns=named).reset_index(drop=True)
