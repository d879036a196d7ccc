"""What every notebook uses: it reads the parameters, makes checks and saves figures."""

import ast
import gc
import importlib.metadata
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from IPython import get_ipython
from matplotlib.figure import Figure
from matplotlib_inline.config import InlineBackend

from fdhmfe.config.settings import Config, check_type, load
from fdhmfe.figures import frames
from fdhmfe.lessons.notebooks import NOTEBOOKS, declared_parameters
from fdhmfe.support.places import home, suggest

FOLDERS = ("run_dir", "pictures")  # parameters that name a folder, not a setting of a run


@dataclass(frozen=True)
class Lesson:
    """A running notebook. `config`: the settings that follow from its parameters, `given`."""

    name: str
    config: Config
    given: Mapping[str, Any]
    started: float = field(default_factory=time.perf_counter)

    @property
    def protocol(self) -> str:
        """One line to print beside a figure: data, bits and seed if given, profile."""
        c, shown = self.config, [self.config.dataset]
        shown += [f"{c.bits} bits"] if "bits" in self.given else []
        shown += [f"seed {c.seed}"] if "seed" in self.given else []
        return ", ".join([*shown, f"profile {c.profile}"])

    def configure(self, **changes: Any) -> Config:
        """The notebook's settings with some changed: another method, variant, length or seed."""
        return load(**{**self.given, **changes})

    def check(self, claim: str, holds: bool, otherwise: str) -> None:
        """Print a tick if the claim holds; else raise AssertionError, which says `otherwise`."""
        if not holds:
            raise AssertionError(f"expected: {claim}. {otherwise}")
        print(f"✓ {claim}")

    def observe(self, claim: str, holds: bool, otherwise: str) -> None:
        """Print whether a claim about the data holds here; if not, also what that means.

        `check` is for what must hold on any data, this is for what need not.
        """
        print(f"✓ here: {claim}" if holds else f"✗ not here: {claim}\n  → {otherwise}")

    def save(self, figure: Figure, name: str) -> None:
        """Save a figure as PNG, SVG and PDF below results/<profile>/figures."""
        folder = self.config.output_dir / "figures"
        paths = frames.save(figure, folder / f"{self.name}-{name}")
        print("saved", ", ".join(str(relative(path)) for path in paths))

    def stamp(self) -> None:
        """Print the last line of a notebook: how long it took, with which settings."""
        print(f"{self.name} done in {time.perf_counter() - self.started:.0f} s ({self.protocol})")


def begin(name: str, namespace: Mapping[str, Any]) -> Lesson:
    """Check a notebook's parameters; print its settings, versions of libraries, and the device.

    `namespace` is the notebook's globals(). Raises ValueError for a parameter that the notebook
    does not declare (papermill itself only warns), or for what `load` refuses.
    """
    declared = declared_parameters(NOTEBOOKS / f"{name}.ipynb")
    for given in injected_names(namespace):
        if given not in declared:
            raise ValueError(f"{name} has no parameter {given!r}{suggest(given, declared)}")
    # An empty string means: not given, so the profile decides.
    chosen = {key: namespace[key] for key in declared if namespace.get(key, "") != ""}
    for key in chosen.keys() & set(FOLDERS):
        check_type(key, chosen[key], str)
    # With a run_dir, data_dir and weights say where that run's files are now.
    left_out = FOLDERS + (("data_dir", "weights") if "run_dir" in chosen else ())
    chosen = {key: value for key, value in chosen.items() if key not in left_out}
    lesson = Lesson(name, load(**chosen), chosen)
    gc.freeze()  # else Python takes seconds at the end to collect what imports made
    if get_ipython():  # show figures as sharp as they are saved
        InlineBackend.instance(parent=get_ipython()).figure_formats = {"retina"}
    versions = {p: importlib.metadata.version(p) for p in ("torch", "torchvision", "numpy")}
    print(lesson.protocol, versions, *device(), sep=" | ")
    return lesson


def device() -> list[str]:
    """What torch computes on, if the notebook has imported it: a first picture must not wait."""
    if not (torch := sys.modules.get("torch")):
        return []
    return ["GPU" if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"]


def injected_names(namespace: Mapping[str, Any]) -> list[str]:
    """Names assigned in the cells that papermill added, read from the kernel's input history."""
    injected = [cell for cell in namespace.get("In", []) if cell.startswith("# Parameters")]
    nodes = (node for cell in injected for node in ast.walk(ast.parse(cell)))
    return [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def relative(path: Path) -> Path:
    """The path seen from the folder that holds results; unchanged if it lies elsewhere."""
    return path.relative_to(home()) if path.is_relative_to(home()) else path
