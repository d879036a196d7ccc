"""What all figures share (size, panels, titles, legends), and figures of images and codes.

A tidy table or arrays in, a matplotlib Figure out. Colours are Okabe and Ito's.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from fdhmfe.figures.names import exact, make_legible, shown
from fdhmfe.support.files import atomic

WIDTH = 5.2  # inches; printed in a column of 85 mm, text of 8 points still has 5
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GREY, BLACK = "#E69F00", "#56B4E9", "#7F7F7F", "#000000"
RIGHT, WRONG = BLUE, VERMILION
UNBROKEN = "\N{NO-BREAK SPACE}"
TILE = 1.02  # inches, an image among neighbours: of seven in a row, 15 points are 7 in a column


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write <stem>.png (200 dpi), <stem>.svg and <stem>.pdf (text kept as text); returns all paths.

    The fonts in the PDF are TrueType: some publishers refuse Type 3, which matplotlib prefers.
    """
    make_legible(figure)
    # A fixed salt and no date make the same figure the same bytes.
    undated = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in undated]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fdhmfe", "pdf.fonttype": 42}):
        for path, (kind, metadata) in zip(paths, undated.items(), strict=True):
            look: dict[str, Any] = {"dpi": 200, "bbox_inches": "tight", "metadata": metadata}
            with atomic(path) as partial:
                figure.savefig(partial, format=kind, **look)
    return paths


def panels(
    count: int,
    columns: int,
    panel: tuple[float, float],
    extra: tuple[float, float] = (0, 0),
    *,
    title: str = "",
    framed: bool = True,
    **shared: Any,
) -> tuple[Figure, np.ndarray]:
    """A figure and its `count` axes, in rows of `columns`; the last row may end with blank places.

    panel: width and height of each, in inches; extra: what the figure has besides. framed: False
    leaves out the top and right edges, which carry no ticks. shared: see `Figure.subplots`.
    """
    rows = -(-count // columns)
    size = panel[0] * columns + extra[0], panel[1] * rows + extra[1]
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(framed)
    for axis in axes[count:]:
        axis.axis("off")
    if title:
        figure.suptitle(wrapped(title), fontsize=8)
    return figure, axes[:count]


def chart(title: str, height: float, line: int = 60) -> tuple[Figure, Axes]:
    """A figure of one panel, as wide as a column; its title has lines of `line` characters."""
    figure, (axis,) = panels(1, 1, (WIDTH, height), framed=False)
    axis.set_title(wrapped(title, line), fontsize=8)
    return figure, axis


def wrapped(title: str, width: int = 85) -> str:
    """A title in lines of at most `width` characters, so that it does not meet the legend.

    Lines break between facts, which semicolons separate, or anywhere in a fact that is too wide.
    """
    return "\n".join(
        fill(unbroken(line, width), width, break_on_hyphens=False).replace(UNBROKEN, " ")
        for line in title.splitlines()
    )


def unbroken(line: str, width: int) -> str:
    """The line, with spaces that do not break in each fact that has room in a line."""
    facts = line.split("; ")
    return "; ".join(f.replace(" ", UNBROKEN) if len(f) < width else f for f in facts)


def legend(figure: Figure, axis: Axes, place: str = "right upper", **look: Any) -> None:
    """The legend of an axis, outside all axes; place and look as `Figure.legend` takes them."""
    look = {"loc": f"outside {place}", "frameon": False, "fontsize": 8, **look}
    figure.legend(*axis.get_legend_handles_labels(), **look)


def contact_sheet(
    images: Sequence[Image.Image],
    titles: Sequence[str],
    columns: int = 8,
    side: float = 1.1,
    *,
    files: bool = False,
) -> Figure:
    """Images in rows of `columns`, each under its title; `side` is a tile's width in inches.

    Titles break between words, so that they can be large: a sheet is often printed small. They may
    be class names, as the data set spells them, or, with `files`, names that must keep each letter.
    """
    line = int(9 * side)
    drawn = partial(exact, longest=4 * line, line=line) if files else partial(shown, line=line)
    titles = ["\n".join(map(drawn, title.splitlines())) for title in titles]
    lines = max(title.count("\n") for title in titles) + 1
    figure, axes = panels(len(images), columns, (side, side + 0.17 * lines))
    for axis, image, title in zip(axes, images, titles, strict=True):
        axis.imshow(image)
        axis.axis("off")
        axis.set_title(title, fontsize=11, pad=2)
    return figure


def neighbours(
    queries: Sequence[Image.Image],
    hits: Sequence[Sequence[Image.Image]],
    asked: Sequence[str],
    found: Sequence[Sequence[str]],
    distances: np.ndarray,
) -> Figure:
    """One row per query: the query over its class, then its nearest images with distance in bits.

    asked: the class of each query; found: of each hit, both as the data set spells them; distances:
    (Q, k). A hit of the query's class has a blue frame and a tick. Any other hit has a vermilion
    frame, a cross and its class below, so that nothing depends on colour alone.
    """
    names = {name: shown(name, line=9) for name in {*asked, *(n for row in found for n in row)}}
    wrong = {n for name, row in zip(asked, found, strict=True) for n in row if n != name}
    lines = max(names[name].count("\n") for name in {*asked, *wrong}) + 1
    columns = distances.shape[1] + 1
    side, height = TILE, TILE + 0.4 + 0.16 * lines
    figure, axes = panels(len(queries) * columns, columns, (side, height))
    rows = zip(axes.reshape(-1, columns), queries, hits, asked, found, distances, strict=True)
    for places, query, images, name, others, bits in rows:
        frame(places[0], query, "query", BLACK, names[name])
        for axis, image, other, bit in zip(places[1:], images, others, bits, strict=True):
            right = other == name
            title = f"{'✓' if right else '✗'} {bit} bit{'' if bit == 1 else 's'}"
            frame(axis, image, title, RIGHT if right else WRONG, "" if right else names[other])
    return figure


def frame(axis: Axes, image: Image.Image, title: str, colour: str, below: str) -> None:
    """An image in a square, coloured border, between a title and a class name of its colour."""
    axis.imshow(image)
    reach = max(image.size) / 2
    across, down = (np.array([-reach, reach]) + side / 2 - 0.5 for side in image.size)
    axis.set(xticks=[], yticks=[], xlim=across, ylim=down[::-1])
    axis.set_title(title, fontsize=15, color=colour, pad=6)
    axis.set_xlabel(below, fontsize=11, color=colour)
    axis.spines[:].set(edgecolor=colour, linewidth=2.5)


def dimmed(image: Image.Image, kept: np.ndarray) -> Image.Image:
    """The image with the squares that are not kept darkened: kept (G, G) bool; G = 0 leaves it."""
    if not kept.size:
        return image
    shade = Image.fromarray(np.where(kept, 0, 150).astype(np.uint8))
    shade = shade.resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", image.size, (10, 14, 30)), image, shade)


def code_strips(codes: np.ndarray, titles: Sequence[str]) -> Figure:
    """Hash codes as strips of black (-1) and white (+1) cells: codes (M, K), one title each.

    A title may be a class name, as the data set spells it.
    """
    count, bits = codes.shape
    figure, (axis,) = panels(1, 1, (7, 0.35 * count + 0.5))
    axis.imshow(codes, cmap="gray", vmin=-1, vmax=1, aspect="auto")
    axis.set_yticks(range(count), [shown(title) for title in titles], fontsize=11)
    axis.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axis.set_xticks(np.arange(bits + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="#999999", linewidth=0.5)
    axis.tick_params(which="minor", length=0)
    axis.set_xlabel("bit (white +1, black -1)", fontsize=12)
    axis.tick_params(axis="x", labelsize=11)
    return figure


def panel_columns(count: int) -> int:
    """Columns of a row of panels: four stand two by two, fewer side by side."""
    return 2 if count == 4 else count
