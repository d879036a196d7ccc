"""Build a site of executed notebooks, all pages and a reference: python tools/build_site.py --help.

It reads results/<profile>/notebooks as `make reproduce` left them, and writes
results/<profile>/site, to be opened from disk or served. The site holds pictures of the data set.
Slides, cheat sheet and handout are copied into it where they have been made before.
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import nbformat

from fdhmfe.config.profiles import PROFILES
from fdhmfe.config.settings import load
from fdhmfe.lessons.notebooks import GLOSSARY, ordered_notebooks
from fdhmfe.support.places import REPOSITORY

DOCS, FRONT = REPOSITORY / "docs", "index.md"
# Pages that are not in docs, and their names on the site
OTHERS = {
    GLOSSARY: "glossary.md",
    REPOSITORY / "ARCHITECTURE.md": "architecture.md",
    REPOSITORY / "CONTRIBUTING.md": "contributing.md",
    REPOSITORY / "data" / "README.md": "data.md",
    REPOSITORY / "results" / "paper" / "README.md": "published.md",
}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")  # to a file: no address, no heading of the page
MADE = "<!-- made -->"  # in docs/teaching.md: where the site says what there is for teachers
UNNAMED = "A figure: the text beside it says what it shows"
HANDED_OUT = {
    "cheatsheet.pdf": ("The sheet of symbols, shapes and formulas, to print", "make cheatsheet"),
    "handout.zip": ("The notebooks for a class, without solutions", "make handout"),
}


class SiteError(RuntimeError):
    """The site cannot be built; the message says what to do."""


def executed_notebooks(output_dir: Path, profile: str) -> list[Path]:
    """The executed copies of all notebooks; SiteError naming those that are missing or failed."""
    paths = [output_dir / "notebooks" / path.name for path in ordered_notebooks()]
    missing = [path.stem[:2] for path in paths if not path.is_file()]
    failed = [path.stem[:2] for path in paths if path.is_file() and is_failed(path)]
    for numbers, what in ((missing, "have not been executed"), (failed, "failed")):
        if numbers:
            raise SiteError(
                f"notebooks {', '.join(numbers)} {what} in profile {profile}: run "
                f"`make reproduce PROFILE={profile}`, or only those with "
                f"`fdhmfe reproduce --profile {profile} "
                f"--only {' '.join(numbers)}`"
            )
    return paths


def is_failed(notebook: Path) -> bool:
    """Whether papermill met an error in it, or stopped before its end."""
    content = nbformat.read(notebook, as_version=4)
    finished = all(c.execution_count for c in content.cells if c.cell_type == "code")
    return bool(content.metadata.get("papermill", {}).get("exception")) or not finished


def stage(notebooks: list[Path], output_dir: Path, source: Path, extra: Path) -> None:
    """Fill Sphinx's source folder (notebooks as they are, docs, a front page) and the folder of
    what comes into the site unchanged (explorers, and what teachers hand out)."""
    rows = []
    for path in notebooks:
        content = nbformat.read(path, as_version=4)
        link_explorer(content)
        describe_figures(content, output_dir / "figures")
        for cell in content.cells:
            if cell.cell_type == "markdown":
                cell.source = linked(cell.source, notebooks)
        nbformat.write(content, source / path.name)
        title, goal = re.match(
            r"# (.+)\n\nBy the end you can (.+)", content.cells[0].source
        ).groups()
        rows.append(f"| [{title}]({path.name}) | {goal} |")
    made = for_teachers(output_dir, extra)
    known = site_pages()
    for path, name in known.items():
        page = linked(inside(path, known), notebooks)
        (source / name).write_text(page.replace(MADE, made), encoding="utf-8")
    shutil.copytree(DOCS / "_static", source / "_static")
    explorers = copied(output_dir / "explorer", extra)
    links = [f"- {link(f'explorer/{page.name}', page.stem)}" for page in explorers]
    front = inside(DOCS / FRONT, known)
    front = front.replace("{notebooks}", "\n".join(rows))
    front = front.replace("{contents}", "\n".join(path.stem for path in notebooks))
    front = front.replace("{explorers}", "\n".join(links) or "None yet: run notebook 13_explorer.")
    (source / FRONT).write_text(front, encoding="utf-8")


def site_pages() -> dict[Path, str]:
    """The pages beside the notebooks, and their names on the site."""
    return {path: path.name for path in DOCS.glob("*.md") if path.name != FRONT} | OTHERS


def inside(path: Path, known: dict[Path, str]) -> str:
    """A page whose links lead to the site's pages; SiteError for a link that leads out of it."""

    def target(found: re.Match[str]) -> str:
        there = (path.parent / found[1]).resolve()
        if there not in known:
            name = path.relative_to(REPOSITORY)
            raise SiteError(f"{name} links to {found[1]}, which is no page of the site")
        return known[there]

    return LINK.sub(target, path.read_text(encoding="utf-8"))


def for_teachers(output_dir: Path, extra: Path) -> str:
    """Copy what was made for teaching; a Markdown list of links to it, and of what is not made."""
    slides = [
        link(f"slides/{page.name}", page.stem) for page in copied(output_dir / "slides", extra)
    ]
    lines = [f"- Slides: {', '.join(slides) or 'not made yet, run `make slides`'}"]
    for name, (text, goal) in HANDED_OUT.items():
        there = (output_dir.parent / name).is_file()
        if there:
            shutil.copyfile(output_dir.parent / name, extra / name)
        lines.append(f"- {text}: {link(name, name) if there else f'not made yet, run `{goal}`'}")
    return "\n".join(lines)


def copied(folder: Path, extra: Path) -> list[Path]:
    """Copy a folder, if it is there, into another; returns the pages in it."""
    if folder.is_dir():
        shutil.copytree(folder, extra / folder.name)
    return sorted(folder.glob("*.html"))


def link(address: str, text: str) -> str:
    """A link to a file that Sphinx copies: it knows only the pages that it writes."""
    return f'<a href="{address}">{text}</a>'


def linked(page: str, notebooks: list[Path]) -> str:
    """The page with links where it names notebooks that are there."""
    for path in notebooks:
        page = page.replace(f"`{path.stem}`", f"[`{path.stem}`]({path.name})")
    return page


def link_explorer(notebook: nbformat.NotebookNode) -> None:
    """Put a link to the page a notebook wrote in the place of the widget, which needs a kernel."""
    notebook.metadata.pop("widgets", None)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    for output in outputs:
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            page = re.search(r"explorer/(\S+\.html)", printed)
            address = f"explorer/{page[1]}" if page else "index.html"
            output.data = {"text/html": f"<p>{link(address, 'Open the explorer')}</p>"}


def describe_figures(notebook: nbformat.NotebookNode, figures: Path) -> None:
    """Give figures alternative text: those that their cell saved, their name and their words."""
    for cell in notebook.cells:
        printed = "".join(output.get("text", "") for output in cell.get("outputs", []))
        text = UNNAMED
        if saved := re.search(r"saved .*?([^/\\,\s]+)\.png", printed):
            drawing = figures / f"{saved[1]}.svg"
            text = f"Figure {saved[1]}" + (f": {words(drawing)}" if drawing.is_file() else "")
        cell.metadata["mystnb"] = {"image": {"alt": text}}


def words(drawing: Path) -> str:
    """The words in an SVG file, each once; no bare numbers, which are ticks of an axis."""
    texts = ElementTree.parse(drawing).iter("{http://www.w3.org/2000/svg}text")
    found = dict.fromkeys(" ".join("".join(text.itertext()).split()) for text in texts)
    return "; ".join(text for text in found if re.search(r"[^\W\d]", text))


def build(output_dir: Path, profile: str) -> Path:
    """Build the site anew; returns its first page. SiteError if Sphinx warns or fails."""
    notebooks = executed_notebooks(output_dir, profile)
    try:
        from sphinx.cmd.build import build_main
    except ImportError:
        raise SiteError("the site needs Sphinx: pip install -e '.[site]'") from None
    with tempfile.TemporaryDirectory() as scratch:
        source, extra, made = (Path(scratch) / name for name in ("source", "extra", "site"))
        source.mkdir()
        extra.mkdir()
        stage(notebooks, output_dir, source, extra)
        options = ["-q", "-W", "--keep-going", "-b", "html", "-c", str(DOCS)]
        options += [f"-Dhtml_extra_path={extra}", "-d", str(Path(scratch) / "doctrees")]
        if build_main([*options, str(source), str(made)]) != 0:
            raise SiteError("Sphinx met the problems above")
        site = output_dir / "site"
        shutil.rmtree(site, ignore_errors=True)
        shutil.move(made, site)
    return site / "index.html"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python tools/build_site.py", description=__doc__)
    parser.add_argument("--profile", default="quick", choices=tuple(PROFILES))
    parser.add_argument("--results-dir", default="", help="where <profile> is, if not in results")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.profile, results_dir=options.results_dir)
        first = build(settings.output_dir, options.profile)
    except SiteError as error:
        print(f"site: {error}", file=sys.stderr)
        return 1
    print(f"{first}\nOpen it from disk, or serve it: python -m http.server -d {first.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
