"""The runs of each table: all can be loaded, none is asked for twice, rows are comparable."""

from collections import Counter

import pytest

from fdhmfe.config import profiles
from fdhmfe.config.methods import METHODS
from fdhmfe.config.settings import load
from fdhmfe.runs import plan
from fdhmfe.runs.plan import PLANS, planned


@pytest.mark.parametrize("profile", profiles.PROFILES)
@pytest.mark.parametrize("name", PLANS)
def test_every_run_is_a_valid_one_and_asked_for_once(name, profile):
    runs = planned([name], profile, "toy")
    configs = [load(profile, **run) for run in runs]
    assert len(set(configs)) == len(configs) > 0
    assert len(PLANS[name](profile, "toy")) == len(runs)


def test_several_plans_share_the_runs_that_they_share():
    one, other = (planned([name], "laptop", "cub200") for name in ("main", "ablation"))
    both = planned(["main", "ablation"], "laptop", "cub200")
    assert both[: len(one)] == one
    configs = [{load("laptop", **run) for run in runs} for runs in (one, other, both)]
    assert configs[2] == configs[0] | configs[1]
    with pytest.raises(KeyError, match="tables"):
        planned(["tables"], "laptop", "cub200")


def test_the_main_table_has_every_method_length_and_seed():
    runs = plan.main("laptop", "cub200")
    assert Counter(run["method"] for run in runs) == dict.fromkeys(METHODS, 4 * 3)
    assert {run["bits"] for run in runs} == set(profiles.BITS)
    first = [(run["seed"], run["bits"]) for run in runs[: 2 * len(METHODS)]]
    assert first == [(0, 12)] * len(METHODS) + [(0, 48)] * len(METHODS)
    assert {run["seed"] for run in plan.main("laptop", "leeds_butterfly")} == set(range(5))
    assert {run["seed"] for run in plan.main("quick", "toy")} == {0}


def test_each_fold_has_the_same_rows_and_half_has_them_once():
    runs = plan.folds("laptop", "cub200")
    rows = {f: {(r["method"], r["variant"]) for r in runs if r["fold"] == f} for f in range(5)}
    assert len(runs) == 5 * len(rows[0]) and all(rows[f] == rows[0] for f in rows)
    assert {("fdh-mfe", "full"), ("fdh-mfe+", "open"), ("softmax", "open")} <= rows[0]
    assert {run["protocol"] for run in runs} == {"folds"}
    assert {(r["method"], r["variant"]) for r in plan.half("laptop", "cub200")} == rows[0]
    assert {run["protocol"] for run in plan.half("laptop", "cub200")} == {"half"}
    known = {run["method"] for run in plan.folds("smoke", "toy")}
    assert known <= set(profiles.TABLE_METHODS["smoke"]) and "dpsh" not in known


def test_the_ablation_compares_each_variant_with_its_method_at_equal_seeds():
    runs = plan.ablation("laptop", "cub200")
    seeds: dict[tuple, set] = {}
    for run in runs:
        key = (run["method"], run["variant"], run["bits"])
        seeds.setdefault(key, set()).add(run["seed"])
    for (method, variant, bits), found in seeds.items():
        assert found <= seeds[method, "full", bits]
        assert found == seeds[method, "full", bits] or variant in profiles.GRAPHS
    variants = {(method, variant) for method, variant, _ in seeds}
    assert {("fdh-mfe", f"no-{part}") for part in profiles.ABSTRACT} <= variants
    assert {("fdh-mfe+", f"no-{part}") for part in profiles.ADDED} <= variants
    assert {("fdh-mfe", name) for name in profiles.GRAPHS} <= variants
    quick = {run["variant"] for run in plan.ablation("quick", "toy")}
    assert not quick & set(profiles.GRAPHS), "one seed says nothing of a small difference"


def test_quick_repeats_the_parts_of_the_abstract_so_that_there_is_a_verdict():
    runs = [run for run in plan.ablation("quick", "toy") if run["method"] == "fdh-mfe"]
    counts = Counter((run["variant"], run["bits"]) for run in runs)
    parts = {f"no-{part}" for part in profiles.ABSTRACT}
    assert counts == {(variant, 12): 3 for variant in {"full", *parts}}


def test_a_cell_of_the_grid_has_its_network_and_the_tuning_of_its_objective(tmp_path, monkeypatch):
    tuned = tmp_path / "tuned.csv"
    tuned.write_text("profile,trainable,method,learning_rate\nlaptop,tail,csq,0.5\n")
    monkeypatch.setattr(profiles, "TUNED", tuned)
    runs = plan.grid("laptop", "cub200")
    cells = {
        (config.composition.network, config.composition.objective, config.hash_head): config
        for config in (load("laptop", **run) for run in runs)
    }
    assert len(cells) == len(plan.NETWORKS) * len(plan.OBJECTIVES)
    for (network, objective, _), config in cells.items():
        assert network == config.network
        assert (config.learning_rate == 0.5) == (objective == "csq")
