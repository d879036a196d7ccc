"""Two real processes train one network as one process does; the first alone writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_folder
from safetensors.torch import load_file
from timm.layers import BatchNormAct2d

from fdhmfe.config.settings import load
from fdhmfe.runs import experiment, results
from fdhmfe.support import distributed
from fdhmfe.support.files import read_json
from fdhmfe.support.places import REPOSITORY

pytestmark = pytest.mark.slow  # groups of processes

SETTINGS = dict(
    **dict(dataset="folder", image_size=32, grid=4, width=16, keep=3, bits=12, views=2),
    **dict(embedded_epochs=1, trainable="all", workers=1),
    learning_rate=2e-4,  # near that of the first steps of profile paper: it warms up
    **dict(batch_size=16, epochs=13),  # 52 steps of 64 images to learn from
)
METHODS = ("fdh-mfe", "orthohash", "adsh")

# Run by each process: the runs of some methods, and every step's loss; `double`: in 64 bits.
SCRIPT = """
import json, sys
from pathlib import Path
from fdhmfe.runs import experiment
from fdhmfe.support import distributed
from fdhmfe.support.files import read_json
from fdhmfe.training import train
from fdhmfe.config import load

root, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
step, build, save = train.train_step, experiment.build_model, train.save_checkpoint
losses = []

def noted(*given):
    values = step(*given)
    losses.append(values["loss"])
    return values

def doubled(*given):
    method = build(*given)
    method.modules.double()
    return method

def stopping(path, model, optimiser, history):
    save(path, model, optimiser, history)
    if len(history) == asked["stop"]:
        sys.exit(9)

train.train_step, train.save_checkpoint = noted, stopping
if asked["double"]:
    experiment.build_model = doubled
    train.on_device = lambda batch, device: [x.double() for x in batch]
if __name__ == "__main__":  # workers import this script
    with distributed.process_group():
        for method in asked["methods"]:
            losses.clear()
            config = load("quick", **asked["settings"], method=method, results_dir=sys.argv[3])
            note = {"processes": distributed.world_size()}
            try:
                note["folder"] = str(experiment.run(config))
            finally:
                path = Path(sys.argv[3]) / f"{method}-{distributed.rank()}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(note | {"losses": losses}))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("distributed")
    write_folder(root / "images", classes=4, per_class=32)
    (root / "script.py").write_text(SCRIPT)
    return root


def environment(place: Path) -> dict[str, str]:
    """That of a process of one thread, with caches below place."""
    own = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "FDHMFE_HOME": str(place)}
    return os.environ | own


def trained(
    place: Path, processes: int, name: str, *, methods=METHODS, double=False, stop=-1, **given
) -> int:
    """Run SCRIPT in some processes of one thread each; results go to place/name."""
    settings = SETTINGS | {"data_dir": str(place / "images")} | given
    asked = dict(settings=settings, double=double, stop=stop, methods=methods)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), place / "script.py"]
    done = subprocess.run(
        [*command, place, json.dumps(asked), place / name],
        **dict(capture_output=True, text=True, check=False),
        env=environment(place),
    )
    assert done.returncode == 0 or stop > 0, done.stderr
    return done.returncode


def note(place: Path, name: str, method: str, rank: int = 0) -> dict[str, Any]:
    return json.loads((place / name / f"{method}-{rank}.json").read_text())


@pytest.fixture(scope="module")
def both(place: Path) -> Path:
    """All METHODS in one process and in two."""
    trained(place, 1, "one", workers=0)  # each worker takes seconds to start
    trained(place, 2, "two")
    return place


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_have_the_loss_curve_and_the_result_of_one(both, method):
    one, two, other = (
        note(both, *where) for where in (("one", method), ("two", method), ("two", method, 1))
    )
    assert (one["processes"], two["processes"], len(one["losses"])) == (1, 2, 52)
    # Later, rounding may choose other tokens, or cross a kink: the test below compares all steps.
    np.testing.assert_allclose(two["losses"][:10], one["losses"][:10], rtol=1e-4)
    np.testing.assert_allclose(other["losses"], two["losses"], rtol=1e-6)  # the same whole batch
    folders = [Path(made["folder"]) for made in (one, two)]
    assert folders[0].name == folders[1].name, "the number of processes is not in a run's name"
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] == names[1]
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    for name in weights[0]:  # running statistics of the backbone's batch norms among them
        torch.testing.assert_close(weights[1][name], weights[0][name], rtol=0.05, atol=0.05)
    assert results.read_map(folders[1]) == pytest.approx(results.read_map(folders[0]), abs=0.05)


def test_what_is_left_between_them_is_rounding(place):
    methods = (*METHODS, "exchnet")
    for processes in (1, 2):
        trained(place, processes, f"double-{processes}", double=True, methods=methods, workers=0)
    for method in methods:
        one, two = (note(place, f"double-{n}", method)["losses"] for n in (1, 2))
        np.testing.assert_allclose(two, one, rtol=1e-10)


def test_one_process_goes_on_where_two_were_stopped(both, monkeypatch, capsys):
    assert trained(both, 2, "stopped", stop=6, methods=["fdh-mfe"]) != 0
    monkeypatch.setenv("FDHMFE_HOME", str(both))
    settings = SETTINGS | {"data_dir": str(both / "images"), "results_dir": str(both / "stopped")}
    folder = experiment.run(load("quick", **settings))
    assert "resuming after epoch 6 of 13" in capsys.readouterr().out
    whole = Path(note(both, "two", "fdh-mfe")["folder"])
    assert folder.name == whole.name
    assert results.read_map(folder) == pytest.approx(results.read_map(whole), abs=0.05)


def test_shares_follow_each_other_and_gathered_codes_are_in_order(monkeypatch):
    rows = np.arange(6)
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    shares, encoded = [], []
    for rank in range(4):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares += distributed.share(np.arange(8)).tolist()
        encoded.append(distributed.encoding_share(rows))
    assert shares == list(range(8))
    assert [len(part) for part in encoded] == [2, 2, 2, 2]
    assert np.stack(encoded, axis=1).ravel()[:6].tolist() == rows.tolist()
    with pytest.raises(ValueError, match="a batch of 6 does not divide evenly among 4 processes"):
        distributed.share(rows)


def test_batch_norms_that_cannot_see_the_others_are_refused(monkeypatch):
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.BatchNorm3d(2))
    assert distributed.global_batch_norms(network)[0].__class__ is torch.nn.BatchNorm2d
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"1 \(BatchNorm3d\) cannot see the batches of other"):
        distributed.global_batch_norms(network)


@pytest.mark.parametrize("gpu", [False, True])
def test_batch_norms_that_see_the_others_are_left_as_they_are(monkeypatch, gpu):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    kind = BatchNormAct2d if gpu else torch.nn.BatchNorm2d
    network = distributed.global_batch_norms(torch.nn.Sequential(kind(2))).eval()
    image, made = torch.randn(1, 2, 3, 3), network[0]
    expected = network(image)
    again = distributed.global_batch_norms(network)
    assert again[0] is made and type(made) is not kind
    torch.testing.assert_close(again(image), expected)


def test_the_command_trains_in_two_processes_and_one_speaks(place):
    given = SETTINGS | {"data_dir": place / "images", "epochs": 1, "results_dir": place / "launch"}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "fdhmfe", "train", *words],
        **dict(capture_output=True, text=True, check=False),
        env=environment(place),
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (place / "launch").glob("quick/runs/*")
    assert done.stdout.splitlines()[-2:] == [str(folder), f"mAP {results.read_map(folder):.4f}"]
    assert read_json(folder / "env.json")["processes"] == 2
