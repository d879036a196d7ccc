"""What a class proxy does: a code with a few wrong bits is still nearest to its own proxy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fdhmfe.figures import frames

DOWN: Mapping[str, Any] = {"arrowstyle": "-|>", "color": "black"}
UNDER: Mapping[str, Any] = {"ha": "center", "va": "top", "fontsize": 11}


def forgiven(own: np.ndarray, code: np.ndarray, other: np.ndarray) -> Figure:
    """A diagram: a code (K,) between its own proxy and the nearest other one, all in {-1, +1}.

    Above, their bits, where those that differ from the own proxy are framed. Below, the distance
    from the own proxy: blue as far as every code is surely nearest to it, whichever bits are wrong.
    """
    figure, (above, below) = frames.panels(2, 1, (frames.WIDTH, 1.45))
    rows = {"own proxy": own, "code": code, "nearest other": other}
    strips(above, rows, own)
    apart, wrong = (int((own != word).sum()) for word in (other, code))
    sure = (apart - 1) // 2
    for bits in range(apart + 1):
        colour = frames.BLUE if bits <= sure else frames.GREY
        colour = frames.VERMILION if 2 * bits > apart else colour
        below.scatter(bits, 0, s=90, color=colour, zorder=3)
    below.plot([0, apart], [0, 0], color="black", lw=1, zorder=1)
    for place, mark, name in ((0, "*", "own proxy"), (apart, "X", "nearest other")):
        below.scatter(place, 0, s=330, marker=mark, color="white", edgecolor="black", zorder=4)
        below.text(place, 0.55, name, ha="center", va="bottom", fontsize=11)
    below.annotate("code", (wrong, 0.12), (wrong, 1.0), ha="center", fontsize=11, arrowprops=DOWN)
    below.text((sure - 1) / 2, -0.55, f"{sure} forgiven", color=frames.BLUE, **UNDER)
    centre, text = (apart + sure + 1) / 2, "may be nearer to the other"
    below.text(centre, -0.55, text, color=frames.VERMILION, **UNDER)
    # Narrower than the bits above, so that nobody takes it for their positions
    below.set(xlim=(-1.5, apart + 1.5), ylim=(-1.1, 1.5), yticks=[], xticks=range(apart + 1))
    below.set_xlabel("bits that differ from the own proxy", fontsize=11)
    below.tick_params(labelsize=11, length=0)
    below.spines[:].set_visible(False)
    return figure


def strips(axis: Axes, rows: dict[str, np.ndarray], own: np.ndarray) -> None:
    """Codes (K,) as rows of cells, white +1 and black -1; bits unlike `own` have a frame."""
    axis.imshow(np.stack(list(rows.values())), cmap="gray", vmin=-1.6, vmax=1.2, aspect="auto")
    for line, word in enumerate(rows.values()):
        for bit in np.flatnonzero(word != own):
            x, y = np.array([-0.38, 0.38, 0.38, -0.38, -0.38]), np.array([-1, -1, 1, 1, -1]) * 0.36
            axis.plot(bit + x, line + y, color=frames.VERMILION, lw=2)
    axis.set_yticks(range(len(rows)), list(rows), fontsize=11)
    axis.set_xticks([])
    axis.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axis.set_xticks(np.arange(len(own) + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="#999999", linewidth=0.8)
    axis.tick_params(which="both", length=0)
