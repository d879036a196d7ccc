"""What a researcher imports: quick to import, and enough for a training of one's own."""

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from conftest import ROOT, python_blocks, save_image, write_folder

import fdhmfe

SOURCES = ("fdhmfe", "tools", "benchmarks", "tests")
IMPORT_ALL = """
import importlib, pkgutil, warnings
import fdhmfe
warnings.filterwarnings("error", module="fdhmfe")
for each in pkgutil.walk_packages(fdhmfe.__path__, "fdhmfe."):
    importlib.import_module(each.name)
print("imported")
"""


def example() -> str:
    """The training script of the documentation."""
    (script,) = python_blocks("own_backbone")
    return script


def run(script: str, folder: Path, site: Path = ROOT) -> str:
    """What a script prints, started in a folder, with the package from the checkout or a wheel."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        **dict(cwd=folder, env=os.environ | {"PYTHONPATH": str(site)}),
        **dict(capture_output=True, text=True, check=False),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_heavy(tmp_path):
    loaded = set(run("import sys, fdhmfe; print(*sys.modules)", tmp_path).split())
    assert loaded.isdisjoint({"torch", "numpy", "pandas", "matplotlib", "torchvision"})


def test_the_first_picture_of_the_course_waits_for_no_torch(tmp_path):
    cells = json.loads((ROOT / "notebooks" / "00_start_here.ipynb").read_text(encoding="utf-8"))
    first = next(
        "".join(c["source"]) for c in cells["cells"] if "lesson.begin" in "".join(c["source"])
    )
    imports = "\n".join(line for line in first.splitlines() if " import " in line)
    assert "fdhmfe" in imports
    loaded = set(run(f"import sys\n{imports}\nprint(*sys.modules)", tmp_path).split())
    assert loaded.isdisjoint({"torch", "torchvision", "torch_geometric", "seaborn", "sklearn"})


def test_no_file_of_ours_warns_when_it_is_compiled():
    with warnings.catch_warnings(action="error"):
        for path in (path for room in SOURCES for path in (ROOT / room).rglob("*.py")):
            compile(path.read_text(encoding="utf-8"), str(path), "exec")


def test_no_module_of_ours_warns_when_it_is_imported(tmp_path):
    """Warnings of libraries about each other are not ours to mend."""
    assert run(IMPORT_ALL, tmp_path).split()[-1] == "imported"


def test_the_public_names_are_there():
    assert all(getattr(fdhmfe, name) for name in fdhmfe.__all__)
    assert fdhmfe.FDHMFE.__module__ == "fdhmfe.network"
    assert fdhmfe.metrics.mean_average_precision([[1, 1]], [[1, 1]], [0], [0]) == 1
    assert re.fullmatch(r"\d+\.\d+\.\d+", fdhmfe.__version__)
    with pytest.raises(AttributeError, match="'fdhmfe' has no attribute 'FDHMF'"):
        fdhmfe.FDHMF  # noqa: B018


def test_the_documented_call_works_on_maps_of_any_backbone():
    net = fdhmfe.FDHMFE(channels=[192, 576, 1280], classes=200, bits=48)
    loss = fdhmfe.FDHMFELoss(triplet_weight=0.5)
    maps = [torch.randn(4, c, s, s) for c, s in ((192, 28), (576, 14), (1280, 7))]
    total, terms = loss(net(maps), torch.tensor([0, 0, 7, 199]))
    total.backward()
    assert torch.isfinite(total) and {"proxy", "triplet"} <= set(terms)


@pytest.mark.slow  # builds a wheel, imports everything anew
def test_the_documented_script_trains_from_a_wheel_on_folders_of_images(installed, tmp_path):
    write_folder(tmp_path / "images", classes=3, per_class=24)
    script = example()
    assert len([line for line in script.splitlines() if line.strip()]) <= 25
    quick = script.replace("weights=weights", "weights=None").replace("range(10)", "range(1)")
    assert "None" in quick and "range(1)" in quick  # no download, one epoch
    shown = run(f"{quick}\nprint(fdhmfe.__file__)", tmp_path, installed).split()
    assert 0 < float(shown[-2]) <= 1
    assert Path(shown[-1]).is_relative_to(installed)


@pytest.mark.slow
def test_a_finished_run_codes_images_from_a_wheel(installed, folder_run, tmp_path):
    image = save_image(tmp_path / "a.jpg", 1)
    script = (
        f"import fdhmfe; print(fdhmfe.open_run({str(folder_run)!r}).encode(['a.jpg']).tolist())"
    )
    from_wheel = run(script, tmp_path, installed)
    assert from_wheel == f"{fdhmfe.open_run(folder_run).encode([image]).tolist()}\n"


@pytest.mark.slow
def test_the_kit_s_own_model_comes_with_a_wheel(installed, tmp_path):
    image = save_image(tmp_path / "a.jpg", 1)
    script = "import fdhmfe; print(fdhmfe.from_pretrained('toy').encode(['a.jpg']).tolist())"
    from_wheel = run(script, tmp_path, installed)
    assert from_wheel == f"{fdhmfe.from_pretrained('toy').encode([image]).tolist()}\n"
