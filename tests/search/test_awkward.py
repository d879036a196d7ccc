"""What people pass to an index, in every kind: (what, the call, the right value or the error)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fdhmfe import search
from fdhmfe.codes import Identity
from fdhmfe.search.index import CodeIndex

KINDS = ("numpy", "flat", "ivf", "hnsw", "postgres")
IDENTITY = Identity(12, "network-a", "birds")
ONES = np.ones((1, 12), np.int8)
WHOLE = "it must be a whole number of 1 or more"


def codes() -> np.ndarray:
    """Five codes: code i differs from the first in i bits."""
    made = np.ones((5, 12), np.int8)
    for i in range(5):
        made[i, :i] = -1
    return made


@pytest.fixture(params=KINDS)
def index(request, fresh) -> CodeIndex:
    """Items 0, 10, .. 40 at distances 0 to 4 of `ONES`."""
    return build(request.param, fresh, np.arange(5) * 10, codes())


def build(kind, fresh, ids, codes):
    return search.build(kind, IDENTITY, ids, codes, uri=fresh(kind))


FIRST_TWO = [[0, 10]]
SEARCHES = {
    "np.int64": (ONES, np.int64(2), FIRST_TWO),
    "np.uint8": (ONES, np.uint8(2), FIRST_TWO),
    "an array of no axes": (ONES, np.array(2), FIRST_TWO),
    "a tensor": (ONES, torch.tensor(2), FIRST_TWO),
    "more than there are": (ONES, 10**6, [[0, 10, 20, 30, 40]]),
    "far more than 64 bits can count": (ONES, 10**30, [[0, 10, 20, 30, 40]]),
    "true": (ONES, True, f"k is True; {WHOLE}"),
    "np.True_": (ONES, np.True_, WHOLE),
    "a float": (ONES, 2.0, rf"k is 2\.0; {WHOLE}"),
    "half": (ONES, 2.5, rf"k is 2\.5; {WHOLE}"),
    "np.float64": (ONES, np.float64(2), WHOLE),
    "nan": (ONES, float("nan"), "k is nan"),
    "zero": (ONES, 0, f"k is 0; {WHOLE}"),
    "negative": (ONES, -1, f"k is -1; {WHOLE}"),
    "a text": (ONES, "2", f"k is '2'; {WHOLE}"),
    "none": (ONES, None, f"k is None; {WHOLE}"),
    "a list of k": (ONES, [2], rf"k is \[2\]; {WHOLE}"),
    "no queries": (np.zeros((0, 12), np.int8), 2, []),
    "no queries, as a list": ([], 2, "codes must be numbers"),
    "a list": (ONES.tolist(), 2, FIRST_TWO),
    "a tensor of codes": (torch.ones(1, 12), 2, FIRST_TWO),
    "floats": (ONES.astype(float), 2, FIRST_TWO),
    "float16": (ONES.astype(np.float16), 2, FIRST_TWO),
    "int64": (ONES.astype(np.int64), 2, FIRST_TWO),
    "in Fortran's order": (np.asfortranarray(np.ones((3, 12), np.int8)), 2, FIRST_TWO * 3),
    "every other row": (np.ones((6, 12), np.int8)[::2], 2, FIRST_TWO * 3),
    "one code without its axis": (ONES[0], 2, "codes must be numbers"),
    "three axes": (ONES[None], 2, "codes must be numbers"),
    "booleans": (ONES > 0, 2, "codes must be numbers"),
    "texts": (ONES.astype(str), 2, "codes must be numbers"),
    "objects": (ONES.astype(object), 2, "codes must be numbers"),
    "none at all": (None, 2, "codes must be numbers"),
    "a ragged list": ([[1, 1], [1]], 2, "is not an array"),
    "0 and 1": (np.eye(12, dtype=int)[:1], 2, "codes must be -1 or"),
    "nan in a code": (np.full((1, 12), np.nan), 2, "is nan; codes must be"),
    "relaxed": (0.5 * ONES, 2, "is 0.5; codes must be"),
    "shorter": (ONES[:, :8], 2, "8 bits do not fit an index of 12 bits"),
    "longer": (np.ones((1, 16)), 2, "16 bits do not fit an index of 12 bits"),
    "packed": (np.zeros((1, 1), np.uint64), 2, "1 bits do not fit an index of 12 bits"),
    "no bits": (np.ones((1, 0)), 2, "codes must be numbers"),
}


@pytest.mark.parametrize("what", SEARCHES)
def test_a_search_answers_or_says_what_is_wrong(index, what):
    queries, k, right = SEARCHES[what]
    if isinstance(right, str):
        with pytest.raises(ValueError, match=right):
            index.search(queries, k)
        assert index.search(ONES, 1).ids.tolist() == [[0]], "it goes on answering"
        return
    hits = index.search(queries, k)
    assert hits.ids.tolist() == right
    assert hits.distances.tolist() == [[id_ // 10 for id_ in row] for row in right]
    assert hits.ids.dtype == np.int64 and hits.distances.dtype == np.int32
    if not right:
        assert hits.ids.shape == hits.distances.shape == (0, 2)


ADDS = {
    "nothing": (np.arange(0), np.zeros((0, 12), np.int8), 5),
    "nothing, as a list": ([], np.zeros((0, 12), np.int8), 5),
    "a list": ([50], ONES, 6),
    "uint8": (np.array([50], np.uint8), ONES, 6),
    "a tensor": (torch.tensor([50]), torch.ones(1, 12), 6),
    "the largest id": ([2**63 - 1], ONES, 6),
    "an id that it holds": ([40], ONES, 5),
    "one that it holds and a new one": ([40, 50], np.vstack([ONES, ONES]), 6),
    "all that it holds": (np.arange(5) * 10, codes(), 5),
    "the same id twice": ([50, 50], np.vstack([ONES, ONES]), "ids must ascend .* each once"),
    "beyond int64": (np.array([2**63], np.uint64), ONES, "ids must ascend from 0"),
    "beyond uint64": ([2**70], ONES, "ids must be 1 integers"),
    "negative": ([-1], ONES, "ids must ascend from 0"),
    "backwards": ([60, 50], np.vstack([ONES, ONES]), "ids must ascend"),
    "floats": ([50.0], ONES, "ids must be 1 integers, not float64"),
    "booleans": ([True], ONES, "ids must be 1 integers, not bool"),
    "texts": (["a.jpg"], ONES, "ids must be 1 integers"),
    "none": (None, ONES, "ids must be 1 integers"),
    "one number": (50, ONES, "ids must be 1 integers"),
    "a column": ([[50]], ONES, "ids must be 1 integers"),
    "too few": ([50], np.vstack([ONES, ONES]), "ids must be 2 integers"),
    "too many": ([50, 60], ONES, "ids must be 1 integers"),
    "no codes": ([50], np.zeros((0, 12), np.int8), "ids must be 0 integers"),
    "a number for codes": ([50], 1, "codes must be numbers"),
    "codes none": ([50], None, "codes must be numbers"),
    "a code without its axis": ([50], ONES[0], "codes must be numbers"),
    "other length": ([50], np.ones((1, 24)), "24 bits do not fit"),
    "not -1 or 1": ([50], 0 * ONES, "codes must be -1 or"),
}


@pytest.mark.parametrize("what", ADDS)
def test_an_add_adds_or_says_what_is_wrong_and_adds_nothing(index, what):
    ids, added, right = ADDS[what]
    if isinstance(right, str):
        with pytest.raises(ValueError, match=right):
            index.add(ids, added)
        right = 5
    else:
        index.add(ids, added)
    assert len(index) == right
    hits = index.search(ONES, 10)
    assert hits.ids.shape == (1, right)
    at_0 = [0] if right == 5 else [0, int(np.asarray(ids)[-1])]
    assert hits.ids[hits.distances == 0].tolist() == at_0, "what it held keeps its code"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [str, Path])
def test_an_empty_index_says_so_and_can_be_saved_and_filled(kind, place, fresh, tmp_path):
    index = build(kind, fresh, np.arange(0), ONES[:0])
    for _ in range(2):
        assert len(index) == 0
        for queries in (ONES, ONES[:0]):
            with pytest.raises(ValueError, match="the index is empty: add codes"):
                index.search(queries, 1)
        index.save(place(tmp_path / "saved"))
        index = search.load(place(tmp_path / "saved"), IDENTITY)
    index.add(np.arange(5), codes())
    assert index.search(ONES, 3).ids.tolist() == [[0, 1, 2]]
    index.save(place(tmp_path / "saved"))
    assert search.load(place(tmp_path / "saved"), IDENTITY).search(ONES, 1).ids.tolist() == [[0]]


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
@pytest.mark.parametrize("effort", [0, -1, 1.5, True, "8", None])
def test_an_effort_that_is_no_whole_number_is_named(kind, effort, fresh):
    index = build(kind, fresh, np.arange(5), codes())
    index.effort = effort
    with pytest.raises(ValueError, match=f"effort is {effort!r}; {WHOLE}"):
        index.search(ONES, 1)
    index.effort = np.int64(10**6)  # more than there is: all of it
    assert index.search(ONES, 5).ids.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("kind", [None, 7, "", "Flat", ["flat"]])
def test_a_kind_that_is_none_is_named(kind):
    with pytest.raises(ValueError, match=r"is not known.* Known: flat, hnsw, ivf, numpy, postgres"):
        search.build(kind, IDENTITY, np.arange(1), ONES)
