"""Numbers of others on unseen classes: how their logs are read, and the table that came of it."""

import pandas as pd
import pytest
from conftest import ROOT, tool

SETTINGS = (
    "x | SUCCESS | Namespace(arch='{arch}', code_length=[12, 24], dataset='{dataset}', "
    "info='CUB-50-150-12,24-{info}', num_classes={seen}, num_zs={unseen}, topk=-1)"
)
EVALUATED = (
    "x | INFO | [iter:{at}/40][code_length:{bits}][mAP:0.8{at}00][mAP_all:0.7{at}00][best_mAP:0.9]",
    "x | INFO | [iter:{at}/40][code_length:{bits}][zs_mAP:0.2{at}00][zs_mAP_all:0.1{at}00]",
)
RESULT = (
    "x | INFO | [code_length:{bits}][map:0.8888][map_all:0.7777][zs_map:0.2222][zs_map_all:0.1111]"
)


def log(*iterations: int, **given: str | int) -> list[str]:
    """The lines of a log with one code length, evaluated at these iterations."""
    facts = {"arch": "fish", "dataset": "cub-2011-for-zero-shot", "info": "a", "bits": 12}
    facts |= {"seen": 150, "unseen": 50, **given}
    lines = [SETTINGS, *(line.replace("{at}", str(at)) for at in iterations for line in EVALUATED)]
    return [line.format(**facts) for line in [*lines, RESULT]]


def read(lines: list[str]) -> pd.DataFrame:
    return pd.DataFrame(tool("unseen_map").read_log(lines, "the log"))


def test_the_last_iteration_and_the_logs_own_result_are_both_kept_with_their_lines():
    rows = read(log(39, 40))
    assert rows.protocol.str.split(" ").str[0].tolist() == [
        *("seen@seen", "seen@all", "unseen@unseen", "unseen@all")
    ]
    assert rows.map_percent.tolist() == ["84.000", "74.000", "24.000", "14.000"]
    assert rows.best_percent.tolist() == ["88.88", "77.77", "22.22", "11.11"]
    assert rows.line.tolist() == [4, 4, 5, 5] and set(rows.best_line) == {6}
    assert rows.database_codes.tolist() == ["label", "label", "network", "label"]
    assert rows.protocol[0].endswith("(150 of 200 classes seen)")


def test_what_was_broken_off_before_a_restart_does_not_count():
    broken = log(40)[:-1]
    assert read([*broken, *log(40)]).line.tolist() == [5, 5, 6, 6]
    assert read(broken).empty


def test_a_log_that_ends_early_is_refused():
    with pytest.raises(ValueError, match="the log, line 4: the last iteration"):
        read(log(39))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"seen": 190, "unseen": 10}, 0),  # not a quarter
        ({"seen": 217, "unseen": 75, "dataset": "vegfruzs"}, 4),  # nearly
        ({"dataset": "cifar100zs"}, 0),  # not fine-grained
    ],
)
def test_only_runs_on_fine_grained_data_with_a_quarter_unseen_are_read(given, found):
    assert len(read(log(40, **given))) == found


@pytest.mark.parametrize(("info", "method"), [("tanh1", "DAHNet*"), ("wocls", "DAHNet--")])
def test_dahnet_with_and_without_class_labels_are_two_methods(info, method):
    assert set(read(log(40, arch="dah", info=info)).method) == {method}


@pytest.fixture
def committed() -> pd.DataFrame:
    table = pd.read_csv(ROOT / "results" / "paper" / "unseen_map.csv")
    return table.assign(short=table.protocol.str.split(" ").str[0])


def test_every_committed_number_says_where_it_was_read(committed):
    commit = tool("unseen_map").COMMIT
    assert committed.notna().all().all()
    assert committed.source.str.match(rf"aassxun/DSH_Analysis@{commit[:7]} logs/.*\.log$").all()
    assert commit in (ROOT / "results" / "paper" / "README.md").read_text(encoding="utf-8")
    assert (committed.line < committed.best_line).all()


def test_committed_numbers_are_possible(committed):
    keys = ["dataset", "method", "bits"]
    for name in ("map_percent", "best_percent"):
        wide = committed.pivot(index=keys, columns="short", values=name)
        assert wide.notna().all().all() and wide.min().min() >= 0 and wide.max().max() <= 100
        # More images in the database, none of them relevant, cannot help.
        assert (wide["seen@all"] <= wide["seen@seen"]).all()
        assert (wide["unseen@all"] <= wide["unseen@unseen"]).all()
    chosen = committed[committed.short == "seen@seen"]  # the best iteration was chosen by this
    assert (chosen.map_percent <= chosen.best_percent + 0.006).all()  # rounded to two digits
