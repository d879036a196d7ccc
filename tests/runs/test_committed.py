"""Rows of birds: none, some and all of a plan, from files laid where the repository has them."""

from pathlib import Path

import pandas as pd
import pytest

from fdhmfe.config.settings import load
from fdhmfe.runs import committed, ledger, plan, results, tables
from fdhmfe.runs.committed import DATASET, KEYS, PROFILE, birds


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty repository, and its folder of committed tables."""
    monkeypatch.setattr(committed, "shipped", lambda name: tmp_path / name)
    folder = tmp_path / "results" / "laptop" / "tables"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, wanted: plan.Runs, dataset: str = DATASET) -> None:
    """The two tables as a sweep writes them: each run scores the mAP of its place."""
    made, scores = [], []
    for place, run in enumerate(wanted):
        config = load(PROFILE, dataset=dataset, **run)
        settings = {name: getattr(config, name) for name in KEYS}
        made.append({"run_id": f"{dataset}{place}", "dataset": dataset, **settings})
        made[-1] |= {"query_classes": 50 if config.protocol == "half" else 100}
        made[-1] |= {"source_hash": "0123", "dataset_hash": f"{config.protocol}{config.fold}"}
        row = {"run_id": f"{dataset}{place}", **settings, "method": config.composition.name}
        row |= {"metric": "mAP", "ties": "expected", "database_codes": "network"}
        scores.append({**row, "dataset": dataset, "value": place / 1000})
    columns = dict.fromkeys((*ledger.RUN_COLUMNS, *made[0]))
    pd.DataFrame(made, columns=columns).to_csv(folder / "runs.csv", index=False)
    pd.DataFrame(scores, columns=results.COLUMNS).to_csv(folder / "map.csv", index=False)


def test_without_tables_nothing_is_there_and_the_command_is_named(folder):
    found = birds("ablation")
    assert found.table.empty and found.made.empty
    assert "0 of 78 runs" in found.told
    assert "fdhmfe sweep --plan ablation --profile laptop --dataset cub200" in found.told


@pytest.mark.parametrize("name", plan.PLANS)
def test_a_whole_plan_is_found_and_no_run_of_another(folder, name):
    runs = plan.planned(plan.PLANS, PROFILE, DATASET)
    wanted = list({load(PROFILE, **run): run for run in runs}.values())  # each run has one row
    write(folder, wanted)
    found, own = birds(name), plan.planned([name], PROFILE, DATASET)
    assert "all" in found.told and "sweep" not in found.told
    configs = {load(PROFILE, **run) for run in own}
    places = {f"{DATASET}{i}" for i, run in enumerate(wanted) if load(PROFILE, **run) in configs}
    assert set(found.table.run_id) == set(found.made.run_id) == places
    assert len(places) == len(own)
    assert found.classes == "100 of 200 classes"


def test_rows_that_lack_runs_are_named_with_their_lengths(folder):
    wanted = plan.ablation(PROFILE, DATASET)
    kept = [run for run in wanted if (run["variant"], run["bits"]) != ("no-graph", 48)]
    write(folder, kept)
    found = birds("ablation")
    assert "75 of 78 runs" in found.told and "fdh-mfe, no-graph (48 bits)\n" in found.told
    costs = tables.paired_costs(found.table)
    assert set(costs.bits[costs.variant == "no-graph"]) == {12}


def test_runs_of_another_data_set_are_no_birds(folder):
    write(folder, plan.main(PROFILE, "leeds_butterfly"), "leeds_butterfly")
    assert birds("main").table.empty


def test_runs_of_half_the_classes_and_runs_of_all_are_not_mixed(folder):
    wanted = plan.planned(["main"], PROFILE, DATASET)[:5]
    write(folder, wanted)
    table = pd.read_csv(folder / "runs.csv").assign(query_classes=[100, 200, 100, 200, 100])
    table.to_csv(folder / "runs.csv", index=False)
    assert set(birds("main").made.query_classes) == {100}
    table.assign(query_classes=[100, 200, 200, 200, 100]).to_csv(folder / "runs.csv", index=False)
    assert birds("main").classes == "200 classes" and len(birds("main").made) == 3


def test_runs_of_other_photographs_of_as_many_classes_are_not_mixed(folder):
    write(folder, plan.planned(["main"], PROFILE, DATASET)[:3])
    table = pd.read_csv(folder / "runs.csv").assign(dataset_hash=["a", "b", "a"])
    table.to_csv(folder / "runs.csv", index=False)
    assert set(birds("main").made.dataset_hash) == {"a"}


def test_runs_of_another_backbone_are_not_taken(folder):
    write(folder, plan.planned(["main"], PROFILE, DATASET)[:2])
    table = pd.read_csv(folder / "runs.csv")
    table.assign(backbone=["resnet50", *table.backbone[1:]]).to_csv(
        folder / "runs.csv", index=False
    )
    assert len(birds("main").made) == 1
