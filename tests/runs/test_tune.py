"""The search: it walks past edges, keeps its budget, and what it chose is loaded."""

import math

import pandas as pd
import pytest
from conftest import write_folder

from fdhmfe import config
from fdhmfe.__main__ import TUNED_SETTINGS, main
from fdhmfe.config import profiles
from fdhmfe.config.settings import Config
from fdhmfe.runs import tune

SMOKE = {"profile": "smoke", "dataset": "toy"}


@pytest.fixture
def scored(monkeypatch):
    """Replaces the runs by a function of the trial: call it with that function."""

    def stub(value) -> None:
        def score(given, asked, jobs) -> pd.DataFrame:
            rows = [{"method": m, **trial, "value": value(trial)} for m, trial in asked]
            return pd.DataFrame(rows).assign(dataset="toy", trainable="none", profile="smoke")

        monkeypatch.setattr(tune, "score", score)

    return stub


def near(name: str, best: float):
    """A score that is highest where a setting has a value."""
    return lambda trial: -abs(math.log(trial[name] / best))


@pytest.mark.parametrize("steps", [-3, 3])
@pytest.mark.parametrize("name", ["learning_rate", "loss_weight"])
def test_it_walks_past_an_edge_until_the_best_is_inside(scored, monkeypatch, name, steps):
    monkeypatch.setattr(tune, "BUDGET", 60)
    first = getattr(Config, name)
    scored(near(name, first * tune.FACTOR**steps))
    trials = tune.search(SMOKE, ["csq"], None)
    best = tune.best(trials).iloc[0]
    assert best[name] == pytest.approx(first * tune.FACTOR**steps, rel=0.01)
    others = [x for x in tune.SETTINGS if x != name]
    beside = trials[(trials[others] == best[others]).all(axis=1)][name]
    assert (beside.min() < best[name]) and (beside.max() > best[name]), "not at an edge"


def test_no_trial_is_made_twice_not_even_nearly(scored, monkeypatch):
    monkeypatch.setattr(tune, "BUDGET", 60)
    scored(lambda trial: near("learning_rate", 1e-4)(trial) + near("loss_weight", 9)(trial))
    trials = tune.search(SMOKE, ["csq"], None)
    names = ["learning_rate", "loss_weight"]
    logs = trials[names].map(lambda value: round(math.log(value), 1))
    assert not logs.assign(head=trials.hash_head + trials.pooling).duplicated().any()


def test_it_stops_at_the_budget_and_every_method_has_the_same(scored):
    scored(near("learning_rate", 1e9))
    trials = tune.search(SMOKE, ["csq", "dpn", "softmax", "fdh-mfe"], None)
    assert trials.groupby("method").size().to_dict() == dict.fromkeys(
        ("csq", "dpn", "softmax", "fdh-mfe"), tune.BUDGET
    )


def test_it_stops_sooner_where_no_neighbour_is_better(scored):
    scored(lambda trial: 0.5)
    trials = tune.search(SMOKE, ["csq", "a2-net"], None)
    # the first, and around it: two other heads (parts have no choice), two weights, two rates
    assert trials.groupby("method").size().to_dict() == {"csq": 1 + 2 + 2 + 2, "a2-net": 1 + 2 + 2}
    assert tune.best(trials).index.tolist() == [0, 1], "of equal ones, the first"


def test_it_starts_from_the_profile_and_tries_only_what_has_an_effect(scored):
    scored(lambda trial: 0.5)
    laptop = {"profile": "laptop", "dataset": "toy", "backbone": "embedded"}
    for given, trains in ((SMOKE, False), (laptop, True)):
        trials = tune.search(given, ["csq"], None)
        settings = {**profiles.PROFILES[given["profile"]]}
        for name in tune.RATES:
            assert trials[name].iat[0] == settings.get(name, getattr(Config, name))
        assert (trials.backbone_learning_rate.nunique() > 1) == trains
    assert tune.search(laptop, ["orthohash"], None).loss_weight.nunique() == 3


def test_the_best_head_is_kept_for_what_follows(scored):
    scored(lambda trial: trial["hash_head"] == "mlp" and trial["pooling"] == "all")
    trials = tune.search(SMOKE, ["csq"], None)
    heads = list(zip(trials.hash_head, trials.pooling, strict=True))
    assert heads[:3] == list(tune.HEADS["pooled"])
    assert set(heads[3:]) == {("mlp", "all")}


def test_the_command_leaves_to_the_search_what_the_search_sets():
    assert TUNED_SETTINGS == tune.SETTINGS


@pytest.fixture
def place(tmp_path, own_cache, monkeypatch):
    write_folder(tmp_path / "images", classes=2, per_class=24)
    tuned = tmp_path / "tuned.csv"
    tuned.write_text(
        "profile,trainable,method,learning_rate,loss_weight\n"
        "smoke,none,dpn,1.0,2.0\nsmoke,tail,csq,3.0,4.0\n"
    )
    for module in (tune, profiles):
        monkeypatch.setattr(module, "TUNED", tuned)
    monkeypatch.setattr(tune, "BUDGET", 4)
    return tmp_path


@pytest.mark.slow  # many runs
def test_real_trials_are_kept_and_the_best_is_loaded(place, capsys):
    arguments = ["--profile", "smoke", "--dataset", "folder", "--data-dir", str(place / "images")]
    assert main(["tune", *arguments, "--methods", "csq", "dpn", "--jobs", "1"]) == 0
    path = place / "results" / "smoke" / "tables" / "tuning.csv"
    trials = pd.read_csv(path)
    assert trials.groupby("method").size().to_dict() == {"csq": 4, "dpn": 4}
    assert set(trials.protocol) == {"validation"} and set(trials.bits) == {tune.BITS}
    for method in ("csq", "dpn"):
        best = trials.loc[trials.value[trials.method == method].idxmax()]
        loaded = config.load("smoke", method=method)
        for name in tune.SETTINGS:
            assert getattr(loaded, name) == best[name]
    assert config.load("quick", method="csq").loss_weight == 1.0, "another profile is untouched"
    assert config.load("smoke", method="csq", trainable="tail").loss_weight == 4.0
    assert main(["tune", *arguments, "--methods", "csq", "--jobs", "1"]) == 0
    again = pd.read_csv(path)
    assert again.groupby("method").size().to_dict() == {"csq": 4, "dpn": 4}, "dpn's are kept"


def test_a_wrong_name_is_an_error_with_the_nearest_and_no_traceback(capsys):
    assert main(["tune", "--profile", "smoke", "--methods", "csx"]) == 2
    assert "did you mean 'csq'" in capsys.readouterr().err
