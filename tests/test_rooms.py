"""The shape of the package: floors of rooms, small typed modules, quiet imports."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

from fdhmfe.runs.results import PASSED

PACKAGE = ROOT / "fdhmfe"
METHOD = ("network", "stages", "graph", "proxies", "losses")  # these five import no room
# From the ground up. A room imports from lower floors and, on its own, from those before it.
FLOORS = (
    ("support", "config", *METHOD, "codes", "metrics"),
    ("data", "search", "figures"),
    ("baselines", "features", "training"),
    ("runs",),
    ("encoding",),
    ("explorer", "lessons"),
)
ROOMS = [room for floor in FLOORS for room in floor]
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path.name not in ("__init__.py", "__main__.py")]
DRAWING = {path for path in MODULES if path.parent.name == "toy"}  # how beetles are painted
HEAVY = ("torch", "timm", "papermill", "torch_geometric")


def dotted(path: Path) -> str:
    """fdhmfe/runs/sweep.py as fdhmfe.runs.sweep; a package by its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture(params=FILES, ids=dotted)
def file(request) -> Path:
    return request.param


@pytest.fixture(params=MODULES, ids=dotted)
def module(request) -> Path:
    return request.param


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


NAMES = {dotted(path): path for path in FILES}


@cache
def imports(path: Path) -> set[Path]:
    """The files of the package that a file imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fdhmfe":
            beneath = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in NAMES else node.module for name in beneath}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in NAMES}
    return {NAMES[name] for name in found}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(path: Path) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(path) in rooms)


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]


def test_every_room_has_its_floor():
    named = {room(path) for path in MODULES}
    assert named == set(ROOMS)
    folders = [path for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"]
    assert len(folders) <= 13
    assert len(list(PACKAGE.glob("*.py"))) <= 9


def test_a_room_imports_only_from_those_below(module):
    here = ROOMS.index(room(module))
    later = {
        dotted(other)
        for other in imports(module)
        if floor(other) > floor(module)
        or (
            floor(other) == floor(module)
            and ROOMS.index(room(other)) > here
            and room(other) not in METHOD
        )
    }
    assert later == set()


@pytest.mark.parametrize("name", [*METHOD, "metrics", "codes"])
def test_the_method_imports_no_room(name):
    assert {room(path) for path in imports(PACKAGE / f"{name}.py")} <= {*METHOD, "codes"}


def test_the_method_can_be_read_in_one_sitting():
    lines = [len((PACKAGE / f"{n}.py").read_text(encoding="utf-8").splitlines()) for n in METHOD]
    assert sum(lines) < 800


def test_no_file_imports_itself_by_way_of_others():
    remaining = {path: imports(path) & set(MODULES) for path in MODULES}
    while remaining:
        free = {path for path, needs in remaining.items() if not needs & set(remaining)}
        assert free, f"circular imports among {sorted(map(dotted, remaining))}"
        remaining = {path: needs for path, needs in remaining.items() if path not in free}


def test_the_code_of_a_run_is_all_that_computes_its_numbers():
    seen: set[Path] = set()
    waiting = [PACKAGE / "runs" / "experiment.py"]
    while waiting:
        seen.add(waiting[-1])
        waiting += sorted(imports(waiting.pop()) - seen)
    passed = {path for place in PASSED for path in (PACKAGE / place, *(PACKAGE / place).glob("*"))}
    beside = {path for path in seen - passed if path.name != "__init__.py"}
    # Settings, images and weights are in a run's name; files and progress change no number.
    assert {room(path) for path in beside} == {"config", "data", "runs", "support"}
    assert {path.stem for path in beside if room(path) == "runs"} == {"results"}
    assert not {"views", "distributed"} & {path.stem for path in beside}


def test_no_relative_or_star_imports(file):
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert all(alias.name != "*" for alias in node.names)


def test_modules_stay_small(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", sorted(set(FILES) - DRAWING), ids=dotted)
def test_functions_stay_short(path):
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(path)}
    assert {name: lines for name, lines in long.items() if lines > 40} == {}


def test_every_argument_and_result_has_a_type(file):
    untyped = []
    for function in functions(file):
        arguments = function.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
        bare = [a.arg for a in every if not a.annotation and a.arg not in ("self", "cls")]
        untyped += [f"{function.name}({name})" for name in bare]
        untyped += [function.name] if function.returns is None else []
    assert untyped == []


def test_what_is_public_and_not_plain_to_see_has_a_docstring(file):
    assert ast.get_docstring(tree(file))
    missing = []
    for node in tree(file).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        trivial = node.end_lineno - node.lineno < (12 if isinstance(node, ast.FunctionDef) else 4)
        if not (ast.get_docstring(node) or trivial):
            missing.append(node.name)
    assert missing == []


def test_importing_the_package_writes_and_prints_nothing(tmp_path):
    # Every file operation that creates or changes something raises an audit event.
    script = f"""
import sys
def audit(event, arguments):
    writes = event == "open" and (
        any(c in str(arguments[1]) for c in "wax+") or (arguments[2] or 0) & 3
    )
    changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
    if (writes or changes) and {str(ROOT)!r} in str(arguments[0]):
        raise RuntimeError(f"{{event}} {{arguments[0]}}")
sys.addaudithook(audit)
import {", ".join(dotted(path) for path in FILES)}
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "metrics",
        "codes",
        "config/__init__",
        "config/settings",
        "support/files",
        "data/toy/species",
        "lessons/notebooks",
    ],
)
def test_settings_and_files_import_nothing_heavy(name):
    seen, waiting = set(), [PACKAGE / f"{name}.py"]
    while waiting:
        seen.add(waiting[-1])
        waiting += sorted(imports(waiting.pop()) - seen)
    outside = {
        (alias.name if isinstance(node, ast.Import) else node.module).split(".")[0]
        for path in seen
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert outside.isdisjoint(HEAVY)


def test_no_paths_of_one_machine(file):
    text = file.read_text(encoding="utf-8")
    assert not [root for root in ("/home/", "/Users/", "/work/", "/tmp/", "C:\\") if root in text]


def test_no_test_names_paths_of_one_machine_either():
    roots = ["/".join(("", name, "")) for name in ("home", "Users", "work")]
    for path in Path(__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != Path(__file__).name:
            assert not [root for root in roots if root in text], path.name
