"""The training loop: reproducible bit for bit, even when it is killed on the way."""

import math
import os
import shutil
import subprocess
import sys
import textwrap
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_folder
from safetensors.torch import load_file

from fdhmfe.config.settings import Config, load
from fdhmfe.data.dataset import DataError
from fdhmfe.data.door import open_dataset
from fdhmfe.data.views import Preprocessing, load_views
from fdhmfe.features.cache import StageCache
from fdhmfe.network import binarise
from fdhmfe.runs import experiment
from fdhmfe.runs.inputs import CachedSource, ImageSource
from fdhmfe.runs.methods import build_method
from fdhmfe.runs.results import read_codes, run_id
from fdhmfe.support.files import read_json
from fdhmfe.support.places import REPOSITORY
from fdhmfe.training.checkpoint import load_checkpoint, previous, save_checkpoint
from fdhmfe.training.train import (
    Method,
    epoch_batches,
    fit,
    make_optimiser,
    relaxed_codes,
    set_learning_rate,
)

CHANNELS, ROWS = [6, 8], np.arange(26)
LABELS = torch.arange(26) % 4


def settings(**given) -> Config:
    small = dict(width=8, keep=2, bits=12, epochs=4, batch_size=8)
    return load("quick", **{**small, **given})


def source(bad: float = 0.0) -> CachedSource:
    """Two views of features that carry the class; `bad` replaces one number of image 11."""
    rng = np.random.default_rng(0)
    centres = [rng.normal(size=(4, 1, 1, c)) for c in CHANNELS]
    views = []
    for _ in range(2):
        pairs = zip(centres, (3, 2), strict=True)
        stages = [c[LABELS] + 0.5 * rng.normal(size=(26, s, s, c.shape[-1])) for c, s in pairs]
        if bad:
            stages[0][11, 0, 0, 0] = bad
        views.append(StageCache(ROWS, [x.astype(np.float16) for x in stages]))
    return CachedSource(views, 2)


def fitted(
    checkpoint: Path, config: Config, inputs: CachedSource | None = None
) -> tuple[Method, list[dict[str, float]]]:
    method = build_method(config, CHANNELS, LABELS)
    fitted = fit(method, inputs or source(), ROWS, LABELS, config, checkpoint)
    return method, fitted.history


def codes(method: Method) -> torch.Tensor:
    return relaxed_codes(method.network, source(), ROWS, method.coder)


def test_same_seed_same_codes_bit_for_bit_and_another_seed_differs(tmp_path):
    u = []
    for run, seed in enumerate([0, 0, 1]):
        torch.manual_seed(run)  # what came before must not matter
        np.random.seed(run)
        u.append(codes(fitted(tmp_path / f"{run}", settings(seed=seed))[0]))
    assert torch.equal(u[0], u[1])
    assert not torch.equal(binarise(u[0]), binarise(u[2]))


def test_history_has_a_row_per_epoch_and_the_loss_falls(tmp_path):
    config = settings(epochs=8, dropout=0.0)
    _, history = fitted(tmp_path / "c", config)
    assert [row["epoch"] for row in history] == list(range(1, 9))
    parts = {"proxy", "token", "class", "background", "triplet"}
    parts |= {"balance", "decorrelation", "quantisation"}
    assert all(set(row) == {"epoch", "loss"} | parts for row in history)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


@pytest.mark.parametrize("done", [1, 3, 4])
@pytest.mark.parametrize("name", ["fdh-mfe", "dpsh", "adsh", "exchnet"])
def test_a_run_that_stopped_continues_to_the_same_codes(tmp_path, capsys, name, done):
    config = settings(method=name)
    whole, history = fitted(tmp_path / "whole", config)
    # Stop after `done` epochs, on the schedule of 4: image 11 turns bad on the way.
    healthy = source()

    class Failing(CachedSource):
        def training_batch(self, rows: np.ndarray, rng: np.random.Generator) -> list:
            calls.append(rows)
            if len(calls) == 3 * done + 2:  # in the middle of the next epoch
                raise KeyboardInterrupt
            return super().training_batch(rows, rng)

    calls: list[np.ndarray] = []
    if done < config.epochs:
        with pytest.raises(KeyboardInterrupt):
            fitted(tmp_path / "part", config, Failing(healthy.views, 2))
    else:
        fitted(tmp_path / "part", config)
    capsys.readouterr()
    resumed, again = fitted(tmp_path / "part", config)
    assert f"resuming after epoch {done} of 4" in capsys.readouterr().out
    assert again == history
    assert torch.equal(codes(resumed), codes(whole))
    states = [method.objective.state_dict() for method in (resumed, whole)]
    assert all(torch.equal(states[0][key], value) for key, value in states[1].items())


def test_an_epoch_sees_each_image_once_in_an_order_of_its_own(tmp_path):
    seen: list[list[int]] = []

    class Recording(CachedSource):
        def training_batch(self, rows: np.ndarray, rng: np.random.Generator) -> list:
            seen.append(rows.tolist())
            return super().training_batch(rows, rng)

    fitted(tmp_path / "c", settings(epochs=2), Recording(source().views, 2))
    assert [len(batch) for batch in seen] == [8] * 6  # the last 2 of 26 wait for the next epoch
    first, second = (list(chain.from_iterable(epoch)) for epoch in (seen[:3], seen[3:]))
    assert len(set(first)) == len(set(second)) == 24
    assert first != second


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x10\0\0\0\0\0\0\0{}", None])
def test_a_corrupt_checkpoint_starts_again_and_says_so(tmp_path, capsys, content):
    config = settings()
    whole, _ = fitted(tmp_path / "whole", config)
    half = (tmp_path / "whole").read_bytes()[:-100]
    (tmp_path / "broken").write_bytes(half if content is None else content)
    capsys.readouterr()
    again, history = fitted(tmp_path / "broken", config)
    said = capsys.readouterr().out
    assert "broken cannot be read" in said
    assert "starting again" in said
    assert len(history) == 4
    assert torch.equal(codes(again), codes(whole))


def flip(path: Path) -> None:
    """Change one bit of the last tensor: a file that still parses."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("older_is_good", [True, False])
@pytest.mark.parametrize("damage", [flip, lambda path: os.truncate(path, 1000)])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(
    tmp_path, capsys, damage, older_is_good
):
    path, config = tmp_path / "c", settings()
    whole, history = fitted(path, config)
    damage(path)
    if not older_is_good:
        damage(previous(path))
    capsys.readouterr()
    again, retold = fitted(path, config)
    said = capsys.readouterr().out
    assert f"{path} cannot be read" in said
    assert "going back to the checkpoint before it" in said
    assert ("resuming after epoch 3 of 4" in said) == older_is_good
    assert ("starting again" in said) != older_is_good
    assert retold == history
    assert torch.equal(codes(again), codes(whole))
    fitted(path, config)
    assert "cannot be read" not in capsys.readouterr().out  # what was damaged is gone


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_raises(tmp_path, bad):
    with pytest.raises(FloatingPointError, match=r"not finite.*nan.*lower learning_rate"):
        fitted(tmp_path / "c", settings(epochs=8), source(bad))


def test_checkpoint_round_trip(tmp_path):
    method, history = fitted(tmp_path / "c", settings())
    optimiser = make_optimiser(method.network, settings())
    restored = load_checkpoint(tmp_path / "c", method.modules, optimiser)
    assert restored == history
    other = build_method(settings(seed=9), CHANNELS, LABELS)
    fresh = make_optimiser(other.network, settings())
    save_checkpoint(tmp_path / "copy", method.modules, optimiser, history)
    assert load_checkpoint(tmp_path / "copy", other.modules, fresh) == history
    for a, b in zip(
        other.network.state_dict().values(), method.network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    states = [o.state_dict()["state"] for o in (fresh, optimiser)]
    assert states[0].keys() == states[1].keys()
    assert all(
        torch.equal(states[0][i][k], states[1][i][k]) for i in states[0] for k in states[0][i]
    )
    assert load_checkpoint(tmp_path / "absent", other.modules, fresh) == []


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(6, 3, [(0, 3), (3, 6)]), (8, 3, [(0, 3), (3, 6)]), (2, 3, [(0, 2)]), (3, 3, [(0, 3)])],
)
def test_whole_batches_by_hand(count, size, expected):
    batches, _ = epoch_batches(count, settings(batch_size=size), epoch=0)
    assert [len(batch) for batch in batches] == [stop - start for start, stop in expected]
    assert len({*np.concatenate(batches)}) == expected[-1][1]


def test_learning_rate_by_hand():
    optimiser = make_optimiser(torch.nn.Linear(2, 2), settings(learning_rate=0.4))
    rates = []
    for done in (0.0, 0.05, 0.1, 0.55, 1.0):
        set_learning_rate(optimiser, done)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates[0] < 0.02  # all but 0
    assert rates[1:] == pytest.approx([0.2, 0.4, 0.2, 0], abs=0.01)
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates)


def test_optimiser_decays_matrices_only_and_treats_the_backbone_apart():
    model = torch.nn.ModuleDict(
        {
            "backbone": torch.nn.Linear(2, 3),
            "head": torch.nn.Linear(3, 4),
            "idle": torch.nn.Linear(1, 1),
        }
    )
    model["idle"].requires_grad_(False)
    config = settings(learning_rate=0.5, backbone_learning_rate=0.25, weight_decay=0.125)
    groups = make_optimiser(model, config).param_groups
    found = {tuple(p.shape): (g["peak"], g["weight_decay"]) for g in groups for p in g["params"]}
    expected = {(3, 2): (0.25, 0.125), (3,): (0.25, 0.0), (4, 3): (0.5, 0.125), (4,): (0.5, 0.0)}
    assert found == expected


def test_encoding_does_not_depend_on_the_batch_and_leaves_the_network_as_it_is():
    network, _, coder = build_method(settings(dropout=0.5), CHANNELS, LABELS)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    whole = relaxed_codes(network, source(), ROWS, coder)
    parts = relaxed_codes(network, source(), ROWS, coder, batch=7)
    assert whole.shape == (26, 12)
    torch.testing.assert_close(whole, parts)
    backwards = relaxed_codes(network, source(), ROWS[::-1].copy(), coder)
    torch.testing.assert_close(whole, backwards.flip(0))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


# Whole runs


def whole_run(tmp_path: Path, results: str, **given) -> Path:
    """Settings of a run of a few seconds on the pictures in tmp_path/images."""
    small = dict(image_size=32, grid=4, views=2, embedded_epochs=1, epochs=6, batch_size=4)
    places = dict(data_dir=str(tmp_path / "images"), results_dir=str(tmp_path / results))
    return experiment.run(settings(**{"dataset": "folder", **small, **places, **given}))


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["none", "tail"])
def test_a_run_killed_in_mid_epoch_ends_with_the_codes_of_an_uninterrupted_one(
    tmp_path, own_cache, capsys, trainable
):
    write_folder(tmp_path / "images", classes=4, per_class=20)
    whole = whole_run(tmp_path, "whole", trainable=trainable)
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path[:0] = {[str(p) for p in Path(__file__).parents[:2]]!r}
        import test_train
        root = Path(sys.argv[1])
        test_train.whole_run(root, "killed", trainable="{trainable}")
    """)
    threads = str(torch.get_num_threads())  # sums differ in their last bits with it
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": threads}
    environment["FDHMFE_HOME"] = str(tmp_path)
    environment.pop("JPY_SESSION_NAME", None)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        for line in process.stdout:
            if line.startswith("epoch 3"):
                process.kill()
    folder = tmp_path / "killed" / "quick" / "runs" / whole.name
    assert {path.name.split("-")[0] for path in folder.iterdir()} == {"checkpoint"}

    capsys.readouterr()
    resumed = whole_run(tmp_path, "killed", trainable=trainable)
    said = capsys.readouterr().out
    assert resumed == folder
    assert "resuming after epoch" in said
    assert not any(line.startswith("epoch 2 ") for line in said.splitlines())
    expected, found = read_codes(whole), read_codes(resumed)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert (resumed / "history.csv").read_text() == (whole / "history.csv").read_text()
    weights = [(f / "model.safetensors").read_bytes() for f in (resumed, whole)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_fine_tuning_trains_the_backbone_whatever_the_workers(tmp_path, own_cache):
    write_folder(tmp_path / "images", classes=3, per_class=8)
    given = dict(epochs=2, trainable="all")
    folder = whole_run(tmp_path, "results", workers=0, **given)
    assert read_codes(folder)["query_codes"].shape == (12, 12)
    (before,) = own_cache.glob("embedded-*/model.safetensors")
    key = "stages.1.0.0.weight"
    (after,) = (v for k, v in load_file(folder / "model.safetensors").items() if k.endswith(key))
    change = (after - load_file(before)[key]).abs().max()
    assert 0 < change < 0.1
    facts = read_json(folder / "env.json")
    assert facts["images_per_second"] > 0
    assert 0 < facts["waiting"] < 1
    for workers in (1, 2):
        again = whole_run(tmp_path, f"{workers} workers", workers=workers, **given)
        assert again.name == folder.name
        for name in ("model.safetensors", "history.csv"):
            assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_bf16_is_another_run_with_nearly_the_same_losses(tmp_path, own_cache):
    write_folder(tmp_path / "images", classes=3, per_class=8)
    given = dict(epochs=2, trainable="all", workers=0)
    folders = [whole_run(tmp_path, "r", precision=p, **given) for p in ("32", "bf16")]
    assert folders[0].name != folders[1].name
    full, half = (pd.read_csv(folder / "history.csv").loss for folder in folders)
    assert (full != half).all()
    np.testing.assert_allclose(half, full, rtol=0.05)
    assert (
        load_file(folders[1] / "model.safetensors").keys()
        == load_file(folders[0] / "model.safetensors").keys()
    )
    frozen = [load("quick", precision=p) for p in ("32", "bf16")]
    assert run_id(frozen[0], "", "") == run_id(frozen[1], "", ""), "nothing to be fine-tuned"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_breaks_while_training_is_named(tmp_path, workers):
    write_folder(tmp_path / "images", classes=2, per_class=8)
    config = settings(dataset="folder", data_dir=str(tmp_path / "images"), image_size=32)
    data = open_dataset(config)
    rows = data.rows("train")
    broken = data.root / data.table.path.iat[rows[3]]
    broken.write_bytes(broken.read_bytes()[:200])
    images = ImageSource(data, Preprocessing(32), workers)
    plan = ((rows[i : i + 2], np.random.default_rng(0)) for i in range(0, len(rows), 2))
    with pytest.raises(DataError) as raised:
        list(images.training_batches(plan))
    assert str(raised.value).startswith(f"{broken} cannot be read")
    assert "Traceback" not in str(raised.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_come_in_the_order_asked_for(tmp_path, workers):
    write_folder(tmp_path / "images", classes=2, per_class=8)
    data = open_dataset(settings(dataset="folder", data_dir=str(tmp_path / "images")))
    images = ImageSource(data, Preprocessing(32), workers)
    parts = [np.array([3, 1, 7]), np.array([0, 2])]
    for rows, views in zip(parts, images.encoding_batches(parts), strict=True):
        for view, (found,) in enumerate(views):
            assert torch.equal(found, load_views(data, rows, view, Preprocessing(32)))
        whole = images.plain_batches(rows)
        assert all(torch.equal(a[0], b[0]) for a, b in zip(views, whole, strict=True))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.slow
def test_a_compiled_backbone_gives_nearly_the_same_losses(tmp_path, own_cache):
    write_folder(tmp_path / "images", classes=2, per_class=8)
    given = dict(epochs=1, trainable="all", workers=0)
    folders = [whole_run(tmp_path, "r", compile=c, **given) for c in (False, True)]
    assert folders[0].name != folders[1].name
    plain, compiled = (pd.read_csv(folder / "history.csv").loss for folder in folders)
    np.testing.assert_allclose(compiled, plain, rtol=1e-3)
    names = [load_file(folder / "model.safetensors").keys() for folder in folders]
    assert names[0] == names[1]
