"""Figures: a tidy table or arrays in, a matplotlib Figure out. Colours are Okabe and Ito's."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from fdhmfe.support.files import atomic

RIGHT, WRONG, QUERY = "#0072B2", "#D55E00", "#000000"  # blue, vermilion: safe for colour-blind eyes


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write <stem>.png (200 dpi) and <stem>.svg (text kept as text); returns both paths."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    # A fixed salt and no date make the same figure the same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fdhmfe"}):
        for path in paths:
            kind = path.suffix[1:]
            metadata = {"Date": None} if kind == "svg" else None
            with atomic(path) as partial:
                figure.savefig(
                    partial, format=kind, dpi=200, bbox_inches="tight", metadata=metadata
                )
    return paths


def contact_sheet(
    images: Sequence[Image.Image], titles: Sequence[str], columns: int = 8, side: float = 1.1
) -> Figure:
    """Images in rows of `columns`, each under its title; `side` is a tile's width in inches.

    Titles break between words, so that they can be large: a sheet is often printed small.
    """
    rows = -(-len(images) // columns)
    wrapped = [fill(title, int(9 * side), break_long_words=False) for title in titles]
    lines = max(title.count("\n") for title in wrapped) + 1
    size = columns * side, rows * (side + 0.17 * lines)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, image, title in zip(axes, images, wrapped, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=11, pad=2)
    return figure


def neighbours(
    queries: Sequence[Image.Image],
    hits: Sequence[Sequence[Image.Image]],
    right: np.ndarray,
    distances: np.ndarray,
) -> Figure:
    """One row per query: the query, then its nearest images with distance in bits.

    right, distances: (Q, k). A hit of the query's class has a blue frame and a tick, any other hit
    a vermilion frame and a cross, so that nothing depends on colour alone.
    """
    count, k = right.shape
    figure = Figure(figsize=(1.1 * (k + 1), 1.35 * count), layout="constrained")
    grid = figure.subplots(count, k + 1, squeeze=False)
    for row, query in enumerate(queries):
        frame(grid[row, 0], query, "query", QUERY)
        for column in range(k):
            ok = right[row, column]
            bits = distances[row, column]
            title = f"{'✓' if ok else '✗'} {bits} bit{'' if bits == 1 else 's'}"
            frame(grid[row, column + 1], hits[row][column], title, RIGHT if ok else WRONG)
    return figure


def frame(axis: Axes, image: Image.Image, title: str, colour: str) -> None:
    """An image with a coloured border and a title of the same colour."""
    axis.imshow(image)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=12, color=colour, pad=2)
    for spine in axis.spines.values():
        spine.set(edgecolor=colour, linewidth=2.5)


def dimmed(image: Image.Image, kept: np.ndarray) -> Image.Image:
    """The image with the squares that are not kept darkened: kept (G, G) bool; G = 0 leaves it."""
    if not kept.size:
        return image
    shade = Image.fromarray(np.where(kept, 0, 150).astype(np.uint8))
    shade = shade.resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", image.size, (10, 14, 30)), image, shade)


def code_strips(codes: np.ndarray, titles: Sequence[str]) -> Figure:
    """Hash codes as strips of black (-1) and white (+1) cells: codes (M, K), one title each."""
    figure = Figure(figsize=(7, 0.35 * len(codes) + 0.5), layout="constrained")
    axis = figure.subplots()
    axis.imshow(codes, cmap="gray", vmin=-1, vmax=1, aspect="auto")
    axis.set_yticks(range(len(codes)), titles, fontsize=11)
    axis.set_yticks(np.arange(len(codes) + 1) - 0.5, minor=True)
    axis.set_xticks(np.arange(codes.shape[1] + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="#999999", linewidth=0.5)
    axis.tick_params(which="minor", length=0)
    axis.set_xlabel("bit (white +1, black -1)", fontsize=12)
    axis.tick_params(axis="x", labelsize=11)
    return figure


def panel_grid(count: int) -> tuple[int, int]:
    """Rows and columns of panels: four stand two by two, fewer side by side."""
    return (2, 2) if count == 4 else (1, count)


def unframe(figure: Figure) -> None:
    """Remove the top and right edges of each axis, which carry no ticks."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
