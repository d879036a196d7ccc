"""One contract over every back end, with NumPy's as the oracle."""

import json

import faiss
import numpy as np
import pytest

from fdhmfe import search
from fdhmfe.codes import Identity

KINDS = ("numpy", "flat", "ivf", "hnsw", "postgres")
EXACT = ("numpy", "flat", "postgres")
LENGTHS = (12, 48, 64, 100)


def identity(bits: int) -> Identity:
    return Identity(bits, model="network-a", data="birds")


def clustered(count: int, bits: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).choice(np.array([-1, 1], np.int8), (20, bits))
    flips = rng.choice(np.array([1, -1], np.int8), (count, bits), p=(0.9, 0.1))
    return centres[np.arange(count) % 20] * flips


def build(kind, fresh, ids, codes):
    return search.build(kind, identity(codes.shape[1]), ids, codes, uri=fresh(kind))


def oracle(queries, ids, codes, k):
    """Bit by bit: the k smallest by (distance, id)."""
    distances = (queries[:, None] != codes).sum(axis=2)
    order = [np.lexsort((ids, row))[:k] for row in distances]
    return ids[np.array(order)], np.take_along_axis(distances, np.array(order), axis=1)


def agrees(kind, hits, ids, distances):
    """Exact kinds equal the oracle, ties by id included."""
    assert hits.ids.dtype == np.int64 and hits.distances.dtype == np.int32
    if kind not in EXACT:
        found = [len(set(a) & set(b)) for a, b in zip(hits.ids, ids, strict=True)]
        assert sum(found) / ids.size > 0.5 and (hits.distances >= distances).all()
        return
    np.testing.assert_array_equal(hits.distances, distances)
    np.testing.assert_array_equal(hits.ids, ids)


@pytest.mark.parametrize("bits", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_built_added_to_saved_and_loaded_it_answers_like_the_oracle(kind, bits, fresh, tmp_path):
    codes, queries = clustered(1500, bits), clustered(30, bits, seed=1)
    ids = np.arange(1500) * 3 + 5  # not the places
    index = build(kind, fresh, ids[:900], codes[:900])
    index.add(ids[800:], codes[800:])  # a hundred of them for the second time
    assert len(index) == 1500
    expected = oracle(queries, ids, codes, k=40)
    agrees(kind, index.search(queries, 40), *expected)

    index.save(tmp_path / "saved")
    loaded = search.load(tmp_path / "saved", identity(bits))
    assert len(loaded) == 1500
    agrees(kind, loaded.search(queries, 40), *expected)
    loaded.add(np.array([9000]), queries[:1])
    assert loaded.search(queries[:1], 1).distances == 0
    assert len(loaded) == 1501


@pytest.mark.parametrize("kind", KINDS)
def test_more_neighbours_than_codes_gives_all_of_them_by_id_where_tied(kind, fresh):
    codes = np.ones((6, 12), np.int8)
    codes[3:, 0] = -1
    hits = build(kind, fresh, np.arange(6), codes).search(codes[:1], 10)
    assert hits.ids.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert hits.distances.tolist() == [[0, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("ids", "codes", "message"),
    [
        ([7], np.ones((1, 13)), "13 bits do not fit an index of 12 bits"),
        ([7], np.zeros((1, 12)), r"codes\[0, 0\] is 0.0; codes must be -1 or \+1"),
        ([8, 7], np.ones((2, 12)), "ids must ascend"),
        (np.array([8, 7], np.uint64), np.ones((2, 12)), "ids must ascend"),
        ([7.5], np.ones((1, 12)), "ids must be 1 integers"),
        ([-1], np.ones((1, 12)), "ids must ascend from 0"),
    ],
)
def test_what_cannot_be_added_is_refused_and_changes_nothing(kind, ids, codes, message, fresh):
    index = build(kind, fresh, np.arange(5), np.ones((5, 12), np.int8))
    with pytest.raises(ValueError, match=message):
        index.add(np.array(ids), codes)
    assert len(index) == 5
    with pytest.raises(ValueError, match="24 bits do not fit an index of 12 bits"):
        index.search(np.ones((1, 24), np.int8), 1)
    with pytest.raises(ValueError, match="k is 0"):
        index.search(np.ones((1, 12), np.int8), 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "other", [Identity(24, "network-a", "birds"), Identity(12, "b", "birds"), Identity(12, "b", "")]
)
def test_an_index_answers_for_its_own_identity_only(kind, other, fresh, tmp_path):
    build(kind, fresh, np.arange(5), np.ones((5, 12), np.int8)).save(tmp_path / "saved")
    with pytest.raises(ValueError, match="must not be compared"):
        search.load(tmp_path / "saved", other)
    with pytest.raises(ValueError, match="must not be compared"):
        codes = np.ones((1, other.bits), np.int8)
        search.build("flat", other, np.arange(1), codes).save(tmp_path / "saved")
    assert len(search.load(tmp_path / "saved", identity(12))) == 5


def test_saving_again_replaces_the_index_and_leaves_nothing_behind(fresh, tmp_path):
    index = build("flat", fresh, np.arange(500), clustered(500, 48))
    index.save(tmp_path / "saved")
    again = search.load(tmp_path / "saved", identity(48))  # maps the files that now go
    again.add(np.array([500]), clustered(1, 48))
    again.save(tmp_path / "saved")
    assert len(search.load(tmp_path / "saved", identity(48))) == 501
    assert len(list((tmp_path / "saved").glob("*.*"))) == 5  # three arrays, the header, its lock


def test_a_save_that_fails_keeps_the_saved_index(fresh, tmp_path, monkeypatch):
    index = build("ivf", fresh, np.arange(500), clustered(500, 48))
    index.save(tmp_path / "saved")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(faiss, "write_index_binary", full)
    with pytest.raises(OSError, match="No space"):
        index.save(tmp_path / "saved")
    assert len(search.load(tmp_path / "saved", identity(48))) == 500


def test_ids_out_of_order_are_refused_by_indexes_that_order_ties_by_place(fresh):
    index = build("flat", fresh, np.array([1, 9]), np.ones((2, 12), np.int8))
    with pytest.raises(ValueError, match="id 4 is new, but the index already holds 9"):
        index.add(np.array([4, 9]), np.ones((2, 12), np.int8))


def test_unknown_kind_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'flat'"):
        search.build("flatt", identity(12), np.arange(1), np.ones((1, 12)))
    with pytest.raises(ValueError, match="postgres needs a uri"):
        search.build("postgres", identity(12), np.arange(1), np.ones((1, 12)))


def test_a_saved_index_is_plain_to_read(fresh, tmp_path):
    build("flat", fresh, np.arange(5), np.ones((5, 12), np.int8)).save(tmp_path / "saved")
    header = json.loads((tmp_path / "saved" / "index.json").read_text())
    assert header["identity"] == {"bits": 12, "model": "network-a", "data": "birds"}
    assert (header["kind"], header["count"]) == ("flat", 5)
