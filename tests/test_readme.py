"""What README shows is what the files say."""

import re
from pathlib import Path

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
