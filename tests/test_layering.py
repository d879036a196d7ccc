"""The shape of the package: one direction of imports, small typed modules, quiet imports."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fdhmfe.config import REPOSITORY
from fdhmfe.results import PASSED

PACKAGE = REPOSITORY / "fdhmfe"
# Each module imports only from those before it: the order in which to read the package.
ORDER = [
    *("files", "identity", "config", "notebooks", "notebooks_copies", "progress", "distributed"),
    *("toy_draw", "toy", "dataset", "splits", "layout"),
    *("readers_listed", "readers", "sources", "download", "extract", "obtain", "report", "data"),
    *("views", "backbone", "receptive_field", "cache", "embedded", "embedded_weights"),
    *("stages", "graph", "hashing", "losses", "model", "criterion"),
    *("projections", "attention", "baseline_losses", "baselines", "methods"),
    *("checkpoint", "train", "inputs", "codes", "metrics", "statistics", "scoring", "results"),
    *("experiment", "sweep", "tables", "launch"),
    *("tune", "plots", "charts", "charts_ranks", "plots_maps", "plots_overlays", "plots_planes"),
    *("trained", "lesson", "lesson_inside", "reproduce"),
    *("search_index", "search_exact", "search_approximate", "search_engine", "search"),
    *("search_scale", "search_charts", "encode_network", "encode_job", "encode"),
    *("gallery", "album", "explorer"),
]
DRAWING = {"toy_draw", "toy_ground", "toy_paint"}  # how the toy set is painted: no method in it
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
HEAVY = ("torch", "timm", "papermill", "torch_geometric")


def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def imports(module: str) -> set[str]:
    """Names of the package's own modules that a module imports."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module == "fdhmfe":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fdhmfe."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {name[1] for name in names if name[0] == "fdhmfe" and len(name) > 1}
    return found


def functions(module: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef)]


def place(module: str) -> int:
    """A module's place in the order; what paints the toy set comes right before `toy`."""
    return ORDER.index("toy_draw" if module in DRAWING else module)


def test_every_module_has_its_place():
    assert set(MODULES) - DRAWING == set(ORDER) - DRAWING


def test_the_code_of_a_run_is_all_that_computes_its_numbers():
    seen, waiting = set(), ["experiment"]
    while waiting:
        seen.add(waiting[-1])
        waiting += sorted(imports(waiting.pop()) - seen)
    named = {"config", "embedded", "embedded_weights", "receptive_field"}  # in a run's name
    images = {"data", "dataset", "splits", "layout", "readers", "readers_listed", "toy"} | DRAWING
    fetching = {"sources", "download", "extract", "obtain", "report"}
    storing = {"files", "identity", "progress", "results"}
    assert seen - set(PASSED) == named | images | fetching | storing


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_those_before_it(module):
    own = imports(module)
    assert own <= set(MODULES)
    later = {name for name in own if place(name) > place(module)}
    assert later == set()


def test_the_painting_modules_do_not_import_in_a_circle():
    remaining = {module: imports(module) & DRAWING for module in DRAWING & set(MODULES)}
    while remaining:
        free = {module for module, needs in remaining.items() if not needs & set(remaining)}
        assert free, f"circular imports among {sorted(remaining)}"
        remaining = {m: needs for m, needs in remaining.items() if m not in free}


@pytest.mark.parametrize("module", MODULES)
def test_no_relative_or_star_imports(module):
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert all(alias.name != "*" for alias in node.names)


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_small(module):
    lines = len((PACKAGE / f"{module}.py").read_text(encoding="utf-8").splitlines())
    assert lines <= 400


@pytest.mark.parametrize("module", sorted(set(MODULES) - DRAWING - {"toy"}))
def test_functions_stay_short(module):
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(module)}
    assert {name: lines for name, lines in long.items() if lines > 60} == {}


@pytest.mark.parametrize("module", MODULES)
def test_every_argument_and_result_has_a_type(module):
    untyped = []
    for function in functions(module):
        arguments = function.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
        bare = [a.arg for a in every if not a.annotation and a.arg not in ("self", "cls")]
        untyped += [f"{function.name}({name})" for name in bare]
        untyped += [function.name] if function.returns is None else []
    assert untyped == []


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_and_not_plain_to_see_has_a_docstring(module):
    assert ast.get_docstring(tree(module))
    missing = []
    for node in tree(module).body:
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
    if (writes or changes) and {str(REPOSITORY)!r} in str(arguments[0]):
        raise RuntimeError(f"{{event}} {{arguments[0]}}")
sys.addaudithook(audit)
import {", ".join(f"fdhmfe.{module}" for module in MODULES)}
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
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


def test_settings_and_files_import_nothing_heavy():
    for module in ("files", "config", "toy", "metrics"):
        seen, waiting = set(), [module]
        while waiting:
            current = waiting.pop()
            seen.add(current)
            waiting += sorted(imports(current) - seen)
        outside = {
            (alias.name if isinstance(node, ast.Import) else node.module).split(".")[0]
            for name in seen
            for node in ast.walk(tree(name))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert outside.isdisjoint(HEAVY), module


@pytest.mark.parametrize("module", MODULES)
def test_no_paths_of_one_machine(module):
    text = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    assert not [root for root in ("/home/", "/Users/", "/work/", "/tmp/", "C:\\") if root in text]


def test_no_test_names_paths_of_one_machine_either():
    roots = ["/".join(("", name, "")) for name in ("home", "Users", "work")]
    for path in Path(__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != Path(__file__).name:
            assert not [root for root in roots if root in text], path.name
