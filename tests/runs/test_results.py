"""Run folders: what is in them, when they are reused, and the table they make."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_run, write_folder
from safetensors.torch import load_file

from fdhmfe.config.settings import Config
from fdhmfe.metrics import mean_average_precision, precision_at_k
from fdhmfe.network import binarise
from fdhmfe.proxies import arrange, class_means, class_similarity, maxmin_proxies
from fdhmfe.runs import experiment, ledger, results, scoring
from fdhmfe.runs import inputs as run_inputs
from fdhmfe.runs.results import (
    headline,
    is_finished,
    read_codes,
    read_map,
    read_metrics,
    run_id,
    source_hash,
    write_csv,
)
from fdhmfe.support.files import read_json, write_json
from fdhmfe.training.coders import ReadOut, Sign

FILES = ["codes.npz", "config.json", "env.json", "history.csv", "metrics.csv", "model.safetensors"]
PROMISED = {
    *("dataset", "method", "variant", "bits", "seed", "protocol", "database_codes"),
    *("metric", "k", "ties", "n_query", "n_database", "value"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with images, and with caches and results to come."""
    root = tmp_path_factory.mktemp("runs")
    write_folder(root / "images", classes=3, per_class=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDHMFE_HOME", str(root))
        yield root


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    return experiment.run(small_run(place))


@pytest.fixture(scope="module")
def metrics(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "metrics.csv", keep_default_na=False)


def test_run_folder_has_every_file_and_nothing_else(place, run):
    assert sorted(path.name for path in run.iterdir()) == FILES
    assert run.parent == place / "results" / "smoke" / "runs"


def test_config_is_stored_as_it_was(place, run):
    assert read_json(run / "config.json") == asdict(small_run(place))


def test_environment_says_what_the_numbers_were_made_with(run):
    stored = read_json(run / "env.json")
    assert stored["torch"] == version("torch")
    assert {"python", "torch", "device", "commit", "modified", "source_hash"} <= set(stored)
    assert {"seconds", "parameters", "dataset_hash", "backbone_id"} <= set(stored)
    assert stored["parameters"] > 0


def test_history_has_a_row_per_epoch(run):
    history = pd.read_csv(run / "history.csv")
    assert history.epoch.tolist() == [1, 2]
    assert {"loss", "proxy", "background", "triplet"} <= set(history.columns)
    assert np.isfinite(history.to_numpy()).all()


def test_codes_are_as_promised(place, run):
    with np.load(run / "codes.npz") as stored:
        assert sorted(stored) == sorted(
            ["query_codes", "query_labels", "database_codes", "database_labels"]
        )
    codes = read_codes(run)
    for side in ("query", "database"):
        assert codes[f"{side}_codes"].shape == (15, 12)
        assert codes[f"{side}_codes"].dtype == np.int8
        assert set(np.unique(codes[f"{side}_codes"])) <= {-1, 1}
        assert np.bincount(codes[f"{side}_labels"]).tolist() == [5, 5, 5]


def test_metrics_have_the_promised_columns(run, metrics):
    assert set(metrics.columns) >= PROMISED
    assert metrics.metric.tolist() == ["mAP", "mAP", "P@1", "P@10", "top1", "mAP", "mAP"]
    assert metrics.coder.tolist() == ["sign"] * 5 + ["read-out", "sign"]
    ties = ["expected", "index", "expected", "expected", "", "expected", "expected"]
    assert metrics.ties.tolist() == ties
    assert metrics.k.astype(str).tolist() == ["all", "all", "1", "10", "", "all", "all"]
    assert metrics.method.tolist() == ["fdh-mfe"] * 5 + ["fdh-mfe, read-out", "unquantised"]
    assert metrics.value.between(0, 1).all()
    constant = {
        "run_id": run.name,
        "dataset": "folder",
        "variant": "full",
        "bits": 12,
        "seed": 0,
        "protocol": "all-classes",
        "fold": "",
        "database_codes": "network",
        "n_query": 15,
        "n_database": 15,
    }
    for column, value in constant.items():
        assert metrics[column].tolist() == [value] * 7


def test_values_are_the_metrics_of_the_stored_codes(run, metrics):
    codes = read_codes(run)
    order = ("query_codes", "database_codes", "query_labels", "database_labels")
    arrays = [codes[name] for name in order]
    expected = [mean_average_precision(*arrays, ties=ties) for ties in ("expected", "index")]
    expected += [precision_at_k(*arrays, k=k) for k in (1, 10)]
    assert metrics.value.tolist()[:4] == pytest.approx(expected, abs=1e-15)


def test_stored_model_gives_the_stored_codes_and_top1(place, run, metrics):
    config = small_run(place)
    inputs = run_inputs.prepare(config)
    method = experiment.build_model(config, inputs)
    method.network.load_state_dict(load_file(run / "model.safetensors"))
    encoded = experiment.encode(method, inputs)
    codes, top1 = encoded.codes, encoded.top1
    for name, stored in read_codes(run).items():
        np.testing.assert_array_equal(codes[name], stored)
    assert metrics.value.iat[4] == pytest.approx(top1)


def test_database_is_train_and_queries_are_test(place, run):
    inputs = run_inputs.prepare(small_run(place))
    network = experiment.build_model(small_run(place), inputs).network
    network.load_state_dict(load_file(run / "model.safetensors"))
    paths = inputs.dataset.table.path
    for side, split in (("query", "test"), ("database", "train")):
        rows = np.flatnonzero(paths.str.startswith(f"{split}/"))
        u = experiment.train.relaxed_codes(network, inputs.source, rows, Sign())
        np.testing.assert_array_equal(binarise(u).numpy(), read_codes(run)[f"{side}_codes"])


def test_nearest_proxy_by_hand():
    proxies = torch.tensor([[1.0, 1], [-1, 1], [-1, -1]])
    u = torch.tensor([[0.1, 3.0], [-9, 8], [-1, -5], [0.2, 0.1]])
    assert scoring.nearest_proxy(u, proxies).tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    "given",
    [
        *({}, {"method": "pooled-mlp"}),  # these keep the proxies as drawn
        {"method": "fdh-mfe+", "variant": "no-arrangement"},
        *({"method": "fdh-mfe+"}, {"method": "fdh-mfe+", "trainable": "all"}),
        {"method": "softmax"},
    ],
)
def test_stored_proxies_are_those_of_the_arrangement(tmp_path, own_cache, given):
    write_folder(tmp_path / "images", classes=6, per_class=8)
    config = small_run(tmp_path, epochs=1, **given)
    inputs = run_inputs.prepare(config)
    rows = inputs.dataset.rows("train")
    similarity = class_similarity(
        experiment.pooled_features(inputs, rows), inputs.dataset.labels(rows)
    )
    drawn = maxmin_proxies(6, config.bits, config.seed)
    arranged = arrange(drawn, similarity)
    assert (arranged != drawn).any()
    folder = experiment.run(config)
    network = load_file(folder / "model.safetensors")
    stored = network["head.proxies" if config.trainable == "all" else "proxies"]
    ours = config.method in ("fdh-mfe+", "softmax") and config.variant == "full"
    np.testing.assert_array_equal(stored, arranged if ours else drawn)


# Methods that differ in what they leave behind


def apart(place: Path, **given) -> Config:
    """Settings of runs that the tables below do not collect."""
    return small_run(place, results_dir=str(place / "apart"), **given)


def test_codes_solved_from_labels_are_scored_beside_the_network_and_kept_apart(place):
    folder = experiment.run(apart(place, method="adsh"))
    table = pd.read_csv(folder / "metrics.csv", keep_default_na=False)
    retrieval = ["mAP", "mAP", "P@1", "P@10"]
    assert table.metric.tolist() == [*retrieval, "top1", *retrieval]
    assert table.database_codes.tolist() == ["network"] * 5 + ["dcc"] * 4
    codes = read_codes(folder)
    with np.load(folder / "solved_codes.npz") as stored:
        solved = stored["database_codes"]
    assert (solved.shape, solved.dtype) == ((15, 12), np.int8)
    assert set(np.unique(solved)) == {-1, 1}
    for rows, database in (("network", codes["database_codes"]), ("dcc", solved)):
        expected = [
            row["value"] for row in scoring.score({**codes, "database_codes": database}, top1=None)
        ]
        found = table[(table.database_codes == rows) & (table.metric != "top1")]
        assert found.value.astype(float).tolist() == pytest.approx(expected, abs=1e-15)


def test_main_codes_are_the_networks_not_the_solved_ones(place):
    config = apart(place, method="adsh")
    folder = experiment.run(config)
    inputs = run_inputs.prepare(config)
    network = experiment.build_model(config, inputs).network
    network.load_state_dict(load_file(folder / "model.safetensors"))  # holds no solved codes
    rows = inputs.dataset.rows("train")
    u = experiment.train.relaxed_codes(network, inputs.source, rows, Sign())
    np.testing.assert_array_equal(binarise(u).numpy(), read_codes(folder)["database_codes"])


@pytest.mark.parametrize(
    ("protocol", "rules"),
    [
        ("validation", {"validation"}),
        ("folds", {"seen@seen"}),
        ("folds-validation", {"validation seen@seen"}),
        ("half", set()),
    ],
)
def test_solved_codes_count_only_where_the_database_was_trained_on(
    tmp_path, own_cache, protocol, rules
):
    write_folder(tmp_path / "images", classes=10, per_class=20)
    folder = experiment.run(small_run(tmp_path, method="adsh", protocol=protocol, epochs=1))
    table = pd.read_csv(folder / "metrics.csv")
    assert set(table.protocol[table.database_codes == "dcc"]) == rules
    assert (folder / "solved_codes.npz").exists() == bool(rules)


@pytest.mark.parametrize("name", ["lsh", "itq"])
def test_closed_form_methods_leave_a_history_without_epochs(place, name):
    folder = experiment.run(apart(place, method=name))
    assert (folder / "history.csv").read_text() == "epoch\n"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    inputs = run_inputs.prepare(small_run(place, method=name))
    features = experiment.pooled_features(inputs, inputs.dataset.rows("train"))
    mean = load_file(folder / "model.safetensors")["coder.mean"]
    np.testing.assert_allclose(mean, features.mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trainable", ["tail", "all"])
def test_with_a_backbone_to_train_they_code_the_features_that_a_classifier_trained(
    place, trainable
):
    config = apart(place, method="itq", trainable=trainable)
    folder = experiment.run(config)
    assert pd.read_csv(folder / "history.csv").columns.tolist() == ["epoch", "loss", "class"]
    inputs = run_inputs.prepare(config)
    rows, width = inputs.dataset.rows("train"), inputs.channels[-1]
    method = experiment.build_model(config, inputs)
    method.load_state(load_file(folder / "model.safetensors"))
    read = partial(experiment.deepest, width=width)
    trained = experiment.train.relaxed_codes(method.network, inputs.source, rows, read)
    torch.testing.assert_close(method.coder.mean, trained.mean(0), rtol=1e-4, atol=1e-5)
    before = torch.from_numpy(experiment.pooled_features(inputs, rows)).mean(0)
    assert not torch.allclose(method.coder.mean, before, rtol=1e-4, atol=1e-5)


def test_class_means_and_classes_without_images():
    u = torch.tensor([[1.0, 3], [3, 1], [-1, 0]])
    means = class_means(u, np.array([1, 1, 3]))
    assert means[[1, 3]].tolist() == [[2, 2], [-1, 0]]
    queries = torch.tensor([[1.0, 1], [-5, 1], [1, -2]])
    assert scoring.nearest_proxy(queries, means).tolist() == [1, 3, 1]


@pytest.mark.parametrize("protocol", ["all-classes", "folds"])
@pytest.mark.parametrize("name", ["orthohash", "dpsh"])
def test_top1_is_by_proxies_or_else_by_class_means(tmp_path, own_cache, name, protocol):
    write_folder(tmp_path / "images", classes=10, per_class=8)
    config = small_run(tmp_path, method=name, protocol=protocol)
    inputs = run_inputs.prepare(config)
    method = experiment.build_model(config, inputs)
    network, top1 = method.network, experiment.encode(method, inputs).top1
    u, labels = {}, {}
    for split in ("test", "database"):
        rows = inputs.dataset.rows(split)
        u[split] = experiment.train.relaxed_codes(network, inputs.source, rows, Sign())
        labels[split] = inputs.dataset.labels(rows)
    classes = sorted(set(labels["database"]))
    centres = {y: u["database"][labels["database"] == y].mean(0) for y in classes}
    if name == "orthohash" and protocol == "all-classes":
        centres = dict(enumerate(network.proxies))
    right = 0
    for code, label in zip(u["test"], labels["test"], strict=True):
        cosine = {y: float(torch.cosine_similarity(code, c, dim=0)) for y, c in centres.items()}
        right += max(cosine, key=cosine.get) == label
    assert top1 == pytest.approx(right / len(labels["test"]))


# Protocols with classes never seen, and what stands beside a run's own rows


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with images of ten classes."""
    root = tmp_path_factory.mktemp("ten")
    write_folder(root / "images", classes=10, per_class=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDHMFE_HOME", str(root))
        yield root


def test_rows_of_a_fold_are_the_scores_of_parts_of_its_stored_codes(ten):
    folder = experiment.run(small_run(ten, protocol="folds", fold=1))
    stored, table = read_codes(folder), read_metrics(folder)
    assert np.bincount(stored["database_labels"]).tolist() == [4] * 10
    assert len(load_file(folder / "model.safetensors")["proxies"]) == 8
    seen, trained = stored["query_labels"] < 8, stored["database_labels"] < 8
    parts = {
        "seen@seen": (seen, trained),
        "unseen@unseen": (~seen, ~trained),
        "unseen@all": (~seen, trained | True),
    }
    assert table.protocol.unique().tolist() == list(parts)
    assert set(table.fold) == {1}
    for protocol, (queries, items) in parts.items():
        codes = stored["query_codes"][queries], stored["database_codes"][items]
        labels = stored["query_labels"][queries], stored["database_labels"][items]
        value = mean_average_precision(*codes, *labels)
        assert read_map(folder, protocol) == pytest.approx(value, abs=1e-15)
    assert read_map(folder) == read_map(folder, "seen@seen")


def test_rows_of_half_are_of_the_second_half_without_the_query_itself(ten):
    folder = experiment.run(small_run(ten, protocol="half"))
    stored, table = read_codes(folder), read_metrics(folder)
    np.testing.assert_array_equal(stored["query_codes"], stored["database_codes"])
    assert np.bincount(stored["query_labels"]).tolist() == [0] * 5 + [8] * 5
    assert (set(table.n_query), set(table.n_database)) == ({40}, {39})
    values = []
    for query in range(40):
        rest = np.delete(np.arange(40), query)
        codes = stored["query_codes"][[query]], stored["database_codes"][rest]
        labels = stored["query_labels"][[query]], stored["database_labels"][rest]
        values.append(
            (mean_average_precision(*codes, *labels), precision_at_k(*codes, *labels, k=1))
        )
    precision, recall = np.mean(values, axis=0)
    assert read_map(folder) == pytest.approx(precision, abs=1e-12)
    assert table.value[table.metric == "R@1"].item() == pytest.approx(recall, abs=1e-12)


def test_the_read_out_stands_beside_the_sign_and_never_in_its_place(place):
    config = apart(place, method="orthohash", epochs=1)
    folder = experiment.run(config)
    inputs = run_inputs.prepare(config)
    network = experiment.build_model(config, inputs).network
    network.load_state_dict(load_file(folder / "model.safetensors"))
    values = {}
    for coder in (Sign(), ReadOut(config.scale)):
        u = [
            binarise(experiment.train.relaxed_codes(network, inputs.source, rows, coder))
            for rows in map(inputs.dataset.rows, ("test", "database"))
        ]
        labels = (inputs.dataset.labels(inputs.dataset.rows(s)) for s in ("test", "database"))
        values[type(coder)] = mean_average_precision(*u, *labels)
    table = read_metrics(folder)
    beside = table[table.coder == "read-out"]
    assert beside.method.tolist() == ["orthohash, read-out"]
    assert beside.value.item() == pytest.approx(values[ReadOut], abs=1e-15)
    assert headline(table).method.tolist() == ["orthohash"]
    assert read_map(folder) == pytest.approx(values[Sign], abs=1e-15)


@pytest.mark.parametrize(
    "given",
    [
        *({"method": "dpsh"}, {"method": "lsh"}),  # no proxies
        {"method": "dpsh", "network": "fdh-mfe"},  # its network has some, but no loss aims at them
        {"method": "orthohash", "coder": "read-out"},  # it is the run's own coder
        {"method": "fdh-mfe+", "variant": "open"},  # u is not the whole code
    ],
)
def test_no_read_out_without_proxies_or_beside_another_coder(place, given):
    assert beside(small_run(place, **given)) == {}


def beside(config: Config) -> dict:
    """What an untrained network of these settings is read for beside its codes."""
    inputs = run_inputs.prepare(config)
    method = experiment.build_model(config, inputs)
    return experiment.beside(method, config, inputs.channels[-1])


@pytest.mark.parametrize("protocol", ["all-classes", "validation", "folds", "half"])
def test_the_classifiers_run_gives_the_controls_of_every_protocol(ten, protocol):
    config = small_run(ten, method="softmax", protocol=protocol)
    table = headline(read_metrics(experiment.run(config)))
    assert table.groupby("protocol").size().eq(3).all()
    assert set(table.method) == {"softmax", "class-id", "cosine"}
    if protocol in ("all-classes", "validation"):
        data = run_inputs.prepare(config)
        features, labels = {}, {}
        for split in ("test", "database"):
            rows = data.dataset.rows(split)
            features[split] = experiment.pooled_features(data, rows)
            labels[split] = data.dataset.labels(rows)
        cosine = scoring.unquantised_map(*features.values(), *labels.values())
        assert table.value[table.method == "cosine"].item() == pytest.approx(cosine, abs=1e-12)


def test_a_variant_of_the_classifier_gives_no_second_controls(ten):
    assert set(beside(small_run(ten, method="softmax"))) == {"read-out", "posterior", "features"}
    assert beside(small_run(ten, method="softmax", variant="open")) == {}


# Names


def test_run_id_reads_well_and_is_stable(place):
    name = run_id(small_run(place), "data", "weights")
    assert name.startswith("folder-fdh-mfe-full-12bits-seed0-")
    assert name == run_id(small_run(place), "data", "weights")


@pytest.mark.parametrize(
    "given",
    [
        *({"bits": 24}, {"seed": 1}, {"variant": "no-graph"}, {"margin": 0.3}, {"epochs": 3}),
        *({"protocol": "validation"}, {"image_size": 64}, {"method": "orthohash"}),
        {"loss_weight": 2.0},
    ],
)
def test_run_id_changes_with_the_settings(place, given):
    plain = run_id(small_run(place), "data", "weights")
    assert run_id(small_run(place, **given), "data", "weights") != plain


def test_run_id_changes_with_data_and_weights_and_not_with_places(place):
    plain = run_id(small_run(place), "data", "weights")
    assert run_id(small_run(place), "other", "weights") != plain
    assert run_id(small_run(place), "data", "other") != plain
    own = dict(backbone="mobilenet_v2")
    moved = dict(data_dir="elsewhere", weights="w.pth", results_dir="out", reuse=False)
    there, here = small_run(place, **own, **moved), small_run(place, **own)
    assert run_id(there, "data", "weights") == run_id(here, "data", "weights") != plain


def test_a_copy_of_the_images_elsewhere_is_the_same_run(place, run, tmp_path):
    shutil.copytree(place / "images", tmp_path / "copy")
    again = experiment.run(small_run(place, data_dir=str(tmp_path / "copy")))
    assert again == run


# Reuse


def stamps(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in run.iterdir()}


def test_a_finished_run_is_reused_and_says_so(place, run, capsys):
    before = stamps(run)
    assert experiment.run(small_run(place)) == run
    assert f"reused {run.name}" in capsys.readouterr().out
    assert stamps(run) == before


def test_reuse_off_trains_again_to_the_same_codes(place, run):
    before, codes = stamps(run), (run / "codes.npz").read_bytes()
    assert experiment.run(small_run(place, reuse=False)) == run
    assert all(stamps(run)[name] > before[name] for name in FILES)
    assert (run / "codes.npz").read_bytes() == codes


def test_a_run_is_finished_only_with_metrics_made_by_todays_code(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    assert is_finished(copy)
    stored = read_json(copy / "env.json")
    assert stored["source_hash"] == source_hash()
    write_json(copy / "env.json", {**stored, "source_hash": "of other code"})
    assert not is_finished(copy)
    write_json(copy / "env.json", stored)
    (copy / "metrics.csv").unlink()
    assert not is_finished(copy)
    assert not is_finished(tmp_path / "absent")


def test_rows_of_code_that_gives_the_same_codes_count(monkeypatch, tmp_path):
    table = tmp_path / "same_codes.csv"
    monkeypatch.setattr(results, "shipped", lambda name: table)
    monkeypatch.setattr(results, "source_hash", lambda: "0123")
    known = results.same_codes.__wrapped__  # without its memory
    assert known() == {"0123"}
    pairs = [("a", "b"), ("b", "c"), ("c", "0123"), ("x", "y")]
    table.write_text("before,after,runs\n" + "".join(f"{a},{b},9\n" for a, b in pairs))
    assert known() == {"a", "b", "c", "0123"}


# Tables


def test_table_collects_the_runs(place, run, metrics, tmp_path):
    other = experiment.run(small_run(place, method="orthohash", bits=24, seed=1, epochs=1))
    ledger.record(tmp_path, [run, other])
    table = ledger.rows_of(tmp_path, ledger.METRICS, [run.name, other.name])
    assert len(table) == 7 + 6
    mine = table[table.run_id == run.name].reset_index(drop=True)
    assert mine.value.tolist() == metrics.value.tolist()
    chosen = table.query("metric == 'mAP' and ties == 'expected'")
    expected = {"fdh-mfe": 12, "unquantised": 12, "orthohash": 24}
    expected |= {"fdh-mfe, read-out": 12, "orthohash, read-out": 24}
    assert dict(zip(chosen.method, chosen.bits, strict=True)) == expected


def test_validation_rows_say_so(place):
    folder = experiment.run(small_run(place, protocol="validation", epochs=1))
    table = pd.read_csv(folder / "metrics.csv")
    assert set(table.protocol) == {"validation"}
    assert (table.n_query.iat[0], table.n_database.iat[0]) == (3, 12)


def test_score_by_hand():
    # query +1 +1; database at distances 0, 1, 1: the class of the query first and, half the time,
    # second or third: AP = (1 + 2/2) / 2 or (1 + 2/3) / 2
    codes = {
        "query_codes": np.array([[1, 1]], np.int8),
        "database_codes": np.array([[1, 1], [1, -1], [-1, 1]] + [[-1, -1]] * 7, np.int8),
        "query_labels": np.array([0]),
        "database_labels": np.array([0, 1, 0] + [1] * 7),
    }
    values = {(row["metric"], row["ties"]): row["value"] for row in scoring.score(codes, top1=0.5)}
    assert values == pytest.approx(
        {
            ("mAP", "expected"): (1 + 5 / 6) / 2,
            ("mAP", "index"): (1 + 2 / 3) / 2,
            ("P@1", "expected"): 1.0,
            ("P@10", "expected"): 0.2,
            ("top1", ""): 0.5,
        }
    )


def test_numbers_survive_the_file(tmp_path):
    table = pd.DataFrame({"value": [1 / 3, 0.1 + 0.2, 1.0], "ties": ["", "index", "best"]})
    write_csv(tmp_path / "t.csv", table)
    again = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(again, table, check_exact=True)
