"""Write into docs/install.md how large an installation is: python tools/sizes.py

Downloads are what the package index says of the files for this platform; sizes on disk are those
of the files installed here. So it needs a network, and an environment that has everything. The
build of torch for the CPU is smaller than the usual one: its row counts the usual one, and says
"at most".
"""

import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import make_env
import pages
import pandas as pd

from fdhmfe.support.places import REPOSITORY

PAGE = REPOSITORY / "docs" / "install.md"
START, END = "<!-- written by tools/sizes.py -->\n", "<!-- end of sizes -->\n"
CUDA = re.compile("(nvidia|cuda|triton)")  # what torch needs only for GPUs
EVERYTHING = ("browser", "dask", "dev", "engine", "site")  # with these, `make test` runs every test


def on_disk(name: str) -> int:
    """Bytes of a package's files where it is installed; PackageNotFoundError if it is not."""
    files = [Path(file.locate()) for file in metadata.files(name) or ()]
    return sum(file.stat().st_size for file in files if file.is_file())


def row(packages: list[dict[str, Any]], least: str = "") -> dict[str, str]:
    """What some packages weigh, as cells of the table."""
    download = sum(map(make_env.size, packages)) / 1e9
    disk = sum(on_disk(package["name"]) for package in packages) / 1e9
    cells = {"download": f"{least}{download:.1f} GB", "on disk": f"{least}{disk:.1f} GB"}
    return {"packages": str(len(packages)), **cells}


def table() -> str:
    """The table: everything, what notebooks need, the same without CUDA."""
    with tempfile.TemporaryDirectory() as scratch:
        make_env.PYTHON, make_env.PLAN = Path(sys.executable), Path(scratch) / "pylock.toml"
        usual = make_env.plan([], "")
        every = make_env.plan(EVERYTHING, "")
    rows = {
        "`make test`: everything": row(every),
        "`make reproduce`, `make lab`": row(usual),
        "the same with `TORCH=cpu`": row(
            [p for p in usual if not CUDA.match(p["name"])], "at most "
        ),
    }
    return pd.DataFrame(rows).T.rename_axis("what it is for").to_markdown()


def replaced(page: str, section: str) -> str:
    """The page with another text between the two marks; ValueError if it lacks them."""
    return pages.replaced(page, f"{START}{section}\n{END}", START, END)


def main() -> int:
    text = table()
    pages.update(PAGE, replaced(PAGE.read_text(encoding="utf-8"), text))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
