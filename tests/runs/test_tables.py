"""Tables from a handful of rows whose means and spreads can be worked out by hand."""

import math
from collections.abc import Iterable

import pandas as pd
import pytest

from fdhmfe.runs import published, tables

COMMON = dict(dataset="toy", backbone="embedded", trainable="none", profile="quick")
COMMON |= dict(protocol="all-classes", database_codes="network", metric="mAP", ties="expected")
COMMON |= dict(n_query=7, n_database=9, fold="", coder="sign")


def rows(values: dict, **more: object) -> pd.DataFrame:
    """Rows of values: (method, variant, bits) -> one value per seed, each of a run of its own."""
    made = [
        {**COMMON, "method": method, "variant": variant, "bits": bits, "seed": seed, **more}
        | {"run_id": f"{method}-{variant}-{bits}-{seed}", "hash_head": "mlp", "value": value}
        for (method, variant, bits), each in values.items()
        for seed, value in enumerate(each)
    ]
    return pd.DataFrame(made)


def beside(table: pd.DataFrame, host: str, variant: str, name: str, value: float) -> pd.DataFrame:
    """A row of this name beside each row of the host, from the same runs."""
    own = table[(table.method == host) & (table.variant == variant)]
    return own.assign(method=name, value=value)


@pytest.fixture
def table() -> pd.DataFrame:
    own = rows(
        {
            ("fdh-mfe", "full", 12): [0.80, 0.84],
            ("fdh-mfe+", "full", 12): [0.93, 0.95],
            ("fdh-mfe+", "open", 12): [0.60, 0.60],
            ("softmax", "full", 12): [0.90, 0.91],
            ("csq", "full", 12): [0.70, 0.71],
            ("lsh", "full", 12): [0.10, 0.10],
            ("fdh-mfe", "full", 48): [0.90, 0.90],
            ("csq", "full", 48): [0.86, 0.92],
            ("lsh", "full", 48): [0.30, 0.30],
        }
    )
    parts = [
        *(own, beside(own, "softmax", "full", "class-id", 0.98)),
        beside(own, "fdh-mfe", "full", "unquantised", 0.85),
        # The same names from other runs, another rule for ties and for codes: not to be averaged
        beside(own, "fdh-mfe+", "full", "unquantised", 0.5),
        beside(own, "fdh-mfe+", "open", "unquantised", 0.5),
        own.head(1).assign(ties="index", value=0.99),
        own.head(1).assign(database_codes="dcc", value=0.99),
        own.head(1).assign(method="fdh-mfe, read-out", coder="read-out", value=0.99),
    ]
    return pd.concat(parts, ignore_index=True)


def test_cells_are_means_over_seeds_of_the_headline_number_and_variants_stay_apart(table):
    cells = tables.map_cells(table).set_index(["method", "bits"])
    assert cells.loc[("fdh-mfe", 12), "mean"] == pytest.approx(0.82)
    assert cells.loc[("fdh-mfe", 12), ["min", "max", "seeds"]].tolist() == [0.80, 0.84, 2]
    assert cells.loc[("fdh-mfe+", 12), "mean"] == pytest.approx(0.94)
    assert cells.loc[("fdh-mfe+, open", 12), "mean"] == pytest.approx(0.60)


def test_another_metric_is_summed_up_by_the_same_rules(table):
    other = table.head(2).assign(metric="R@1", value=[0.2, 0.4])
    (cell,) = tables.map_cells(pd.concat([table, other]), "R@1").to_dict("records")
    assert (cell["method"], cell["mean"], cell["seeds"]) == ("fdh-mfe", pytest.approx(0.3), 2)


def test_a_row_that_several_runs_bring_is_taken_from_its_own_method_s(table):
    cells = tables.map_cells(table).set_index(["method", "bits"])
    assert cells.loc[("unquantised", 12), "mean"] == pytest.approx(0.85)
    assert cells.loc[("unquantised", 12), "seeds"] == 2


@pytest.mark.parametrize("name", ["dataset", "trainable", "protocol"])
def test_no_mean_is_taken_over_regimes_or_protocols(table, name):
    other = table.assign(**{name: "another"})
    with pytest.raises(ValueError, match=f"one {name}, not .*another"):
        tables.map_cells(pd.concat([table, other]))


def test_heads_of_methods_put_together_are_rows_of_their_own():
    made = rows({("pooled+csq+sign", "full", 12): [0.2, 0.4]})
    made.loc[1, "hash_head"] = "linear"
    cells = tables.map_cells(made).set_index("method")["mean"]
    assert cells.to_dict() == {"pooled+csq+sign, mlp": 0.2, "pooled+csq+sign, linear": 0.4}


def test_pivot_shows_half_the_spread_group_by_group_best_first(table):
    wide = tables.pivot_cells(tables.map_cells(table))
    assert wide.index.tolist() == [
        *(("ours", "fdh-mfe+"), ("ours", "fdh-mfe"), ("ours", "fdh-mfe+, open")),
        *(("baselines", "csq"), ("baselines", "lsh")),
        *(("controls", "class-id"), ("controls", "softmax"), ("references", "unquantised")),
    ]
    assert wide.loc[("ours", "fdh-mfe")].tolist() == ["82.0 ± 2.0", "90.0 ± 0.0"]
    one_seed = tables.pivot_cells(tables.map_cells(table[table.seed == 0]))
    assert one_seed.loc[("baselines", "csq"), "12 bits"] == "70.0"


def test_a_method_that_the_kit_does_not_know_is_no_baseline():
    assert tables.group_of("mine") == "others"
    assert tables.group_of("softmax, open") == "controls"


def test_a_gain_is_clear_only_beyond_the_spread_and_only_baselines_compete(table):
    gains = tables.gain_over_best(tables.map_cells(table), "fdh-mfe").set_index("bits")
    assert gains.rival.tolist() == ["csq", "csq"]
    assert gains.gain.tolist() == pytest.approx([0.82 - 0.705, 0.90 - 0.89])
    assert gains.spread.tolist() == pytest.approx([0.04, 0.06])
    assert gains.clear.tolist() == [True, False]
    one_seed = tables.gain_over_best(tables.map_cells(table[table.seed == 0]), "fdh-mfe")
    assert not one_seed.clear.any() and one_seed.spread.isna().all()


def test_a_gain_over_the_best_control_that_has_codes(table):
    short = table[table.bits == 12]
    cosine = beside(short, "softmax", "full", "cosine", 0.99)
    cells = tables.map_cells(pd.concat([short, cosine]))
    (row,) = tables.gain_over_best(cells, "fdh-mfe+", "controls").to_dict("records")
    assert (row["method"], row["rival"], row["clear"]) == ("fdh-mfe+", "class-id", False)
    assert (row["gain"], row["spread"]) == pytest.approx((0.94 - 0.98, 0.02))
    (row,) = tables.gain_over_best(
        cells[cells.method != "class-id"], "fdh-mfe+", "controls"
    ).to_dict("records")
    assert (row["rival"], row["clear"]) == ("softmax", True)
    assert row["gain"] == pytest.approx(0.94 - 0.905)


def test_costs_are_paired_by_seed_with_an_interval_by_hand():
    table = rows(
        {
            ("fdh-mfe", "full", 12): [0.80, 0.90, 0.70],
            ("fdh-mfe", "no-graph", 12): [0.77, 0.86, 0.65],  # costs 0.03, 0.04, 0.05
            ("fdh-mfe", "no-stages", 12): [0.82, 0.88, 0.70],  # -0.02, 0.02, 0
            ("fdh-mfe", "no-triplet", 12): [0.81, 0.91, 0.71],  # -0.01 each
            ("fdh-mfe+", "full", 12): [0.9],
            ("fdh-mfe+", "no-readout", 12): [0.8],
        }
    )
    table = pd.concat([table, beside(table, "fdh-mfe", "no-graph", "unquantised", 0.1)])
    costs = tables.paired_costs(table).set_index("variant")
    assert costs.cost.tolist() == pytest.approx([0.04, 0, -0.01, 0.1])
    assert costs.seeds.tolist() == [3, 3, 3, 1]
    half = 4.302653 * 0.01 / math.sqrt(3)  # Student's t for two degrees of freedom; sd is 0.01
    assert costs.loc["no-graph", ["low", "high"]].tolist() == pytest.approx(
        [0.04 - half, 0.04 + half]
    )
    assert costs.verdict.to_dict() == {
        "no-graph": "costs",
        "no-stages": "cannot tell",
        "no-triplet": "gains",
        "no-readout": "cannot tell",  # one seed
    }
    each = tables.paired_differences(table)
    assert each[each.variant == "no-graph"].cost.tolist() == pytest.approx([0.03, 0.04, 0.05])


def test_no_costs_without_a_method_in_full():
    table = rows({("fdh-mfe", "no-graph", 12): [0.77]})
    assert tables.paired_costs(table).empty


def test_a_seed_without_its_partner_is_left_out():
    table = rows({("fdh-mfe", "full", 12): [0.8], ("fdh-mfe", "no-graph", 12): [0.7, 0.1]})
    (cost,) = tables.paired_costs(table).to_dict("records")
    assert (cost["cost"], cost["seeds"]) == (pytest.approx(0.1), 1)


def folds(name: tuple[str, str], seen: Iterable[float], unseen: Iterable[float]) -> pd.DataFrame:
    """One row per fold and protocol; unseen@all is half of unseen@unseen."""
    parts = []
    for fold, (one, other) in enumerate(zip(seen, unseen, strict=True)):
        values = zip(tables.OPEN, (one, other, other / 2), strict=True)
        parts += [rows({(*name, 48): [v]}, protocol=p, fold=fold) for p, v in values]
    return pd.concat(parts)


def test_means_are_over_the_folds_that_every_row_has():
    one = folds(("csq", "full"), [0.8, 0.9], [0.6, 0.7])
    other = folds(("fdh-mfe+", "open"), [0.7], [0.5])
    kept = tables.in_all_folds(pd.concat([one, other]))
    assert set(kept.fold) == set(other.fold) and set(kept.method) == {"csq", "fdh-mfe+"}
    apart = pd.concat([one[one.fold == one.fold.max()], other])
    assert len(tables.in_all_folds(apart)) == len(apart)


def test_seen_and_unseen_by_hand_and_which_rows_are_dominated():
    table = pd.concat(
        [
            folds(("fdh-mfe+", "open"), [0.8, 0.9], [0.6, 0.7]),
            folds(("csq", "full"), [0.85, 0.85], [0.5, 0.5]),  # as good on seen, worse on unseen
            folds(("itq", "full"), [0.3, 0.3], [0.7, 0.9]),
            folds(("fdh-mfe", "full"), [0.9, 0.9], [0.4, 0.4]),
        ]
    )
    feature = beside(table, "fdh-mfe", "full", "unquantised", 0.99)  # no code: it dominates nobody
    found = tables.seen_unseen(pd.concat([table, feature])).set_index("method")
    row = found.loc["fdh-mfe+, open"]
    assert row[list(tables.OPEN)].tolist() == pytest.approx([0.85, 0.65, 0.325])
    spreads = row[["seen@seen sd", "unseen@unseen sd"]].tolist()
    assert spreads == pytest.approx([math.sqrt(0.005)] * 2)
    assert found.folds.tolist() == [2] * 5
    assert found.index[found.dominated].tolist() == ["csq"]
    shown = tables.pivot_open(found.reset_index())
    assert shown.loc["fdh-mfe+, open", "seen@seen"] == "85.0 ± 7.1"
    with pytest.raises(ValueError, match="one code length"):
        tables.seen_unseen(pd.concat([table, table.assign(bits=12)]))


def test_validation_scores_are_no_results():
    table = folds(("csq", "full"), [0.5], [0.5])
    chosen = table.assign(protocol="validation " + table.protocol, value=0.9)
    (row,) = tables.seen_unseen(pd.concat([table, chosen])).to_dict("records")
    assert row["seen@seen"] == row["unseen@unseen"] == 0.5


def test_grid_has_a_cell_per_network_objective_and_coder():
    def cell(name: str, **parts: str) -> pd.DataFrame:
        return rows({(name, "full", 12): [0.2, 0.4]}).assign(objective="csq", **parts)

    pooled = dict(network="pooled", pooling="last")
    linear = cell("pooled+csq+sign", **pooled).assign(hash_head="linear")
    out = linear.assign(method="pooled+csq+sign, read-out", coder="read-out", value=0.5)
    parts = cell("parts+csq+sign", network="parts", pooling="last").head(1)
    mixed = cell("pooled+csq+sign", **pooled)  # MLP on the last stage: none of the grid's networks
    found = tables.grid(pd.concat([linear, out, parts, mixed]))
    keys = ["network", "coder", "mean", "seeds"]
    assert found[keys].to_dict("split")["data"] == [
        ["pooled, linear", "sign", pytest.approx(0.3), 2],
        ["pooled, linear", "read-out", 0.5, 2],
        ["parts", "sign", 0.2, 1],
    ]


def test_spans_compare_only_objectives_that_every_network_has():
    values = {("a", "csq"): 0.1, ("a", "dpn"): 0.3, ("b", "csq"): 0.5, ("b", "dpn"): 0.9}
    values[("b", "dpsh")] = 0.0
    cells = [{"network": n, "objective": o, "mean": v} for (n, o), v in values.items()]
    cells = pd.DataFrame(cells).assign(trainable="none", bits=12, coder="sign")
    (row,) = tables.spans(cells).to_dict("records")
    assert row["network"] == pytest.approx(0.7 - 0.2)
    assert row["objective"] == pytest.approx(0.6 - 0.3)
    assert row["objectives"] == 2
    apart = cells[(cells.network == "a") == (cells.objective == "csq")]  # none with both networks
    assert "network" in tables.spans(apart) and tables.spans(apart).empty


def test_published_numbers_stand_beside_ours_of_the_same_rule():
    table = rows({("csq", "full", 48): [0.7, 0.9], ("orthohash", "full", 48): [0.6, 0.6]})
    solved = rows({("a2-net", "full", 48): [0.5]}).assign(database_codes="dcc")
    found = published.beside_published(pd.concat([table, solved]), "CUB-200-2011")
    logged = published.read_published().set_index(["dataset", "method", "bits", "protocol"])
    protocol = "seen@seen (190 of 200 classes seen)"
    wanted = logged.map_percent.loc["CUB-200-2011", "CSQ", 48, protocol].item() / 100
    assert found.set_index("method").loc["CSQ", ["mAP", "published"]].tolist() == pytest.approx(
        [0.8, wanted]
    )
    assert found.set_index("method").place.to_dict() == {"A2-Net": 1, "CSQ": 1, "OrthoHash": 2}
    assert published.beside_published(table, "no such set").empty
    alone = published.in_print("CUB-200-2011").set_index(["method", "bits"])
    assert alone.published["CSQ", 48] == wanted and alone.index.is_unique
    assert set(alone.index.levels[0]) <= set(published.printed_names().values())
    ranges = found.set_index("method")["range"]
    assert ranges["CSQ"] == pytest.approx(0.2) and math.isnan(ranges["A2-Net"])


def test_pairs_in_another_order_than_the_published_one_are_named_with_both_gaps():
    both = [("a", 0.8, 0.02, 0.5), ("b", 0.7, 0.01, 0.6), ("c", 0.69, 0.03, 0.65), ("d", 0.1, 0, 0)]
    order = pd.DataFrame(both, columns=["method", "mAP", "range", "published"])
    order = order.assign(database_codes="network", bits=12)
    found = published.turned_pairs(order)
    assert found[["better here", "better in print", "clear"]].to_numpy().tolist() == [
        *(["a", "b", True], ["a", "c", True], ["b", "c", False])
    ]
    assert found.iloc[0][["gap here", "gap in print"]].tolist() == pytest.approx([0.1, 0.1])
    assert not published.turned_pairs(order.assign(range=math.nan)).clear.any()


def test_a_caption_says_what_the_numbers_are(table):
    runs = pd.DataFrame({"device": ["cpu"]})
    said = tables.caption(table, runs, "100 of 200 classes")
    for fact in ("toy, 100 of 200 classes", "trainable none", "protocol all-classes", "2 seeds"):
        assert fact in said
    assert "7 queries, 9 database images" in said and said.endswith("profile quick, cpu")
    of_folds = folds(("csq", "full"), [0.5, 0.5], [0.5, 0.5])
    of_folds.loc[of_folds.fold == 1, "n_query"] = 8
    said = tables.caption(of_folds, runs, "9 classes")
    assert "1 seed, 2 folds" in said and "queries" not in said


def test_a_caption_tells_cells_with_fewer_seeds(table):
    unfinished = table[(table.seed == 0) | (table.method == "csq")]
    said = tables.caption(unfinished, pd.DataFrame({"device": ["cpu"]}), "9 classes")
    assert "; 1 to 2 seeds;" in said


def test_exports_hold_the_same_numbers(table, tmp_path):
    paths = tables.export_cells(tables.map_cells(table), tmp_path / "map", "toy, 2 seeds")
    assert [path.name for path in paths] == ["map.csv", "map.md", "map.tex"]
    back = pd.read_csv(paths[0])
    assert back["mean"].max() == pytest.approx(0.98)
    markdown, latex = (path.read_text(encoding="utf-8") for path in paths[1:])
    assert markdown.startswith("toy, 2 seeds\n\n| group")
    assert "82.0 ± 2.0" in markdown and r"82.0 & $\pm$ 2.0" in latex
    one_seed = tables.map_cells(table[(table.seed == 0) & (table.method == "fdh-mfe")])
    markdown = tables.export_cells(one_seed, tmp_path / "one", "")[1].read_text(encoding="utf-8")
    assert "| 80.0 " in markdown and "| 90.0 " in markdown
    assert latex.count("\\midrule") == 4  # below the heads, and between four groups


@pytest.mark.parametrize("read", [published.read_published, published.read_unseen])
def test_published_numbers_carry_protocol_rule_and_source(read):
    published = read()
    assert {"dataset", "protocol", "method", "bits", "database_codes", "source"} <= set(published)
    assert published.map_percent.between(0, 100).all()
    assert published.notna().all().all()
