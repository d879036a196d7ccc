"""A table as LaTeX that compiles: text escaped, numbers aligned at the decimal point."""

import re

import pandas as pd

NEEDS = "% Needs \\usepackage{booktabs}; XeLaTeX or LuaLaTeX for scripts other than Latin."
# A [ or * after \\ would be an argument of it; TeX's own fonts have other signs at | < >.
ESCAPES = {char: f"\\{char}" for char in "&%$#_{}"} | {char: f"{{{char}}}" for char in "[*"}
ESCAPES |= {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "|": "\\textbar{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "±": "$\\pm$",
    "×": "$\\times$",
    "−": "$-$",
    "≤": "$\\leq$",
    "≥": "$\\geq$",
    "²": "$^2$",
    "³": "$^3$",
}


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line: "50 %" becomes "50 \\%".

    >>> escape("A²-Net_48 ± 1 %, DPN--")
    'A$^2$-Net\\\\_48 $\\\\pm$ 1 \\\\%, DPN-{}-'
    """
    escaped = "".join(ESCAPES.get(char, char) for char in " ".join(text.split()))
    return re.sub("-(?=-)", "-{}", escaped)  # else -- is one dash


def latex_table(table: pd.DataFrame, caption: str, stem: str) -> str:
    """A `table` environment: a row's name on the left, "83.1 ± 0.4" or "83.1" in each column.

    The index has two levels, the group and the name of each row; a line parts the groups.
    Means are right-aligned and spreads follow in a column of their own, so that decimal points
    stand below each other; a cell that is missing stays blank. \\label: "tab:" and the stem.
    """
    heads = [f"\\multicolumn{{2}}{{c}}{{{escape(str(name))}}}" for name in table.columns]
    rows = [[escape(str(table.index.names[1])), *heads]]
    for (_, name), cells in zip(table.index, table.to_numpy(), strict=True):
        pairs = (str(cell).partition(" ± ") if pd.notna(cell) else ("", "", "") for cell in cells)
        halves = (f"{escape(mean)} & {escape(sign + half)}" for mean, sign, half in pairs)
        rows.append([escape(str(name)), *halves])
    head, *body = [f"{' & '.join(row)} \\\\" for row in rows]
    groups = table.index.get_level_values(0)
    for place in range(len(groups) - 1, 0, -1):
        if groups[place] != groups[place - 1]:
            body.insert(place, "\\midrule")
    lines = [
        NEEDS,
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escape(caption)}}}",
        f"\\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', stem)}}}",
        "\\smallskip",  # the article class has none between a caption and what follows
        f"\\begin{{tabular}}{{l{'r@{ }l' * table.shape[1]}}}",
        *("\\toprule", head, "\\midrule", *body, "\\bottomrule"),
        *("\\end{tabular}", "\\end{table}"),
    ]
    return "\n".join(lines) + "\n"
