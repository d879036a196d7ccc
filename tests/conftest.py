"""Small real data for the tests: JPEGs of noise around one colour per class."""

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from fdhmfe import search
from fdhmfe.config.settings import Config, load
from fdhmfe.runs import experiment

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def python_blocks(page: str) -> list[str]:
    """The Python code in a page of the documentation, block by block."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def places_of(environment: Path) -> dict[str, Path]:
    """Where a virtual environment has its packages (purelib), its commands (scripts), and more."""
    base = {"base": str(environment), "platbase": str(environment)}
    return {name: Path(path) for name, path in sysconfig.get_paths("venv", vars=base).items()}


def save_image(path: Path, seed: int, label: int = 0, size: tuple[int, int] = (48, 40)) -> Path:
    """Noise round the colour of a class, (width, height) = size; JPEG or PNG by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([label, seed])
    colour = np.array([60 + 90 * (label % 3), 60 + 90 * (label // 3 % 3), 120])
    pixels = np.clip(colour + rng.normal(0, 40, (size[1], size[0], 3)), 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def write_cub(root: Path, classes: int = 2, per_class: int = 4) -> Path:
    """A CUB_200_2011 folder: per class, the first half of the images is train."""
    images = [(c, i) for c in range(classes) for i in range(per_class)]
    names = [f"{c + 1:03d}.Species_{c + 1}" for c in range(classes)]
    for c, i in images:
        save_image(root / "images" / names[c] / f"{names[c]}_{i}.jpg", i, c)
    lists = {
        "classes.txt": names,
        "images.txt": [f"{names[c]}/{names[c]}_{i}.jpg" for c, i in images],
        "image_class_labels.txt": [c + 1 for c, _ in images],
        "train_test_split.txt": [int(i < per_class // 2) for _, i in images],
    }
    for file, values in lists.items():
        lines = (f"{number} {value}\n" for number, value in enumerate(values, 1))
        (root / file).write_text("".join(lines))
    return root


def write_folder(root: Path, classes: int = 3, per_class: int = 8, *, split: bool = True) -> Path:
    """<root>/{train,test}/class_<c>/<i>.jpg, or without the split folders."""
    for c in range(classes):
        for i in range(per_class):
            half = ("train" if i % 2 else "test") if split else "."
            save_image(root / half / f"class_{c}" / f"{i}.jpg", i, c)
    return root


def small_run(root: Path, **given) -> Config:
    """Settings of a run of a few seconds on <root>/images, into <root>/results."""
    small = dict(image_size=32, grid=4, views=2, embedded_epochs=1, epochs=2, batch_size=5)
    size = dict(width=8, keep=2, bits=12, dataset="folder")
    places = dict(data_dir=str(root / "images"), results_dir=str(root / "results"))
    return load("smoke", **{**small, **size, **places, **given})


@pytest.fixture
def root(tmp_path: Path, own_cache: Path) -> Path:
    """A folder with the images that `small_run` wants, and with a feature cache of its own."""
    write_folder(tmp_path / "images", classes=3, per_class=10)
    return tmp_path


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    return write_cub(tmp_path / "cub")


@pytest.fixture
def shared_data() -> Callable[[str], str]:
    """Path of a real data set beside the repository; the test is skipped where there is none."""

    def find(name: str) -> str:
        if not (SHARED / "data" / name).is_dir():
            pytest.skip(f"no real photographs at ../shared/data/{name}")
        return str(SHARED / "data" / name)

    return find


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Feature caches go to a temporary folder instead of data/cache."""
    monkeypatch.setenv("FDHMFE_HOME", str(tmp_path))
    return tmp_path / "data" / "cache"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MB; the test is skipped where mounting is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root on Linux")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished FDH-MFE run of 20 bits on a small tree of one's own images."""
    root = tmp_path_factory.mktemp("run")
    write_folder(root / "images", classes=3, per_class=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FDHMFE_HOME", str(root))
        yield experiment.run(small_run(root, bits=20))


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """A folder with the package as its wheel installs it, far from the checkout."""
    pytest.importorskip("hatchling", reason="the group dev is not installed")
    place = tmp_path_factory.mktemp("wheel")
    build = ["hatchling", "build", "--target", "wheel", "--directory", str(place)]
    subprocess.run([sys.executable, "-m", *build], cwd=ROOT, capture_output=True, check=True)
    (wheel,) = place.glob("*.whl")
    install = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target", place / "site"]
    subprocess.run([sys.executable, "-m", *install, wheel], check=True)
    return place / "site"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The uri of a PostgreSQL server that runs until the last test has ended."""
    if not search.engine_installed():
        pytest.skip("PostgreSQL is not installed (the extra `engine`)")
    # Not pytest's own folder: if root runs the tests, the server's account cannot reach that.
    with TemporaryDirectory() as folder, search.serve(Path(folder)) as uri:
        yield uri


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Gives the uri of the server, emptied, for an index of kind `postgres`; none for others."""

    def uri(kind: str) -> str:
        if kind != "postgres":
            return ""
        import psycopg

        server: str = request.getfixturevalue("server")
        with psycopg.connect(server, autocommit=True) as connection:
            tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            for (table,) in connection.execute(tables).fetchall():
                connection.execute(f"DROP TABLE {table}")
        return server

    return uri
