"""Tables from a handful of rows whose means and spreads can be worked out by hand."""

import pandas as pd
import pytest

from fdhmfe.runs import tables


@pytest.fixture
def table() -> pd.DataFrame:
    values = {
        ("fdh-mfe", 12): [0.80, 0.84],
        ("csq", 12): [0.70, 0.71],
        ("lsh", 12): [0.10, 0.10],
        ("fdh-mfe", 48): [0.90, 0.90],
        ("csq", 48): [0.86, 0.92],
        ("lsh", 48): [0.30, 0.30],
        ("class-id", 12): [0.95, 0.95],
        ("class-id", 48): [0.95, 0.95],
    }
    common = dict(dataset="toy", metric="mAP", ties="expected", database_codes="network")
    rows = [
        {**common, "method": method, "bits": bits, "seed": seed, "value": value}
        for (method, bits), pair in values.items()
        for seed, value in enumerate(pair)
    ]
    other = [{**rows[0], "ties": "index"}, {**rows[0], "database_codes": "dcc"}]
    return pd.DataFrame([*rows, *({**row, "value": 0.99} for row in other)])


def test_cells_are_means_over_seeds_of_the_headline_number_alone(table):
    cells = tables.map_cells(table).set_index(["method", "bits"])
    assert cells.loc[("fdh-mfe", 12), "mean"] == pytest.approx(0.82)
    assert cells.loc[("fdh-mfe", 12), ["min", "max", "seeds"]].tolist() == [0.80, 0.84, 2]


def test_pivot_shows_half_the_spread_best_first(table):
    wide = tables.pivot_cells(tables.map_cells(table))
    assert wide.index.tolist() == ["class-id", "fdh-mfe", "csq", "lsh"]
    assert wide.loc["fdh-mfe"].tolist() == ["82.0 ± 2.0", "90.0 ± 0.0"]
    one_seed = tables.pivot_cells(tables.map_cells(table[table.seed == 0]))
    assert one_seed.loc["csq", "12 bits"] == "70.0"


def test_a_gain_is_clear_only_beyond_the_spread_and_references_do_not_compete(table):
    gains = tables.gain_over_best(tables.map_cells(table)).set_index("bits")
    assert gains["best baseline"].tolist() == ["csq", "csq"]
    assert gains.gain.tolist() == pytest.approx([0.82 - 0.705, 0.90 - 0.89])
    assert gains.spread.tolist() == pytest.approx([0.04, 0.06])
    assert gains.clear.tolist() == [True, False]
    one_seed = tables.gain_over_best(tables.map_cells(table[table.seed == 0]))
    assert not one_seed.clear.any()


def test_ablation_costs_by_hand():
    runs = pd.DataFrame(
        [("full", 0, 0.8), ("full", 1, 0.9), ("no-graph", 0, 0.7), ("no-graph", 1, 0.7)],
        columns=["variant", "seed", "mAP"],
    ).assign(seconds=[1, 3, 2, 2], parameters=[9, 9, 5, 5])
    table = tables.ablation_table(runs)
    assert table.variant.tolist() == ["full", "no-graph"]
    assert table.cost.tolist() == pytest.approx([0, 0.15])
    assert table.spread.tolist() == pytest.approx([0.1, 0.1])
    assert table[["seeds", "seconds", "parameters"]].values.tolist() == [[2, 2, 9], [2, 2, 5]]


def test_a_part_earns_or_is_covered_by_others_or_harms_or_gains_nothing():
    rows = [
        *(("full", 0.90, 0.01), ("no-readout", 0.80, 0.02), ("no-triplet", 0.895, 0.01)),
        *(("no-graph", 0.905, 0.01), ("no-fusion", 0.89, 0.02), ("no-maxmin", 0.92, 0.01)),
        ("plain", 0.60, 0.03),
        *(("only-readout", 0.75, 0.01), ("only-triplet", 0.70, 0.02), ("only-graph", 0.62, 0.01)),
    ]
    table = pd.DataFrame(rows, columns=["variant", "mAP", "spread"])
    table["cost"] = 0.90 - table["mAP"]
    verdicts = tables.component_verdicts(table).set_index("part")
    assert verdicts.verdict.to_dict() == {
        "readout": "earns its place",
        "triplet": "others do its work",
        "graph": "no gain seen",  # 0.02 alone, within plain's spread
        "fusion": "no gain seen",  # not run alone
        "maxmin": "better without",
    }
    assert verdicts.removed.tolist() == pytest.approx([0.10, 0.005, -0.005, 0.01, -0.02])
    assert verdicts.alone[:3].tolist() == pytest.approx([0.15, 0.10, 0.02])
    assert verdicts.alone[3:].isna().all()


def test_exports_hold_the_same_numbers(table, tmp_path):
    paths = tables.export_cells(tables.map_cells(table), tmp_path / "map", "toy, 2 seeds")
    assert [path.name for path in paths] == ["map.csv", "map.md", "map.tex"]
    back = pd.read_csv(paths[0])
    assert back["mean"].max() == pytest.approx(0.95)
    markdown, latex = (path.read_text(encoding="utf-8") for path in paths[1:])
    assert markdown.startswith("toy, 2 seeds\n\n| method")
    assert "82.0 ± 2.0" in markdown and r"82.0 & $\pm$ 2.0" in latex


def test_published_numbers_carry_protocol_rule_and_source():
    published = tables.read_published()
    assert {"dataset", "protocol", "method", "bits", "database_codes", "source"} <= set(published)
    assert published.map_percent.between(0, 100).all()
    assert published.notna().all().all()
