"""The notebooks run headless, in order, in the smoke profile; bad parameters stop them early."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from browser import BROWSER, lab_notebooks, needs_browser
from conftest import tool

from fdhmfe.config.profiles import ABSTRACT, ADDED, BITS, TABLE_METHODS
from fdhmfe.lessons import reproduce
from fdhmfe.lessons.copies import Job
from fdhmfe.lessons.notebooks import NOTEBOOKS, ordered_notebooks
from fdhmfe.runs import plan
from fdhmfe.runs.results import read_facts
from fdhmfe.support.places import REPOSITORY

pytestmark = pytest.mark.slow
COLUMN = 85 / 25.4 * 72  # points: 85 mm


def run(*arguments: str, timeout: int = 900) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    wanted = ("--profile", "smoke", "--results-dir", str(folder), "--solutions")
    done = run("fdhmfe", "reproduce", *wanted)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "smoke"


def test_map_table_holds_both_methods_at_every_length(results):
    table = pd.read_csv(results / "tables" / "map.csv", keep_default_na=False)
    wanted = table[(table.metric == "mAP") & (table.ties == "expected")]
    wanted = wanted[(wanted.variant == "full") & (wanted.protocol == "all-classes")]
    for method in TABLE_METHODS["smoke"]:
        assert sorted(set(wanted[wanted.method == method].bits)) == list(BITS)
    assert table.value.astype(float).between(0, 1).all()


def test_ablation_has_a_row_per_part_and_the_kept_area_is_measured(results):
    table = pd.read_csv(results / "tables" / "ablation-toy.csv")
    plain, ours = (set(table.variant[table.method == m]) for m in ("fdh-mfe", "fdh-mfe+"))
    assert plain == {f"no-{part}" for part in ABSTRACT}
    assert ours == {f"no-{part}" for part in ADDED}
    assert (table.verdict == "cannot tell").all()  # one seed
    facts = [read_facts(path) for path in (results / "runs").glob("toy-fdh-mfe-*")]
    assert all(0 < fact["object_share"] < 1 for fact in facts)


def test_the_grid_has_every_network_and_both_coders(results):
    table = pd.read_csv(results / "tables" / "grid-toy.csv")
    assert set(table.network) == set(plan.NETWORKS)
    assert set(table.coder) == {"sign", "read-out"}


def test_one_code_is_scored_on_classes_seen_and_unseen(results):
    table = pd.read_csv(results / "tables" / "folds-toy.csv")
    assert {"fdh-mfe", "fdh-mfe+, open", "softmax, open", "cosine"} <= set(table.method)
    assert table[["seen@seen", "unseen@unseen", "unseen@all"]].notna().all().all()


def test_ours_is_held_against_the_best_control_at_every_length(results):
    gains = pd.read_csv(results / "tables" / "gain-toy.csv").set_index(["method", "bits"])
    cells = pd.read_csv(results / "tables" / "map-toy.csv")
    controls = cells[cells.method.isin(["softmax", "class-id", "pooled-mlp"])]
    assert {"softmax", "class-id"} <= set(controls.method)
    for bits in BITS:
        best = controls[controls.bits == bits].set_index("method")["mean"]
        rival, score = gains.loc[("fdh-mfe+", bits), ["rival", "its mAP"]]
        assert rival == best.idxmax()
        assert score == pytest.approx(best.max())


def test_every_notebook_is_kept_executed(results):
    for path in [*ordered_notebooks(), *ordered_notebooks(NOTEBOOKS / "solutions")]:
        executed = results / "notebooks" / path.relative_to(NOTEBOOKS)
        cells = nbformat.read(executed, as_version=4).cells
        counts = [cell.execution_count for cell in cells if cell.cell_type == "code"]
        assert all(counts), path.stem


def test_every_figure_is_there_as_png_svg_and_pdf(results):
    png, svg, pdf = (
        {path.stem for path in (results / "figures").glob(f"*.{kind}")}
        for kind in ("png", "svg", "pdf")
    )
    assert png == svg == pdf
    for path in ordered_notebooks():
        assert any(name.startswith(path.stem) for name in png), path.stem


def test_text_in_figures_is_readable_in_a_column(results):
    small = {}
    for path in (results / "figures").glob("*.svg"):
        drawing = path.read_text()
        width = float(re.search(r'width="([\d.]+)pt"', drawing)[1])
        sizes = re.findall(r"font(?:-size)?: (?:\w+ )*([\d.]+)px", drawing)
        printed = min(map(float, sizes)) * COLUMN / width
        if printed < 5:
            small[path.stem] = round(printed, 1)
    assert not small


@needs_browser
def test_the_site_of_these_notebooks_has_no_fault(results):
    pytest.importorskip("sphinx_book_theme", reason="the site extra is not installed")
    first = tool("build_site").build(results, "smoke")
    pages, faults = lab_notebooks.crawl(BROWSER, first)
    assert faults == []
    assert {f"{path.stem}.html" for path in ordered_notebooks()} <= pages


def test_second_run_reuses_what_is_there(results):
    folder = str(results.parent)
    again = run(
        "fdhmfe", "reproduce", "--profile", "smoke", "--results-dir", folder, "--only", "train"
    )
    assert again.returncode == 0
    assert "reused toy-fdh-mfe-full-48bits" in again.stdout


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(("-p", "bit", "24"), "did you mean 'bits'"), (("-p", "bits", "many"), "bits='many'")],
)
def test_bad_parameters_stop_before_any_work(tmp_path, wrong, message):
    done = run(
        *("papermill", "notebooks/08_train.ipynb", str(tmp_path / "out.ipynb"), *wrong),
        *("-p", "profile", "smoke", "-p", "results_dir", str(tmp_path / "results")),
    )
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_kernel_that_dies_is_a_reason_and_stops_nothing_else(tmp_path):
    notebook = nbformat.v4.new_notebook()
    cells = [
        'profile: str = "smoke"  # any',
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    ]
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, tmp_path / "00_dies.ipynb")
    reason = reproduce.execute(tmp_path / "00_dies.ipynb", Job({}, tmp_path, tmp_path / "out", ""))
    assert "Kernel died" in reason
