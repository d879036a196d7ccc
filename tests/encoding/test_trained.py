"""A finished run opened again makes the same codes, and refuses what does not belong to it."""

import shutil

import numpy as np
import pytest
import torch
from conftest import save_image, small_run, write_folder
from PIL import ExifTags, Image
from safetensors.torch import load_file, save_file
from torchvision.models import get_model

from fdhmfe.config.methods import METHODS
from fdhmfe.config.settings import load
from fdhmfe.encoding import trained
from fdhmfe.encoding.trained import kept_cells, open_run, untrained
from fdhmfe.features.weights import SHIPPED
from fdhmfe.network import Output, binarise
from fdhmfe.runs import experiment
from fdhmfe.runs.results import read_codes
from fdhmfe.support.files import file_hash, read_json, write_json


@pytest.fixture
def backbone_run(root):
    """The folder of a finished run on a backbone of random weights, made from no images."""
    torch.manual_seed(0)
    state = get_model("mobilenet_v3_small", weights=None).state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, root / "weights.safetensors")
    given = {"backbone": "mobilenet_v3_small", "weights": str(root / "weights.safetensors")}
    return experiment.run(small_run(root, image_size=64, **given))


def test_images_get_the_codes_and_cells_that_the_run_stored(folder_run):
    run = open_run(folder_run)
    data = run.inputs.dataset
    rows = data.rows("test")
    paths = [data.root / path for path in data.table.path.iloc[rows]]
    images = [data.image(row) for row in rows]
    codes = run.encode(paths)
    assert codes.dtype == np.int8 and codes.shape == (len(rows), 20)
    np.testing.assert_array_equal(codes, read_codes(folder_run)["query_codes"])
    np.testing.assert_array_equal(run.encode([str(paths[0]), *images[1:]]), codes)
    for own, stored in zip(run.maps(images), run.row_maps(rows), strict=True):
        assert torch.equal(own, stored)
    kept = run.kept(run.maps(images))
    assert kept.any() and kept.shape[0] == len(rows)
    np.testing.assert_array_equal(kept, run.kept(run.row_maps(rows)))


def test_the_head_makes_the_stored_codes_of_maps(folder_run):
    run = open_run(folder_run)
    rows = run.inputs.dataset.rows("test")
    mirrored = run.inputs.source.plain_batches(rows)[1]
    u = torch.stack([run.head(maps).u for maps in (run.row_maps(rows), mirrored)]).mean(0)
    np.testing.assert_array_equal(binarise(u), read_codes(folder_run)["query_codes"])
    twin = untrained(run.config, run.inputs)
    assert not torch.equal(twin.hash.linear.weight, run.head.hash.linear.weight)
    torch.testing.assert_close(twin.proxies.abs(), torch.ones(3, 20))
    assert twin(run.row_maps(rows)).u.shape == (len(rows), 20)


def test_images_in_any_number_and_mode(folder_run, tmp_path):
    run = open_run(folder_run)
    path = save_image(tmp_path / "upright.png", seed=5)
    upright = Image.open(path)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # stored lying, as phones do
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    both = [Image.open(tmp_path / "lying.png"), tmp_path / "lying.png"]
    np.testing.assert_array_equal(run.encode(both), np.repeat(run.encode([path]), 2, axis=0))
    assert run.encode([upright.convert("L"), upright.convert("RGBA")]).shape == (2, 20)
    assert run.encode([path] * 33).shape == (33, 20)  # more than one batch
    assert run.encode([]).shape == (0, 20)
    with pytest.raises(TypeError, match=r"give \[image\]"):
        run.encode("upright.png")
    with pytest.raises(ValueError, match=r"absent\.png cannot be read"):
        run.encode([path, "absent.png"])


def test_a_run_opens_without_its_images_where_the_backbone_is_not_made_of_them(backbone_run, root):
    stored = read_codes(backbone_run)
    queries = sorted((root / "images" / "test").rglob("*.jpg"))
    shutil.move(root / "images", root / "elsewhere")
    run = open_run(backbone_run)
    moved = [root / "elsewhere" / path.relative_to(root / "images") for path in queries]
    np.testing.assert_array_equal(run.encode(moved), stored["query_codes"])
    with pytest.raises(ValueError, match="images"):
        _ = run.inputs
    again = open_run(backbone_run, data_dir=str(root / "elsewhere"))
    assert again.inputs.dataset.root == root / "elsewhere"
    assert again.model_id == run.model_id


def test_codes_of_another_coder_are_of_another_model(root):
    runs = [open_run(experiment.run(small_run(root, coder=name))) for name in ("sign", "read-out")]
    weights = [run.head.state_dict() for run in runs]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert runs[0].model_id != runs[1].model_id
    for run in runs:
        stored = read_codes(run.folder)["query_codes"]
        data = run.inputs.dataset
        images = [data.root / path for path in data.table.path.iloc[data.rows("test")]]
        np.testing.assert_array_equal(run.encode(images), stored)


def test_a_run_on_the_kit_s_own_backbone_opens_without_images(tmp_path, monkeypatch):
    write_json(tmp_path / "env.json", {"backbone_id": file_hash(SHIPPED)})
    monkeypatch.setattr(trained, "open_dataset", pytest.fail)
    images = torch.zeros(1, 3, 128, 128)
    assert len(trained.run_backbone(tmp_path, load("quick"))(images)) == 3


def test_other_backbone_weights_are_refused(backbone_run, root):
    other = root / "other.safetensors"
    state = load_file(root / "weights.safetensors")
    save_file({name: value + 1 for name, value in state.items()}, other)
    with pytest.raises(ValueError, match="was trained with backbone weights mobilenet_v3_small-"):
        open_run(backbone_run, weights=str(other))


@pytest.mark.parametrize(
    "given",
    [
        {"trainable": "all"},
        *({"trainable": "tail"}, {"trainable": "tail", "stages": 1}),
        {"trainable": "tail", "method": "itq"},
        {"trainable": "tail", "method": "fdh-mfe+", "variant": "open"},
    ],
)
def test_a_run_opens_with_what_it_trained_of_the_backbone(root, given):
    folder = experiment.run(small_run(root, **given))
    run = open_run(folder)
    rows = run.inputs.dataset.rows("test")
    images = [run.inputs.dataset.image(row) for row in rows]
    np.testing.assert_array_equal(run.encode(images), read_codes(folder)["query_codes"])
    np.testing.assert_array_equal(run.kept(run.maps(images)), run.kept(run.row_maps(rows)))
    assert run.method.network is run.network


def test_kept_cells_by_hand():
    logits = [torch.zeros(1, 16, 3), torch.zeros(1, 4, 3)]  # 4 x 4 and 2 x 2 tokens
    index = [torch.tensor([[0, 15]]), torch.tensor([[1]])]  # two corners; the upper right quarter
    cells = [[1, 0, 2, 2], [0, 0, 2, 2], [0, 0, 0, 0], [0, 0, 0, 1]]
    found = kept_cells(Output(torch.zeros(1, 8), token_logits=logits, kept_index=index), [0.0, 0.0])
    np.testing.assert_array_equal(found[0], np.kron(cells, np.ones((2, 2))))  # in half cells


def test_kept_cells_lie_where_their_tokens_look():
    logits, index = [torch.zeros(1, 4, 3)] * 2, [torch.tensor([[0, 3]]), torch.tensor([[1]])]
    found = kept_cells(
        Output(torch.zeros(1, 8), token_logits=logits, kept_index=index), [-0.48, 0.5]
    )[0]
    # Half a cell up and left: a corner of cell 0 is left, cell 3 is in the middle; the last row
    # and column are no token's. Half a cell down and right: so lies half of cell 1.
    assert found.tolist() == [[1, 0, 0, 0], [0, 1, 1, 2], [0, 1, 1, 2], [0, 0, 0, 0]]


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"fdh-mfe"}))
def test_every_other_method_opens_too(method, root):
    folder = experiment.run(small_run(root, method=method, bits=8, epochs=1))
    run = open_run(folder)
    rows = run.inputs.dataset.rows("test")
    images = [run.inputs.dataset.image(row) for row in rows]
    np.testing.assert_array_equal(run.encode(images), read_codes(folder)["query_codes"])
    kept = run.kept(run.row_maps(rows))
    assert len(kept) == len(rows)
    assert kept.any() == (METHODS[method].network == "fdh-mfe"), "others keep no regions"


def test_moved_images_are_found_and_other_images_refused(folder_run, tmp_path):
    root = open_run(folder_run).inputs.dataset.root
    shutil.copytree(root, tmp_path / "moved")
    assert open_run(folder_run, data_dir=str(tmp_path / "moved")).inputs.dataset.root != root
    other = write_folder(tmp_path / "other", classes=3, per_class=10)
    save_image(other / "train" / "class_0" / "1.jpg", seed=99)
    with pytest.raises(ValueError, match=r"other images than those in .*other"):
        open_run(folder_run, data_dir=str(other))


def test_what_is_no_finished_run_is_said(folder_run, tmp_path):
    with pytest.raises(ValueError, match=r"not a finished run.*08_train"):
        open_run(tmp_path)
    broken = tmp_path / folder_run.name
    shutil.copytree(folder_run, broken)
    settings = read_json(broken / "config.json")
    write_json(broken / "config.json", {**settings, "colour": 3})
    with pytest.raises(ValueError, match=r"another version.*colour"):
        open_run(broken)


def test_a_network_of_another_version_is_said(folder_run, tmp_path):
    broken = tmp_path / folder_run.name
    shutil.copytree(folder_run, broken)
    state = load_file(broken / "model.safetensors")
    save_file({f"old.{name}": value for name, value in state.items()}, broken / "model.safetensors")
    with pytest.raises(ValueError, match=r"network in .* is of another version .* train again"):
        open_run(broken)
