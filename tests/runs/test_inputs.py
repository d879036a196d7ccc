"""What a run reads: images made as its backbone wants them."""

import os
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from conftest import ROOT, small_run
from PIL import Image
from safetensors.torch import save_file

from fdhmfe.data.views import MEAN, Preprocessing, view_image
from fdhmfe.encoding.trained import open_run
from fdhmfe.features.backbone import pretrained
from fdhmfe.runs import experiment
from fdhmfe.runs.inputs import prepare

NAME = "test_convnext"  # of timm; 1 MB
SIZE = 64
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@pytest.fixture
def given(root):
    """Settings of a run on a timm network whose pixels are not those of ImageNet networks."""
    torch.manual_seed(0)
    weights = root / "weights.safetensors"
    save_file(timm.create_model(NAME).state_dict(), weights)
    return dict(backbone=f"timm/{NAME}", weights=str(weights), image_size=SIZE)


def by_hand(image: Image.Image) -> np.ndarray:
    """A whole image as timm says that the network wants it: (3, S, S)."""
    known = timm.data.resolve_model_data_config(timm.create_model(NAME))
    assert known["mean"] != MEAN and known["interpolation"] != Preprocessing(SIZE).interpolation
    small = image.resize((SIZE, SIZE), RESAMPLING[known["interpolation"]])
    pixels = (np.asarray(small) / 255 - known["mean"]) / known["std"]
    return pixels.transpose(2, 0, 1)


def test_a_fine_tuned_network_is_given_the_pixels_that_timm_says(root, given):
    inputs = prepare(small_run(root, trainable="all", **given))
    rows = inputs.dataset.rows("test")[:3]
    (found,), (mirrored,) = inputs.source.plain_batches(rows)
    expected = np.stack([by_hand(inputs.dataset.image(row)) for row in rows])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(mirrored, expected[..., ::-1], atol=1e-5)


def test_cached_maps_are_of_those_pixels(root, given):
    config = small_run(root, **given)
    inputs = prepare(config)
    rows = inputs.dataset.rows("test")[:3]
    pixels = torch.tensor(
        np.stack([by_hand(inputs.dataset.image(row)) for row in rows]), dtype=torch.float32
    )
    sizes = dict(stages=3, grid=config.grid, size=SIZE)
    backbone = pretrained(config.backbone, root / "weights.safetensors", **sizes)
    with torch.inference_mode():
        maps = backbone(pixels)
    for found, expected in zip(inputs.source.plain_batches(rows)[0], maps, strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("trainable", ["none", "tail"])
def test_a_run_opened_again_makes_them_too(root, given, trainable):
    run = open_run(experiment.run(small_run(root, epochs=1, trainable=trainable, **given)))
    image = run.inputs.dataset.image(run.inputs.dataset.rows("test")[0])
    np.testing.assert_allclose(run.read([image])[0], by_hand(image), atol=1e-5)


def test_a_random_crop_is_resampled_and_normalised_so_too():
    grey = Image.new("RGB", (40, 30), (128, 128, 128))
    plain, other = Preprocessing(8), Preprocessing(8, (0.5,) * 3, (0.25,) * 3, "bicubic")
    crop = view_image(grey, 3, 0, other)
    assert not torch.equal(crop, view_image(grey, 3, 0, plain))
    pixel = crop[0, 0, 0].item() * 0.25 + 0.5
    assert (crop - crop[0, 0, 0]).abs().max() < 1e-6 and 0.4 < pixel < 0.62
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8))
    assert not torch.equal(
        view_image(noise, 3, 0, Preprocessing(8)),
        view_image(noise, 3, 0, Preprocessing(8, interpolation="bicubic")),
    )


@pytest.mark.slow  # processes that import torch
def test_a_script_that_its_workers_would_run_again_is_told_what_to_do(root, given):
    settings = {**vars(small_run(root, trainable="all", workers=1, **given))}
    script = root / "script.py"
    script.write_text(
        "from fdhmfe.config.settings import Config\n"
        "from fdhmfe.runs import experiment\n"
        f"experiment.run(Config(**{settings!r}))\n",
        encoding="utf-8",
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    run = dict(env=env, timeout=300, capture_output=True, text=True, encoding="utf-8")
    done = subprocess.run([sys.executable, script], check=False, **run)
    assert done.returncode and "if __name__ == '__main__'" in done.stderr
    guard = "if __name__ == '__main__':\n    experiment.run"
    text = script.read_text(encoding="utf-8").replace("experiment.run", guard)
    script.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, script], check=True, **run)
