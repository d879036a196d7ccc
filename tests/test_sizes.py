"""tools/sizes.py: how large an installation is."""

import importlib.metadata

import pytest
from conftest import ROOT, tool

PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sizes():
    tool("check_env")
    tool("make_env")
    return tool("sizes")


def test_sizes_are_summed_over_packages(sizes):
    packages = [{"name": "numpy", "wheels": [{"size": 2 * 10**9}]}]
    packages += [{"name": "tqdm", "sdist": {"size": 4 * 10**8}}]
    cells = sizes.row(packages, "at most ")
    assert cells["packages"] == "2" and cells["download"] == "at most 2.4 GB"
    assert sizes.on_disk("numpy") > sizes.on_disk("tqdm") > 10_000
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        sizes.on_disk("no-such-package")


def test_the_page_has_the_table_and_keeps_the_rest(sizes):
    section = PAGE.partition(sizes.START)[2].partition(sizes.END)[0]
    assert section.count(" GB") == 6 and "`TORCH=cpu`" in section
    assert sizes.replaced(sizes.replaced(PAGE, "else"), section.rstrip("\n")) == PAGE
    with pytest.raises(ValueError, match="has no <!-- end of sizes"):
        sizes.replaced(PAGE.replace(sizes.END, ""), "else")
