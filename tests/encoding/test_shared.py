"""A shared model makes the codes of its run, bit for bit, with nothing but its folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from conftest import ROOT, save_image, small_run, write_folder
from hub import served
from safetensors.torch import load_file, save_file
from torchvision.models import get_model

import fdhmfe
from fdhmfe.__main__ import main
from fdhmfe.config.profiles import DATASETS
from fdhmfe.data.door import open_dataset
from fdhmfe.data.fetch.sources import SOURCES
from fdhmfe.encoding import card, shared
from fdhmfe.encoding.trained import TrainedRun, from_pretrained, open_run
from fdhmfe.runs import experiment, ledger
from fdhmfe.runs.results import read_codes, read_map, read_metrics
from fdhmfe.support.files import file_hash, read_json, write_json

SMALL = "mobilenet_v3_small"
KINDS = {
    "embedded backbone": {},
    "embedded, fine-tuned": {"trainable": "all", "workers": 0},
    "read-out": {"coder": "read-out"},
    "closed form": {"method": "itq"},
    "mixture": {"method": "fdh-mfe+", "variant": "open", "trainable": "tail"},
    "torchvision": {"backbone": SMALL},
    "torchvision, tail": {"backbone": SMALL, "trainable": "tail"},
    "torchvision, parts refined": {"backbone": SMALL, "trainable": "tail", "method": "semicon"},
    "torchvision, fine-tuned": {"backbone": SMALL, "trainable": "all", "workers": 0},
    "timm": {"backbone": "timm/test_efficientnet"},
    "timm, channels last": {"backbone": "timm/test_mambaout", "grid": 2},
    "classes held out": {"protocol": "folds", "method": "csq"},
}
# Opens models where nothing can be asked of another machine
ALONE = """
import sys, pathlib
def audit(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise RuntimeError(f"{event} {arguments}")
sys.addaudithook(audit)
import numpy, fdhmfe
images = sorted(pathlib.Path("images").iterdir())
for folder in sorted(pathlib.Path("models").iterdir()):
    model = fdhmfe.from_pretrained(folder)
    relaxed = model.coder(model.network(model.front(model.read(images)))).detach().numpy()
    numpy.savez(f"codes/{folder.name}.npz", codes=model.encode(images), relaxed=relaxed)
"""


def python(script: str, folder: Path, **variables: str) -> str:
    """What a script prints, started in a folder by a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        **dict(cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)} | variables),
        **dict(capture_output=True, text=True, check=False),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def random_weights(name: str, root: Path) -> dict[str, str]:
    """The settings that name a file of random weights of a backbone, which is written."""
    torch.manual_seed(0)
    timm_name = name.removeprefix("timm/")
    network = get_model(name) if timm_name == name else timm.create_model(timm_name)
    path = root / "weights" / f"{timm_name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    return {"weights": str(path), "image_size": 64}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """models/<number of the kind>, images/, and codes/ of these, which the models made.

    The data set, the weights, the caches and the runs are gone; what the runs made is in runs/.
    """
    root, here = (tmp_path_factory.mktemp(name) for name in ("home", "place"))
    write_folder(root / "images", classes=10, per_class=6)
    for name in ("images", "runs", "codes"):
        (here / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDHMFE_HOME", str(root))
        for number, given in enumerate(KINDS.values()):
            more = random_weights(given["backbone"], root) if "backbone" in given else {}
            folder = experiment.run(small_run(root, epochs=1, **given, **more))
            run, stored = open_run(folder), read_codes(folder)
            run.save_pretrained(here / "models" / f"{number}")
            data = run.inputs.dataset
            images = [data.root / path for path in data.table.path.iloc[data.rows("test")]]
            relaxed = run.coder(run.network(run.front(run.read(images)))).detach().numpy()
            np.savez(here / f"runs/{number}.npz", codes=stored["query_codes"], relaxed=relaxed)
    for number, image in enumerate(images):
        shutil.copy(image, here / f"images/{number:03d}.jpg")
    shutil.rmtree(root)
    python(ALONE, here, FDHMFE_HOME=str(here))
    return here


@pytest.fixture
def model(place, tmp_path) -> Path:
    """A copy of a shared model, to be damaged."""
    return shutil.copytree(place / "models" / "0", tmp_path / "model")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_its_folder_is_needed_for_the_codes_of_the_run(place, kind):
    number = list(KINDS).index(kind)
    run, own = (np.load(place / name / f"{number}.npz") for name in ("runs", "codes"))
    assert len(np.unique(run["relaxed"], axis=0)) == len(run["codes"]) == 30
    np.testing.assert_array_equal(own["codes"], run["codes"])
    np.testing.assert_array_equal(own["relaxed"], run["relaxed"])


def test_a_model_is_opened_by_every_door_and_shared_again(place, tmp_path, own_cache, capsys):
    folder, images = place / "models" / "0", sorted((place / "images").iterdir())
    model, codes = fdhmfe.from_pretrained(folder), np.load(place / "codes" / "0.npz")["codes"]
    for other in (open_run(folder), TrainedRun.from_pretrained(str(folder))):
        np.testing.assert_array_equal(other.encode(images), codes)
    assert model.kept(model.maps(images[:2])).any()
    assert "fdh-mfe, 12 bits" in model.protocol
    with pytest.raises(ValueError, match="no images of its data set"):
        _ = model.inputs
    with pytest.raises(ValueError, match="needs no data_dir"):
        open_run(folder, weights="a.pth")
    model.save_pretrained(tmp_path / "again")
    for name in shared.FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert main(["encode", str(folder), str(place / "images"), str(tmp_path / "codes")]) == 0
    assert f"{len(images)} images encoded, 0 unreadable" in capsys.readouterr().out
    words = ["search", str(images[0]), "--in", str(place / "images"), "--run", str(folder)]
    assert main([*words, "--out", str(tmp_path / "found")]) == 0
    assert "distances in bits" in capsys.readouterr().out


def test_the_command_shares_a_run_once(folder_run, tmp_path, capsys):
    out = tmp_path / "my model"
    assert main(["share", str(folder_run), str(out)]) == 0
    assert f"hf upload OWNER/NAME '{out}'" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == set(shared.FILES)
    model, run = from_pretrained(out), open_run(folder_run)
    assert model.model_id == run.model_id and model.shifts == run.shifts
    before = (out / "config.json").read_bytes()
    assert main(["share", str(folder_run), str(out)]) == 2
    assert "config.json is there already: name a new folder" in capsys.readouterr().err
    assert main(["share", str(folder_run), str(folder_run)]) == 2  # the run is not overwritten
    assert (out / "config.json").read_bytes() == before
    words = "".join((out / name).read_text() for name in ("config.json", "README.md"))
    assert str(folder_run.parents[3]) not in words, "it names no place of this machine"


def rewritten(model: Path, **changes) -> None:
    """Change entries of a model's config.json."""
    write_json(model / "config.json", read_json(model / "config.json") | changes)


def reweighted(model: Path, change) -> None:
    """Change the tensors of a model, with the SHA-256 that goes with them."""
    state = load_file(model / "model.safetensors")
    change(state)
    save_file(state, model / "model.safetensors")
    rewritten(model, sha256=file_hash(model / "model.safetensors"))


def resettled(model: Path, **changes) -> None:
    rewritten(model, settings=read_json(model / "config.json")["settings"] | changes)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE = {
    "no config": (lambda m: (m / "config.json").unlink(), r"config\.json is missing"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), r"\.safetensors is missing"),
    "cut config": (lambda m: cut(m / "config.json"), r"config\.json is damaged"),
    "cut weights": (lambda m: cut(m / "model.safetensors"), r"\.safetensors is damaged.*SHA-256"),
    "another's": (lambda m: write_json(m / "config.json", {"model_type": "vit"}), "fdhmfe share"),
    "a list": (lambda m: write_json(m / "config.json", []), r"config\.json is not of a model"),
    "newer": (lambda m: rewritten(m, format=2), r"config\.json is of format 2.*reads format 1"),
    "new setting": (
        lambda m: resettled(m, colour=1),
        r"config\.json is damaged, or of another.*col",
    ),
    "wrong setting": (lambda m: resettled(m, bits="many"), r"config\.json.*bits='many'"),
    "no settings": (lambda m: rewritten(m, settings=None), r"config\.json is damaged"),
    "no pixels": (lambda m: rewritten(m, preprocessing={}), r"config\.json is damaged.*size"),
    "no classes": (lambda m: rewritten(m, classes=3), r"config\.json is damaged"),
    "own code": (
        lambda m: resettled(m, coder="shutil:rmtree"),
        r"'shutil:rmtree' is code .*config\.json",
    ),
    "NaN": (lambda m: reweighted(m, lambda s: s["proxies"].fill_(np.nan)), "proxies holds NaN"),
    "a tensor less": (lambda m: reweighted(m, lambda s: s.pop("proxies")), "model.*proxies"),
    "no front": (
        lambda m: reweighted(m, lambda s: [s.pop(k) for k in list(s) if k.startswith("front.")]),
        "model.*is of another version",
    ),
    "no tensors": (
        lambda m: (
            (m / "model.safetensors").write_bytes(b"{}"),
            rewritten(m, sha256=file_hash(m / "model.safetensors")),
        ),
        r"\.safetensors is damaged",
    ),
    "another size": (lambda m: resettled(m, bits=13), "model.*is of another version"),
    "another backbone": (lambda m: resettled(m, backbone="resnet19"), r"config\.json.*resnet19"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_wrong_with_a_model_is_one_error_that_names_the_file(model, damage):
    change, message = DAMAGE[damage]
    change(model)
    with pytest.raises(ValueError, match=message) as at:
        from_pretrained(model)
    assert str(model) in str(at.value) and "\n" not in str(at.value)


@pytest.mark.parametrize(
    ("state", "settings", "message"),
    [
        ({"u": torch.tensor([1.0, np.inf])}, {}, "u holds NaN or infinite values: this run cannot"),
        (
            {},
            {"network": "mine:Net"},
            "network='mine:Net' is code that is not in the kit: this run",
        ),
    ],
)
def test_what_cannot_be_shared_leaves_no_folder(model, tmp_path, state, settings, message):
    about = read_json(model / "config.json")
    with pytest.raises(ValueError, match=message):
        shared.write(tmp_path / "out", about | {"settings": about["settings"] | settings}, state)
    assert not (tmp_path / "out").exists()


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def cells(*words: str) -> str:
    """A pattern for a row of a Markdown table that has these words side by side."""
    return r"\| " + r" +\| ".join(map(re.escape, words)) + r" +\|"


def test_the_card_says_what_the_runs_wrote(root):
    def made(**given) -> Path:
        toy = dict(dataset="toy", data_dir="", toy_classes=10, toy_train=3, toy_test=2)
        return experiment.run(small_run(root, method="lsh", **toy, **given))

    runs = [made(seed=seed) for seed in range(3)]
    folds = [made(protocol="folds", fold=fold) for fold in (0, 1)]
    halved = made(protocol="half")
    strangers = [made(seed=3, keep=1), made(protocol="folds", fold=2)]
    ledger.record(runs[0].parents[1], [*runs, *folds, halved, *strangers])
    path = runs[0].parents[1] / "tables" / ledger.RUNS
    table = pd.read_csv(path)
    table.loc[table.fold == 2, "query_classes"] = 20  # as if of more classes than the others
    table.to_csv(path, index=False)
    open_run(runs[1]).save_pretrained(root / "model")
    text, table = (root / "model" / "README.md").read_text(), read_metrics(runs[1])
    (result,) = front_matter(text)["model-index"][0]["results"]
    assert (result["dataset"]["type"], result["dataset"]["config"]) == ("toy", "all-classes")
    for score in result["metrics"]:
        rows = table[(table.metric == score["type"]) & (table.ties == "expected")]
        assert [score["value"]] == rows.value.tolist()
    assert [score["name"] for score in result["metrics"]] == ["mAP@all", "P@1", "P@10"]
    values = [100 * read_map(folder) for folder in runs]
    mean, half = np.mean(values), (max(values) - min(values)) / 2
    seen = cells("all-classes", f"{mean:.1f}", f"{half:.1f}", "half the range of 3 seeds")
    assert re.search(seen, text)
    values = [100 * read_map(folder, "unseen@unseen") for folder in folds]
    mean, sd = np.mean(values), np.std(values, ddof=1)
    unseen = cells("unseen@unseen", f"{mean:.1f}", f"{sd:.1f}", "standard deviation of 2 folds")
    assert re.search(unseen, text)
    assert f"{100 * read_map(halved, 'half'):.1f}" in text


@pytest.mark.parametrize("name", DATASETS)
def test_the_licence_is_that_of_the_images(model, name):
    about = read_json(model / "config.json")
    about["settings"]["dataset"] = name
    text = card.card(about)
    told = front_matter(text)
    if name in SOURCES:
        assert SOURCES[name].terms in text and told["license_link"] == SOURCES[name].home
    else:
        assert told["license"] == ("mit" if name == "toy" else "other")
        assert ("see the data set's own terms" in text) == (name == "folder")
    assert ("Only a part of" in text) == (name in SOURCES and SOURCES[name].classes > 10)


# A Python of its own, for huggingface_hub reads HF_ENDPOINT and HF_HUB_OFFLINE when it is imported
FETCH = """
import fdhmfe
for name, revision in {asked}:
    try:
        print(fdhmfe.from_pretrained(name, revision).model_id)
    except (OSError, ValueError) as error:
        print(f"{{type(error).__name__}}: {{error}}")
"""


def test_a_model_comes_from_the_hub_by_name_and_stays(place, tmp_path):
    def fetched(*asked: tuple[str, str | None], **variables: str) -> list[str]:
        script = FETCH.format(asked=asked)
        return python(script, tmp_path, HF_HOME=str(tmp_path / "cache"), **variables).splitlines()

    folder = place / "models" / "0"
    partly = shutil.copytree(folder, tmp_path / "partly")
    (partly / "model.safetensors").unlink()
    (partly / "evil.py").write_text("print('run')")
    own = read_json(folder / "config.json")["model_id"]
    with served({"me/model": folder, "me/partly": partly}) as hub:
        found = fetched(
            *(("me/model", None), ("me/model", "v2"), ("me/none", None), ("me/partly", None)),
            HF_ENDPOINT=hub,
        )
    assert found[0] == own
    for said, reason in zip(found[1:3], ("v2", "me/none"), strict=True):
        assert said.startswith("ConnectionError: me/") and reason in said
    assert re.search(r"ValueError: \S+model\.safetensors is missing", found[3])
    assert not list((tmp_path / "cache").rglob("evil.py")), "only the model's own files are fetched"
    kept = fetched(("me/model", None), ("me/other", None), HF_HUB_OFFLINE="1")
    assert kept[0] == own
    assert kept[1].startswith("ConnectionError: me/other is no folder here, and the Hub does not")
    assert fetched(("me/model", None), HF_ENDPOINT=hub) == [own], (
        "the Hub is gone, its model is not"
    )


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "../a", "https://hub/a", "a b/c"])
def test_a_name_that_can_be_no_model_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no OWNER/NAME of the Hub, and none of: toy"):
        from_pretrained(name)


def test_the_kit_s_own_model_encodes_beetles(tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    monkeypatch.chdir(tmp_path)  # a folder of this name does not hide it
    model = fdhmfe.from_pretrained("toy")
    image = save_image(tmp_path / "a.png", seed=1)
    assert model.encode([image]).shape == (1, 48)
    for other in ("./toy", Path("toy")):
        with pytest.raises(ValueError, match=r"toy/config\.json is missing"):
            from_pretrained(other)
    files = [model.folder / name for name in shared.FILES]
    assert sum(file.stat().st_size for file in files) < 3e6
    assert (model.folder / "README.md").read_text() == card.card(model.about), (
        "python tools/toy_model.py"
    )


@pytest.mark.slow  # encodes 2,880 images
def test_the_kit_s_own_model_scores_what_its_card_says():
    model = fdhmfe.from_pretrained("toy")
    dataset = open_dataset(model.config)
    parts = [dataset.rows(split) for split in ("test", "database")]
    codes = [model.encode([dataset.image(row) for row in rows]) for rows in parts]
    found = fdhmfe.metrics.mean_average_precision(*codes, *map(dataset.labels, parts))
    (said,) = (row["value"] for row in model.about["scores"] if row["metric"] == "mAP")
    assert found == pytest.approx(said, abs=0.005)  # on another machine, some bits differ
