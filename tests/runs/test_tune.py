"""The search on a tiny real data set: the same trials for every method, the best one kept."""

import pandas as pd
import pytest
from conftest import write_folder

from fdhmfe import config
from fdhmfe.__main__ import main
from fdhmfe.config import profiles
from fdhmfe.config.settings import Config
from fdhmfe.runs import tune

pytestmark = pytest.mark.slow  # many runs


@pytest.fixture
def place(tmp_path, own_cache, monkeypatch):
    write_folder(tmp_path / "images", classes=2, per_class=24)
    tuned = tmp_path / "tuned.csv"
    tuned.write_text("profile,method,learning_rate,loss_weight\nsmoke,dpn,1.0,2.0\n")
    for module in (tune, profiles):
        monkeypatch.setattr(module, "TUNED", tuned)
    return tmp_path


def test_every_method_gets_the_same_trials_and_its_best_settings_are_loaded(place, capsys):
    arguments = ["--profile", "smoke", "--dataset", "folder", "--data-dir", str(place / "images")]
    assert main(["tune", *arguments, "--methods", "csq", "dpn", "--jobs", "1"]) == 0
    trials = pd.read_csv(place / "results" / "smoke" / "tables" / "tuning.csv")
    for _, group in trials.groupby("method"):
        rates = group.learning_rate / Config.learning_rate
        assert rates.tolist()[:3] == pytest.approx([1 / 3, 1, 3])
        assert group.loss_weight.tolist() == [1, 1, 1, 0.3, 3]
        best_rate = group.learning_rate[group.value[:3].idxmax()]
        assert (group.learning_rate[3:] == best_rate).all()
    assert set(trials.protocol) == {"validation"}
    for method in ("csq", "dpn"):
        best = trials[trials.method == method].sort_values("value", kind="stable").iloc[-1]
        assert best.value == trials.value[trials.method == method].max()
        loaded = config.load("smoke", method=method)
        row = trials[(trials.method == method) & (trials.value == best.value)].iloc[0]
        assert (loaded.learning_rate, loaded.loss_weight) == (row.learning_rate, row.loss_weight)
    assert config.load("quick", method="csq").loss_weight == 1.0, "another profile is untouched"
    assert main(["tune", *arguments, "--methods", "csq", "--jobs", "1"]) == 0
    again = pd.read_csv(place / "results" / "smoke" / "tables" / "tuning.csv")
    assert again.groupby("method").size().to_dict() == {"csq": 5, "dpn": 5}, "dpn's are kept"


def test_a_wrong_name_is_an_error_with_the_nearest_and_no_traceback(place, capsys):
    assert main(["tune", "--profile", "smoke", "--methods", "csx"]) == 2
    assert "did you mean 'csq'" in capsys.readouterr().err
