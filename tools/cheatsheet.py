"""Print docs/cheatsheet.md on one page with a browser: python tools/cheatsheet.py --help."""

import argparse
import sys
from pathlib import Path

from lab_notebooks import browser_page, find_browser
from slides import DOCS, rendered

from fdhmfe.support.places import home


def page(source: str) -> str:
    """The sheet as an HTML page that needs nothing else."""
    style = (DOCS / "cheatsheet.css").read_text(encoding="utf-8")
    head = f'<meta charset="utf-8"><title>Cheat sheet</title><style>{style}</style>'
    return f"<!doctype html><html lang=en>{head}<body>{rendered(source)}</body></html>"


def print_sheet(browser: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with browser_page(browser) as tab:
        tab.set_content(page((DOCS / "cheatsheet.md").read_text(encoding="utf-8")))
        tab.pdf(path=target, prefer_css_page_size=True, print_background=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python tools/cheatsheet.py", description=__doc__)
    parser.add_argument("--out", type=Path, default=home() / "results" / "cheatsheet.pdf")
    options = parser.parse_args(arguments)
    browser = find_browser()
    if browser is None:
        print("cheatsheet: no Chromium or Chrome is installed to print with", file=sys.stderr)
        return 1
    print_sheet(browser, options.out)
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
