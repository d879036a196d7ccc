"""What README shows is what the files say."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import tool
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def readme():
    return tool("readme")


def test_readme_shows_today_s_tables(readme):
    assert readme.section() in README, "the tables have changed: run `make readme`"


def test_a_changed_number_is_put_right_and_the_rest_stays(readme):
    start, _, end = README.partition(readme.section())
    stale = readme.section().replace("fdh-mfe", "fdh-mfa")
    assert readme.replaced(start + stale + end, readme.section()) == README
    with pytest.raises(ValueError, match="has no <!-- written"):
        readme.replaced(start, readme.section())


def test_the_cost_of_all_runs_counts_each_method_at_its_own_pace(readme):
    own = pd.DataFrame({"method": ["a", "a", "b"], "seconds": [1800.0, 1800.0, 7200.0]})
    planned = [{"method": name} for name in ("a", "a", "a", "b", "unknown")]  # 1.5 + 2 + 1 hours
    assert readme.cost(own, planned) == (
        "So far 3 of 5 runs are made: 3.0 hours of one core. All would take about 4."
    )
    assert readme.cost(own, planned[:3]) == "All 3 of 3 runs are made: 3.0 hours of one core."


def test_verdicts_hold_both_of_ours_against_their_rivals(readme):
    names = ["fdh-mfe", "csq", "dpsh", "fdh-mfe+", "softmax", "cosine"]
    cells = pd.DataFrame({"method": names, "bits": 12, "mean": [0.8, 0.7, 0.75, 0.8, 0.9, 0.99]})
    cells = cells.assign(min=cells["mean"] - 0.01, max=cells["mean"] + 0.01, seeds=2)
    said = readme.verdicts(cells)
    assert "`fdh-mfe` minus the best baseline, in points of mAP: +5.0 at 12 bits (dpsh)." in said
    assert "`fdh-mfe+` minus the control, in points of mAP: -10.0 at 12 bits (softmax)." in said
    assert "+5.0 at 12 bits (dpsh, not clear)" in readme.verdicts(cells.assign(seeds=1))
    assert readme.verdicts(cells[cells.method == "csq"]) == ""


def test_what_a_part_is_worth_has_its_interval_or_says_that_there_is_none(readme):
    lost = pd.DataFrame({"method": "fdh-mfe", "variant": ["no-graph", "no-stages"], "bits": 12})
    lost = lost.assign(cost=[-0.0001, 0.021], low=[-0.012, np.nan], high=[0.014, np.nan])
    shown = readme.worth(lost.assign(seeds=[3, 1]))
    assert shown["12 bits"].to_dict() == {
        "fdh-mfe, no-graph": "+0.0 [-1.2, +1.4]",
        "fdh-mfe, no-stages": "+2.1 (one seed)",
    }


def test_figures_have_words_for_those_who_do_not_see_them():
    figures = re.findall(r"!\[(.*?)\]\((.*?)\)", README)
    assert figures
    for words, path in figures:
        assert len(words) > 20
        with Image.open(ROOT / path) as image:
            assert image.width >= 800


def test_every_notebook_is_listed():
    for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        assert f"| `{path.stem}` |" in README
