"""What README and the page of results show is what the files say."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import tool
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def readme():
    return tool("readme")


def test_pages_show_today_s_tables(readme):
    assert readme.section() in README, "the tables have changed: run `make readme`"
    assert readme.all_tables() in RESULTS, "the tables have changed: run `make readme`"


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


def test_the_judgement_holds_both_of_ours_against_their_best_rivals(readme):
    names = ["fdh-mfe", "csq", "dpsh", "fdh-mfe+", "softmax", "pooled-mlp", "cosine"]
    means = [0.8, 0.7, 0.75, 0.895, 0.85, 0.9, 0.99]  # cosine has no codes: it is no rival
    cells = pd.DataFrame({"method": names, "bits": 12, "mean": means})
    cells = cells.assign(min=cells["mean"] - 0.01, max=cells["mean"] + 0.01, seeds=2)
    said, rule, table = readme.judgement(cells)
    assert said.splitlines() == [
        "- **`fdh-mfe`: ahead of the best baseline at 12 bits; "
        "behind the best control at 12 bits.**",
        "- **`fdh-mfe+`: ahead of the best baseline at 12 bits; "
        "not clear against the best control at 12 bits.**",
    ]
    assert rule.endswith("2 baselines are in the table.")
    assert re.findall(r"(?m)^\| (fdh.*?) +\| (.*?) +\|$", table) == [
        ("fdh-mfe minus the best baseline", "+5.0 (dpsh, ahead)"),
        ("fdh-mfe minus the best control", "-10.0 (pooled-mlp, behind)"),
        ("fdh-mfe+ minus the best baseline", "+14.5 (dpsh, ahead)"),
        ("fdh-mfe+ minus the best control", "-0.5 (pooled-mlp, not clear)"),
    ]
    one_seed = readme.judgement(cells.assign(seeds=1))[0]
    assert "`fdh-mfe`: too few seeds against the best baseline at 12 bits" in one_seed
    assert readme.judgement(cells[cells.method == "csq"]) == ["Nothing can be compared yet."]


def test_what_is_said_of_unseen_classes_names_the_best_codes_and_the_best_of_ours(readme):
    names = ["cosine", "fdh-mfe", "fdh-mfe+, open", "softmax, open", "unquantised"]
    found = pd.DataFrame({"method": names, "unseen@unseen": [0.77, 0.48, 0.62, 0.63, 0.9]})
    (said,) = readme.unseen(found.assign(folds=2))
    assert "not hashed have 77.0 (`cosine`)" in said and "mean over 2 folds" in said
    best = "the best codes 63.0 (`softmax, open`)"
    assert f"{best}, the best of ours 62.0 (`fdh-mfe+, open`)**" in said
    (said,) = readme.unseen(found[:3].assign(folds=2))
    assert "the best codes 62.0 (`fdh-mfe+, open`)**" in said
    assert readme.unseen(found[1:].assign(folds=2)) == readme.unseen(pd.DataFrame()) == []


def test_what_a_part_is_worth_has_its_interval_or_says_that_there_is_none(readme):
    lost = pd.DataFrame({"method": "fdh-mfe", "variant": ["no-graph", "no-stages"], "bits": 12})
    lost = lost.assign(cost=[-0.0001, 0.021], low=[-0.012, np.nan], high=[0.014, np.nan])
    shown = readme.worth(lost.assign(seeds=[3, 1]))
    assert shown["12 bits"].to_dict() == {
        "fdh-mfe, no-graph": "+0.0 [-1.2, +1.4], 3 pairs",
        "fdh-mfe, no-stages": "+2.1 (one pair)",
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


def test_the_chinese_readme_keeps_step():
    chinese = (ROOT / "README.zh.md").read_text(encoding="utf-8")
    for pattern in (r"(?m)^\| `(\d\d_\w+)` \|", r"\]\((docs/\w+\.md)", r"(?m)^make (\w+)"):
        there = set(re.findall(pattern, README))
        assert there and set(re.findall(pattern, chinese)) == there
    assert len(re.findall("(?m)^## ", chinese)) == len(re.findall("(?m)^## ", README))
