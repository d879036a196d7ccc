"""Exact search against brute force, bit by bit: random shapes, repeats, ties, k from 1 to N."""

import numpy as np
import pytest

from fdhmfe import search
from fdhmfe.codes import Identity
from fdhmfe.search import exact, folders

rng = np.random.default_rng(26)


def brute(queries, ids, codes, k):
    """Ids and distances of the k smallest by (distance, id)."""
    distances = (queries[:, None] != codes).sum(axis=2)
    order = np.array([np.lexsort((ids, row))[:k] for row in distances])
    return ids[order], np.take_along_axis(distances, order, axis=1)


def drawn(count: int, bits: int, distinct: int, flip: float, seed: int):
    """Repeating codes (N, K) under ids (N,) with gaps, and queries (100, K) near some of them."""
    own = np.random.default_rng(seed)
    some = own.choice(np.array([-1, 1], np.int8), (distinct, bits))
    # As with trained codes, a few are very frequent and most are rare.
    chosen = (distinct * own.random(count) ** 3).astype(int)
    near = some[own.integers(distinct, size=100)]
    queries = np.where(own.random(near.shape) < flip, -near, near)
    ids = np.sort(own.choice(10 * count, count, replace=False))
    return ids, some[chosen], queries


def same(hits, expected):
    np.testing.assert_array_equal(hits.ids, expected[0])
    np.testing.assert_array_equal(hits.distances, expected[1])
    assert hits.ids.dtype == np.int64 and hits.distances.dtype == np.int32


SHAPES = [
    (seed, int(bits), int(rng.integers(1, 400)), int(rng.integers(1, 200)), rng.choice([0, 0.1]))
    for seed, bits in enumerate([*range(1, 71), 127, 128, 129, 200])
]


@pytest.mark.parametrize(("seed", "bits", "count", "distinct", "flip"), SHAPES)
@pytest.mark.parametrize("kind", ["numpy", "flat"])
def test_random_shapes(kind, seed, bits, count, distinct, flip, tmp_path):
    ids, codes, queries = drawn(count, bits, distinct, flip, seed)
    identity = Identity(bits, "model", "data")
    index = search.build(kind, identity, ids[: count // 2], codes[: count // 2])
    index.add(ids[count // 2 :], codes[count // 2 :])
    for k in {1, 2, count // 2 + 1, count}:
        expected = brute(queries, ids, codes, k)
        same(index.search(queries, k), expected)
        same(index.search(queries[:1], k), [part[:1] for part in expected])
    if bits % 10 == 0:
        index.save(tmp_path)
        same(search.load(tmp_path, identity).search(queries, 7), brute(queries, ids, codes, 7))


@pytest.mark.parametrize("bits", [17, 20, 24])
@pytest.mark.parametrize("k", [1, 3, 100, 2000])
def test_rings_round_a_query_find_what_brute_force_finds(bits, k, monkeypatch):
    monkeypatch.setattr(exact, "SCAN", 0)  # so few codes would be scanned
    ids, codes, queries = drawn(6000, bits, 3000, 0.1, seed=bits)
    index = search.build("flat", Identity(bits, "", ""), ids, codes)
    same(index.search(queries, k), brute(queries, ids, codes, k))
    assert len(index.table.rings) > 1
    more = ids[-1] + 1 + np.arange(100)
    index.add(more, queries)  # the table must learn of them
    everything = np.concatenate([ids, more]), np.concatenate([codes, queries])
    same(index.search(queries, k), brute(queries, *everything, k))


@pytest.mark.parametrize("bits", [24, 23])
def test_many_codes_take_the_table_and_agree_with_a_scan(bits, monkeypatch):
    monkeypatch.setattr(exact, "SCAN", 2**16)  # else so few are scanned
    ids, codes, queries = drawn(200_000, bits, 150_000, 0.2, seed=bits)
    flat, plain = (
        search.build(kind, Identity(bits, "", ""), ids, codes) for kind in ("flat", "numpy")
    )
    same(flat.search(queries[:20], 100), plain.search(queries[:20], 100))
    assert flat.table is not None


def test_more_neighbours_than_faiss_has_room_for(monkeypatch):
    ids, codes, queries = drawn(3000, 48, 2000, 0.1, seed=0)
    index = search.build("flat", Identity(48, "", ""), ids, codes)
    monkeypatch.setattr(exact, "MEMORY", 1000)
    same(index.search(queries[:5], 2500), brute(queries[:5], ids, codes, 2500))


@pytest.mark.parametrize("kind", ["numpy", "flat", "ivf", "hnsw"])
def test_added_one_by_one_and_searched_between_it_is_what_is_built_at_once(kind):
    ids, codes, queries = drawn(60, 12, 30, 0.1, seed=3)
    index = search.build(kind, Identity(12, "", ""), ids[:1], codes[:1])
    for i in range(1, 60):
        index.add(ids[i : i + 1], codes[i : i + 1])
        assert index.search(codes[i : i + 1], 1).distances == 0
    assert len(index) == 60
    np.testing.assert_array_equal(
        index.search(queries, 60).distances, brute(queries, ids, codes, 60)[1]
    )


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
@pytest.mark.parametrize("bits", [12, 48, 100])
def test_no_item_at_distance_0_is_lost_where_codes_repeat(kind, bits):
    """200 items of one code, and 100 such codes: a graph over items finds one code's own alone."""
    own = np.random.default_rng(bits)
    centres = own.choice(np.array([-1, 1], np.int8), (100, bits))
    codes = np.repeat(centres, 200, axis=0)[own.permutation(20_000)]
    index = search.build(kind, Identity(bits, "", ""), np.arange(20_000), codes)
    hits, expected = index.search(centres, 200), brute(centres, np.arange(20_000), codes, 200)
    same(hits, expected)


def test_the_very_code_is_found_even_where_the_graph_misses_it():
    ids, codes, _ = drawn(5000, 48, 4000, 0.1, seed=1)
    index = search.build("hnsw", Identity(48, "", ""), ids, codes)
    index.effort = 1
    assert (index.search(codes, 1).distances == 0).all()
    assert (np.diff(index.search(codes[:200], 5).distances, axis=1) >= 0).all()


def test_a_saved_index_holds_each_code_once(tmp_path):
    codes = np.ones((1000, 12), np.int8)
    search.build("flat", Identity(12, "", ""), np.arange(1000), codes).save(tmp_path)
    header = folders.read_json(tmp_path / "index.json")
    held = {name: np.load(tmp_path / part["file"]) for name, part in header["files"].items()}
    assert held["codes.npy"].shape == (1, 1)
    assert held["starts.npy"].tolist() == [0, 1000]
    assert held["ids.npy"].tolist() == list(range(1000))
