"""Pack notebooks and glossary for a class, without solutions: python tools/handout.py --help."""

import argparse
import re
import sys
import zipfile
from pathlib import Path

from fdhmfe.lessons.notebooks import GLOSSARY, ordered_notebooks
from fdhmfe.support.files import atomic
from fdhmfe.support.places import home

POINTER = re.compile(r" ?Solutions: `solutions/\w+\.ipynb`\.")


def pack(target: Path) -> list[str]:
    """Write the zip file; returns the names in it. The same notebooks give the same bytes."""
    with atomic(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (*ordered_notebooks(), GLOSSARY):
            entry = zipfile.ZipInfo(f"notebooks/{path.name}")
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, POINTER.sub("", path.read_text(encoding="utf-8")))
        return archive.namelist()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python tools/handout.py", description=__doc__)
    parser.add_argument("--out", type=Path, default=home() / "results" / "handout.zip")
    options = parser.parse_args(arguments)
    names = pack(options.out)
    size = options.out.stat().st_size / 1e3
    print(f"{options.out}: {len(names) - 1} notebooks and a glossary, {size:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
