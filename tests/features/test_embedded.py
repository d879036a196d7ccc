"""The embedded backbone: what it learns to name, and that it is made once, the same each time."""

import math
from pathlib import Path

import pytest
import torch
from conftest import write_folder
from safetensors.torch import load_file, save_file

from fdhmfe.config.settings import Config, load
from fdhmfe.data.dataset import Dataset
from fdhmfe.data.door import open_dataset
from fdhmfe.features import embedded, weights
from fdhmfe.support.files import file_hash


@pytest.fixture
def config(tmp_path: Path) -> Config:
    root = write_folder(tmp_path / "images", classes=3, per_class=8)
    settings = dict(image_size=32, grid=4, views=2, embedded_epochs=1)
    return load("smoke", dataset="folder", data_dir=str(root), **settings)


@pytest.fixture
def dataset(config: Config) -> Dataset:
    return open_dataset(config)


def test_classes_are_the_targets_where_no_attributes_are_listed(dataset):
    assert embedded.class_targets(dataset).tolist() == [[0], [1], [2]]


def test_attributes_are_the_targets_where_they_are_listed(dataset):
    (dataset.root / "attributes.txt").write_text("1 red none\n2 blue none\n3 red spots\n")
    assert embedded.class_targets(dataset).tolist() == [[0, 0], [1, 0], [0, 1]]


def test_attribute_loss_by_hand():
    # One image, two attributes of two values: logits log 3 and 0 give 3/4 and 1/4.
    logits = torch.tensor([[math.log(3), 0.0, 0.0, 0.0]])
    loss = embedded.attribute_loss(logits, torch.tensor([[0, 1]]), [2, 2])
    first = -(0.95 * math.log(3 / 4) + 0.05 * math.log(1 / 4))  # smoothing 0.1 over two values
    assert loss.item() == pytest.approx(first + math.log(2))


def test_weights_are_trained_once_and_the_same_each_time(own_cache, config, dataset, tmp_path):
    path = weights.embedded_weights(dataset, config)
    first, made = file_hash(path), path.stat().st_mtime_ns
    assert weights.embedded_weights(dataset, config).stat().st_mtime_ns == made
    torch.manual_seed(99)
    weights.train(tmp_path / "again", dataset, config)
    assert file_hash(tmp_path / "again") == first


def test_the_weights_that_come_with_the_kit_are_those_that_profile_quick_would_train():
    made_by = (
        "they are of other code or settings: python -m fdhmfe.features.weights makes them anew"
    )
    assert weights.shipped_recipe() == weights.recipe(load("quick")), made_by


@pytest.mark.parametrize(
    "other", [dict(toy_train=5), dict(protocol="validation"), dict(embedded_epochs=1)]
)
def test_weights_of_other_images_or_epochs_are_not_taken(other):
    assert weights.shipped_recipe() != weights.recipe(load("quick", **other))


def test_the_frozen_network_gives_the_cached_stages(own_cache, config, dataset):
    backbone = weights.embedded_backbone(weights.embedded_weights(dataset, config), config)
    maps = backbone(torch.zeros(2, 3, 32, 32))
    assert [x.shape for x in maps] == [(2, 32, 4, 4), (2, 64, 4, 4), (2, 128, 2, 2)]
    assert not backbone.training


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: {k: v for k, v in state.items() if k[:10] != "classifier"}, ""),
        (lambda state: state | {"stages.0.0.0.weight": state["stages.0.0.0.weight"] / 0}, "broken"),
        (lambda state: {"fc.bias": torch.zeros(3)}, "do not fit embedded: 0 of the 40 tensors"),
        (None, "cannot be read: it is cut off or damaged"),
    ],
    ids=["no head", "infinite", "another network", "cut off"],
)
def test_weight_files_of_the_embedded_network(change, expected, tmp_path):
    config, file = load("quick"), tmp_path / "w.safetensors"
    if change:
        save_file(change(load_file(weights.SHIPPED)), file)
    else:
        file.write_bytes(weights.SHIPPED.read_bytes()[:-100])
    if expected:
        with pytest.raises(ValueError, match=rf"w\.safetensors .*{expected}"):
            weights.embedded_backbone(file, config)
        return
    images = torch.randn(2, 3, config.image_size, config.image_size)
    right, maps = (weights.embedded_backbone(f, config)(images) for f in (weights.SHIPPED, file))
    assert all(torch.equal(a, b) for a, b in zip(maps, right, strict=True))
