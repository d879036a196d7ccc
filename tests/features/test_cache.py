"""Views of an image, and stage features that are computed once."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import save_image, write_cub, write_folder
from PIL import Image

from fdhmfe.config.settings import load
from fdhmfe.data.dataset import DataError, Dataset
from fdhmfe.data.door import open_dataset
from fdhmfe.data.views import MEAN, STD, Preprocessing, load_views, view_image
from fdhmfe.features import cache
from fdhmfe.features.backbone import StageBackbone, stage_extractor
from fdhmfe.features.cache import BATCH, StageCache, cached_view
from fdhmfe.features.embedded import EmbeddedNet
from fdhmfe.runs.inputs import open_views

SIZE = 32
PRE = Preprocessing(SIZE)


@pytest.fixture(scope="module")
def backbone() -> StageBackbone:
    torch.manual_seed(0)
    return StageBackbone(stage_extractor(EmbeddedNet(3), 3, SIZE), 4, PRE).eval()


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    root = write_folder(tmp_path / "data", classes=3, per_class=26)
    return open_dataset(load("quick", dataset="folder", data_dir=str(root)))


@pytest.fixture
def image(tmp_path: Path) -> Image.Image:
    return Image.open(save_image(tmp_path / "bird.png", seed=0, size=(80, 60)))


def direct(dataset: Dataset, rows: np.ndarray, view: int, backbone: StageBackbone) -> list:
    """Tokens one image at a time, straight from the backbone."""
    with torch.inference_mode():
        each = [backbone(load_views(dataset, rows[[i]], view, PRE)) for i in range(len(rows))]
    return [torch.cat(stage) for stage in zip(*each, strict=True)]


@pytest.mark.parametrize("view", [0, 1, 2, 7])
def test_a_view_follows_from_its_number_and_the_seed(image, view):
    first = view_image(image, view, 5, PRE)
    np.random.seed(1)
    torch.manual_seed(1)
    assert torch.equal(first, view_image(image, view, 5, PRE))
    assert (first.shape, first.dtype) == ((3, SIZE, SIZE), torch.float32)


def test_views_differ(image):
    views = [view_image(image, view, 5, PRE) for view in range(8)]
    views += [view_image(image, 2, seed, PRE) for seed in (6, 7)]
    alike = [(i, j) for i in range(10) for j in range(i) if torch.equal(views[i], views[j])]
    assert alike == []


def test_view_1_is_the_mirror_of_view_0(image):
    assert torch.equal(view_image(image, 1, 5, PRE), view_image(image, 0, 9, PRE).flip(-1))


def test_view_0_is_the_whole_image():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    plain = view_image(Image.fromarray(pixels), 0, 0, Preprocessing(32))
    np.testing.assert_allclose(plain.permute(1, 2, 0), (pixels / 255 - MEAN) / STD, atol=1e-5)
    # Four flat blocks, twice as wide as high: each keeps its corner of the square.
    blocks = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones((64, 128), np.uint8))
    square = (
        view_image(Image.fromarray(blocks).convert("RGB"), 0, 0, Preprocessing(32))[0] * STD[0]
        + MEAN[0]
    )
    assert (square[4::24, 4::24] * 255).round().tolist() == [[0, 80], [160, 240]]


@pytest.mark.parametrize("size", [(300, 20), (20, 300), (3, 3), (1, 1)])
def test_long_and_tiny_images_have_views(size):
    for view in range(12):
        tensor = view_image(Image.new("RGB", size, (9, 90, 200)), view, 0, PRE)
        assert tensor.shape == (3, SIZE, SIZE)
        assert torch.isfinite(tensor).all()


def test_random_crops_are_mirrored_about_half_the_time():
    # left half black, right half white: the darker side tells
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, 20:] = 255
    views = [view_image(Image.fromarray(pixels), view, 0, PRE) for view in range(2, 102)]
    mirrored = sum(bool(v[..., : SIZE // 2].mean() > v[..., SIZE // 2 :].mean()) for v in views)
    assert 30 <= mirrored <= 70


def test_random_crop_follows_the_content_not_the_position(dataset):
    view = load_views(dataset, np.array([5]), 3, PRE)
    table = dataset.table.iloc[::-1].reset_index(drop=True)
    reverse = replace(dataset, table=table)
    again = load_views(reverse, np.array([len(table) - 6]), 3, PRE)
    assert torch.equal(view, again)


@pytest.mark.parametrize("view", [0, 3])
def test_cached_features_are_the_backbones_own(dataset, backbone, tmp_path, view):
    rows = dataset.rows("train")  # not the first rows of the table, and no whole batches
    assert len(rows) % BATCH
    features = cached_view(tmp_path / "view", dataset, rows, view, backbone)
    asked = rows[[17, 0, 38, 17]]  # any order, with repeats
    read = features.read(asked, 3)
    assert [x.shape for x in read] == [(4, 32, 4, 4), (4, 64, 4, 4), (4, 128, 2, 2)]
    assert {x.dtype for x in read} == {torch.float32}
    for stored, expected in zip(read, direct(dataset, asked, view, backbone), strict=True):
        torch.testing.assert_close(stored, expected, rtol=2e-3, atol=2e-3)


def test_a_finished_cache_is_read_without_the_images(dataset, backbone, tmp_path):
    rows = np.arange(10)
    first = cached_view(tmp_path / "view", dataset, rows, 0, backbone).read(rows, 3)
    shutil.rmtree(dataset.root)
    again = cached_view(tmp_path / "view", dataset, rows, 0, backbone).read(rows, 3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_interrupted_computation_resumes_and_equals_an_uninterrupted_one(
    dataset, backbone, tmp_path, monkeypatch
):
    monkeypatch.setattr(cache, "BATCH", 4)
    saved = 4 * cache.SAVE_EVERY  # images whose features are sure to survive
    rows = np.arange(len(dataset.table))
    whole = cached_view(tmp_path / "whole", dataset, rows, 2, backbone)
    first, later = (dataset.root / dataset.table.path.iat[row] for row in (0, saved + 10))
    good = {path: path.read_bytes() for path in (first, later)}

    later.write_bytes(good[later][:200])
    with pytest.raises(DataError, match=later.name):
        cached_view(tmp_path / "broken", dataset, rows, 2, backbone)
    assert not [
        path for path in tmp_path.glob("broken-*") if not path.name.endswith(("partial", "lock"))
    ]

    later.write_bytes(good[later])
    first.write_bytes(b"")  # saved: not needed again
    resumed = cached_view(tmp_path / "broken", dataset, rows, 2, backbone)
    assert resumed.rows.tolist() == whole.rows.tolist()
    for a, b in zip(resumed.stages, whole.stages, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_images_in_another_split_are_not_confused(tmp_path, backbone):
    root = write_cub(tmp_path / "cub", per_class=6)
    settings = dict(dataset="cub200", data_dir=str(root), image_size=SIZE, views=2)

    def training_view() -> tuple[Dataset, StageCache]:
        dataset = open_dataset(load("quick", **settings))
        rows = dataset.rows("train")
        return dataset, cached_view(tmp_path / "view-1", dataset, rows, 1, backbone)

    training_view()
    split = root / "train_test_split.txt"
    lines = split.read_text().splitlines()
    split.write_text("".join(f"{line[:-1]}{1 - int(line[-1])}\n" for line in lines))
    for _ in range(2):
        dataset, features = training_view()
        rows = dataset.rows("train")
        assert features.rows.tolist() == rows.tolist()
        expected = direct(dataset, rows, 1, backbone)[-1]
        torch.testing.assert_close(features.read(rows, 3)[-1], expected, rtol=2e-3, atol=2e-3)


def test_what_a_killed_computation_left_is_not_taken_for_another_split(
    dataset, backbone, tmp_path, monkeypatch
):
    monkeypatch.setattr(cache, "BATCH", 4)
    saved = 4 * cache.SAVE_EVERY
    rows = np.arange(len(dataset.table))
    broken = dataset.root / dataset.table.path.iat[saved + 10]
    good = broken.read_bytes()
    broken.write_bytes(good[:200])
    with pytest.raises(DataError, match=broken.name):
        cached_view(tmp_path / "view", dataset, rows, 2, backbone)

    broken.write_bytes(good)
    other = rows[1:]
    resumed = cached_view(tmp_path / "view", dataset, other, 2, backbone)
    fresh = cached_view(tmp_path / "fresh", dataset, other, 2, backbone)
    assert resumed.rows.tolist() == other.tolist()
    for a, b in zip(resumed.stages, fresh.stages, strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_views_leave_the_queries_out(own_cache, tmp_path, backbone):
    root = write_folder(tmp_path / "data", per_class=20)
    settings = dict(dataset="folder", data_dir=str(root), image_size=SIZE, grid=4, views=3)
    folders = set()
    for split in ("all-classes", "validation"):
        config = load("quick", protocol=split, **settings)
        dataset = open_dataset(config)
        views = open_views(config, dataset, backbone, "b")
        assert [len(view.rows) for view in views] == [60, 60, 30]
        official = ["train" in path for path in dataset.table.path.iloc[views[2].rows]]
        assert all(official)
        folders |= {path.name for path in own_cache.iterdir() if path.is_dir()}
    assert len(folders) == 1  # choosing settings on a validation split costs no new features
