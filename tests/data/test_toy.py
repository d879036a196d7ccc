"""The embedded data set: repeatable bytes, CUB's layout, siblings that differ only locally."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fdhmfe.data.toy.draw import PARTS, draw
from fdhmfe.data.toy.species import ATTRIBUTES, SPECIES, differences, write_tree

SMALL = {"classes": 2, "train_per_class": 2, "test_per_class": 1, "size": 64}


def generator(*key):
    return np.random.default_rng([0, *key])


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def lines(path):
    return [line.split() for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    write_tree(root, workers=1, **SMALL)
    return root


def test_species_are_eight_genera_of_six():
    assert len({s.name for s in SPECIES}) == 48
    genera = [s.genus.name for s in SPECIES]
    assert genera == sorted(genera, key=genera.index)
    assert {genera.count(g) for g in genera} == {6}


def test_each_species_differs_from_its_type_in_one_attribute():
    kinds = {name: 0 for name in ATTRIBUTES}
    for first in range(0, 48, 6):
        siblings = SPECIES[first : first + 6]
        for other in siblings[1:]:
            (name,) = differences(siblings[0], other)
            kinds[name] += 1
        assert all(differences(a, b) for a, b in combinations(siblings, 2))
    assert min(kinds.values()) > 0 and kinds["texture"] >= 10 and kinds["marking"] >= 10


def test_same_bytes_again_and_with_two_workers(tree, tmp_path):
    write_tree(tmp_path, workers=2, **SMALL)
    assert contents(tmp_path) == contents(tree)


def test_another_seed_gives_other_images(tree, tmp_path):
    write_tree(tmp_path, workers=1, seed=1, **SMALL)
    ours, theirs = contents(tree), contents(tmp_path)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] != theirs[name] for name in ours if name.endswith(".jpg"))


def test_a_smaller_set_is_part_of_a_larger_one(tree, tmp_path):
    write_tree(tmp_path, workers=1, **SMALL | {"classes": 1, "train_per_class": 1})
    ours, larger = contents(tmp_path), contents(tree)
    pictures = [name for name in ours if not name.endswith(".txt")]
    assert len(pictures) == 4 and all(ours[name] == larger[name] for name in pictures)


def test_layout_is_that_of_cub(tree):
    images, labels = lines(tree / "images.txt"), lines(tree / "image_class_labels.txt")
    splits = lines(tree / "train_test_split.txt")
    ids = [str(i) for i in range(1, 7)]
    assert [row[0] for row in images] == [row[0] for row in labels] == ids
    assert [row[1] for row in labels] == list("111222")
    assert [row[1] for row in splits] == list("110110")
    assert lines(tree / "classes.txt")[0] == ["1", "001.Carabella_striata"]
    for _, name in images:
        with Image.open(tree / "images" / name) as image:
            assert image.size == (64, 64) and image.mode == "RGB"
        with Image.open(tree / "segmentations" / name.replace(".jpg", ".png")) as mask:
            assert mask.mode == "L" and set(np.unique(mask)) == {0, 255}


def test_part_locations_parse(tree):
    names = lines(tree / "parts" / "parts.txt")
    assert names == [[str(i), name] for i, name in enumerate(PARTS, 1)]
    places = np.array(lines(tree / "parts" / "part_locs.txt"), float)
    assert places.shape == (6 * len(PARTS), 5)
    seen = places[:, 4] == 1
    assert seen.mean() > 0.7 and (places[seen, 2:4] < 64).all() and (places[~seen, 2:] == 0).all()


def test_progress_counts_every_image(tmp_path, capsys):
    write_tree(tmp_path, workers=1, **SMALL)
    assert "drawing beetles: 6/6" in capsys.readouterr().out


@pytest.mark.parametrize("classes", [0, 49])
def test_class_count_is_checked(tmp_path, classes):
    with pytest.raises(ValueError, match="between 1 and 48"):
        write_tree(tmp_path, classes=classes)


@pytest.mark.parametrize("size", [64, 128])
def test_mask_and_parts_agree(size):
    for label in range(0, 48, 5):
        image, mask, parts = draw(SPECIES[label], generator(label), size)
        assert image.shape == (size, size, 3) and image.dtype == mask.dtype == np.uint8
        assert parts.shape == (len(PARTS), 3)
        assert 0.06 < (mask == 255).mean() < 0.5
        wide = np.asarray(Image.fromarray(mask).filter(ImageFilter.MaxFilter(5)))
        for name in ("head", "pronotum", "elytra_left", "elytra_right", "foot_left_hind"):
            x, y, visible = parts[PARTS.index(name)]
            assert not visible or wide[int(y), int(x)] == 255, (label, name)


def test_left_is_left():
    for label in range(0, 48, 6):
        parts = draw(SPECIES[label], generator(label), 64).parts
        left, right = (parts[PARTS.index(f"elytra_{side}"), 0] for side in ("left", "right"))
        assert left < right


@pytest.mark.parametrize("first", range(0, 48, 6))
def test_siblings_differ_only_locally(first):
    plain = draw(SPECIES[first], generator(3)).image.astype(int)
    for other in SPECIES[first + 1 : first + 6]:
        changed = np.abs(draw(other, generator(3)).image - plain).max(2) > 12
        assert 0.0005 < changed.mean() < 0.25, other.name
