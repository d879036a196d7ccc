"""Tables as LaTeX: what is escaped, what is aligned, and that a real LaTeX takes it."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT

from fdhmfe.runs import tables
from fdhmfe.runs.latex import escape

LATEX = shutil.which("pdflatex")
needs_latex = pytest.mark.skipif(LATEX is None, reason="pdfLaTeX is not installed")
COMMITTED = sorted((ROOT / "results" / "laptop" / "tables").glob("*.tex"))
# What would comment out, end, open or confuse something, in each place that takes text.
NASTY = "50 % & {all} of #1_a $x^2$ ~ \\end{table} ² ± × ≤ ≥ − <a|b> é\n\nnext -- paragraph [i] *"
METHODS = ["[first]", "*second", "third_3 & %", "A²-Net\\", "DPN--", "#hash {", "~^$"]


@pytest.fixture
def nasty(tmp_path) -> Path:
    """A made-up table: one seed and many, 100 % and 4 %, a wide spread and a missing cell."""
    rows = [
        ("[first]", 12, 1.0, 0.999, 1.0, 3),
        *((method, 12, 0.041, 0.041, 0.041, 1) for method in METHODS[1:]),
        *((method, 48, 0.5, 0.25, 0.75, 2) for method in METHODS[:-1]),
    ]
    columns = ["method", "bits", "mean", "min", "max", "seeds"]
    cells = pd.DataFrame(rows, columns=columns).assign(dataset="nasty")
    return tables.export_cells(cells, tmp_path / "nasty_#1 %", NASTY)[-1]


def compiled(table: Path, folder: Path) -> str:
    """The .aux of a document that holds only this table; fails with the log if LaTeX does."""
    shutil.copy(table, folder / "table.tex")
    lines = ("\\documentclass{article}", "\\usepackage{booktabs}", "\\begin{document}")
    text = "\n".join((*lines, "\\input{table}", "\\end{document}"))
    (folder / "paper.tex").write_text(text, encoding="utf-8")
    command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, f"{table.name}: {done.stdout.decode(errors='replace')[-2000:]}"
    return (folder / "paper.aux").read_text(encoding="utf-8", errors="replace")


@needs_latex
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_tables_compile(path, tmp_path):
    assert f"\\newlabel{{tab:{path.stem.replace('_', '-')}}}" in compiled(path, tmp_path)


@needs_latex
def test_a_nasty_table_compiles_and_its_caption_is_whole(nasty, tmp_path):
    notes = compiled(nasty, tmp_path)
    assert "\\newlabel{tab:nasty-1-}" in notes
    assert "paragraph" in notes  # the caption's last words are in the list of tables


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_tables_are_what_their_numbers_give(path, tmp_path):
    caption = path.with_suffix(".md").read_text(encoding="utf-8").splitlines()[0]
    cells = pd.read_csv(path.with_suffix(".csv"))
    for made in tables.export_cells(cells, tmp_path / path.stem, caption):
        assert made.read_bytes() == path.with_suffix(made.suffix).read_bytes(), made.suffix


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a_b & 5 % #1", r"a\_b \& 5 \% \#1"),
        ("$x$ {y}", r"\$x\$ \{y\}"),
        ("\\emph~^", r"\textbackslash{}emph\textasciitilde{}\textasciicircum{}"),
        ("A²-Net ± 1", r"A$^2$-Net $\pm$ 1"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("one\n\n two", "one two"),
        ("[x] *y", "{[}x] {*}y"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
    ],
)
def test_text_is_escaped(text, wanted):
    assert escape(text) == wanted


def test_nothing_in_a_table_is_left_to_mean_something_else(nasty):
    text = nasty.read_text(encoding="utf-8")
    first, *lines = text.splitlines()
    assert first.startswith("%") and "\\usepackage{booktabs}" in first
    plain = re.sub(r"\\[&%$#_{}]", "", "\n".join(lines))  # without what is escaped
    assert not set(plain) & set("%#_~±²×≤≥−")
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    (caption,) = (line for line in lines if line.startswith("\\caption"))
    assert caption.endswith("}") and "50 \\%" in caption and "paragraph" in caption


def test_every_mean_and_spread_has_a_column_of_its_own(nasty):
    text = nasty.read_text(encoding="utf-8")
    assert "{lr@{ }lr@{ }l}" in text  # means end where spreads begin, so decimal points line up
    head, *body = re.findall(r"^(.*) \\\\$", text, flags=re.MULTILINE)
    assert head == r"method & \multicolumn{2}{c}{12 bits} & \multicolumn{2}{c}{48 bits}"
    assert len(body) == len(METHODS)
    rows = [re.split(r" (?<!\\)& ?", row) for row in body]
    assert all(len(row) == 5 for row in rows)
    found = {row[0]: row[1:] for row in rows}
    assert found["{[}first]"] == ["100.0", r"$\pm$ 0.1", "50.0", r"$\pm$ 25.0"]
    assert found["{*}second"][:2] == ["4.1", ""]  # one seed: no spread
    assert found[escape("~^$")] == ["4.1", "", "", ""]  # not run at 48 bits
