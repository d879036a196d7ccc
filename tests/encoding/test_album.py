"""An album: searched, saved, read."""

import numpy as np
import pytest

from fdhmfe.codes import code_bytes
from fdhmfe.encoding.album import Album, load_album
from fdhmfe.encoding.trained import open_run
from fdhmfe.metrics import hamming_distance


@pytest.fixture
def run(folder_run):
    return open_run(folder_run)


def album_of(names: np.ndarray, codes: np.ndarray, bits: int) -> Album:
    return Album(names, codes, np.char.add("hash of ", names), bits, "no model of this run")


def test_search_is_hamming_distance_with_ties_in_order():
    rng = np.random.default_rng(0)
    codes, queries = (rng.choice([-1, 1], (count, 12)) for count in (40, 5))
    album = album_of(np.arange(40).astype(str), code_bytes(codes), 12)
    nearest, distances = album.search(code_bytes(queries), k=7)
    truth = hamming_distance(queries, codes)
    order = truth.argsort(axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(nearest, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(truth, order, axis=1))


def test_another_model_s_album_is_refused_and_left_alone(run, tmp_path):
    path = tmp_path / "album.npz"
    album_of(np.array(["a"]), np.zeros((1, 3), np.uint8), 20).save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="encoded by another model"):
        load_album(path, run)
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_album_is_named(run, tmp_path, share):
    path = tmp_path / "album.npz"
    album_of(np.array(["a"] * 50), np.zeros((50, 3), np.uint8), 20).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"album\.npz is no album or damaged"):
        load_album(path, run)
