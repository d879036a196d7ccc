"""Open notebooks in a real JupyterLab, in headless Chromium, and run all their cells.

    python tools/lab_notebooks.py [NN ...] [--profile smoke] [--screenshots FOLDER]

Copies are opened, with `profile` and `results_dir` edited in their parameter cell as a person
would; the notebooks themselves stay as they are. Needs playwright (the extra browser) and Chromium.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat
from playwright.sync_api import ConsoleMessage, Page, Request, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from fdhmfe.config.settings import load
from fdhmfe.lessons.notebooks import chosen, ordered_notebooks
from fdhmfe.support.places import REPOSITORY

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
FINISHED = """() => {
  const cells = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')];
  const shown = cells.map((cell) => cell.innerText);
  return shown.some((text) => /\\[\\d+\\]/.test(text)) && !shown.some((text) => text.includes('*'));
}"""
# In the address of a slide, #/ and what follows names no element: reveal.js reads it.
MISSING_ANCHORS = """[...document.links]
  .filter((a) => a.hash.length > 1 && !a.hash.startsWith('#/') && a.pathname === location.pathname)
  .map((a) => a.hash).filter((hash) => !document.getElementById(decodeURIComponent(hash.slice(1))))
"""


def find_browser() -> str | None:
    """Path of an installed Chromium or Chrome."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def browser_page(browser: str) -> Iterator[Page]:
    """A page in a fresh headless browser."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=QUIET)
        try:
            page = opened.new_page(viewport={"width": 1280, "height": 1000})
            page.set_default_timeout(120_000)  # a busy machine is slow, not wrong
            yield page
        finally:
            opened.close()


def watch(page: Page) -> list[str]:
    """A list that fills with console errors, failed requests, and requests to other places."""
    faults: list[str] = []

    def requested(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:")):
            faults.append(f"asks {request.url}")

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            faults.append(f"console: {message.text}")

    page.on("request", requested)
    page.on("console", said)
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    return faults


def crawl(browser: str, first: Path) -> tuple[set[str], list[str]]:
    """Open a site's pages from disk, following links; returns their names, and what is wrong."""
    waiting, seen, wrong = [first.as_uri()], set(), []
    with browser_page(browser) as page:
        faults = watch(page)
        while waiting:
            address = waiting.pop()
            seen.add(address)
            page.goto(address)
            broken = page.evaluate(
                "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
            )
            links = page.evaluate("[...document.links].map(a => a.href)")
            anchors = page.evaluate(MISSING_ANCHORS)
            local = {link.partition("#")[0] for link in links if link.startswith("file:")}
            gone = [x for x in local if not Path(unquote(urlparse(x).path)).is_file()]
            wrong += [f"{address}: {x}" for x in (*faults, *broken, *gone, *anchors)]
            faults.clear()
            pages = {x.partition("?")[0] for x in local if ".html" in x} - {*gone}
            waiting += sorted(pages - seen - {*waiting})
    return {Path(urlparse(address).path).name for address in seen}, wrong


@contextmanager
def jupyter_lab(root: Path) -> Iterator[str]:
    """A JupyterLab server on loopback with `root` as its folder; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = root.parent / "jupyter"
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    # Else cells out of view are not in the page
    tracker.write_text('{"windowingMode": "none"}', encoding="utf-8")
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"),
        *("--IdentityProvider.token=", f"--ServerApp.root_dir={root}", "--allow-root"),
        *("--LabApp.news_url=None", "--ServerApp.port_retries=0", "--LabApp.core_mode=False"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--LabApp.user_settings_dir={settings}",
        f"--LabApp.workspaces_dir={settings}",
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_WAIT_POLICY": "PASSIVE"}
    with open(root.parent / "server.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=root)
        try:
            wait_for(f"http://127.0.0.1:{port}/api", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()


def wait_for(address: str, server: subprocess.Popen, seconds: float = 90) -> None:
    """Return once the server answers; RuntimeError if it ends or stays silent."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab does not answer at {address}")


def run_all(page: Page, address: str, notebook: str, seconds: float = 900) -> list[str]:
    """Open a notebook in JupyterLab and run all cells; returns the errors its cells show."""
    page.goto(f"{address}/lab/tree/{notebook}?reset")
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=240_000)
    select = page.locator(".jp-Dialog").get_by_role("button", name="Select", exact=True)
    page.add_locator_handler(select, lambda button: button.click())
    # Run All before the kernel is there would run nothing.
    page.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for(timeout=240_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    try:
        page.wait_for_function(FINISHED, timeout=1000 * seconds)
    except PlaywrightTimeout:
        return [f"not finished after {seconds:.0f} s"]
    shown = page.locator('.jp-Notebook [data-mime-type="application/vnd.jupyter.stderr"]')
    errors = [text for text in shown.all_inner_texts() if "Traceback (most recent" in text]
    return [error.strip().splitlines()[-1] for error in errors]


def copy_with_parameters(notebook: Path, folder: Path, **values: str) -> Path:
    """A copy with some values in its parameter cell edited, as a person would."""
    content = nbformat.read(notebook, as_version=4)
    cell = next(c for c in content.cells if "parameters" in c.metadata.get("tags", []))
    for name, value in values.items():
        pattern = rf"^({name}: str = )\"[^\"]*\""
        cell.source = re.sub(pattern, rf'\1"{value}"', cell.source, flags=re.M)
    nbformat.write(content, folder / notebook.name)
    return folder / notebook.name


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", metavar="NN", help="numbers, such as 06 11; else all")
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--results-dir", default="", help="where <profile> goes, if not to results")
    parser.add_argument("--screenshots", type=Path, help="folder for one picture per notebook")
    options = parser.parse_args(arguments)
    browser = find_browser()
    if browser is None:
        print("no Chromium found: install one (Debian: apt install chromium)", file=sys.stderr)
        return 2
    notebooks = chosen(ordered_notebooks(), options.only)
    results = load(options.profile, results_dir=options.results_dir).output_dir.parent
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "notebooks"
        root.mkdir()
        with jupyter_lab(root) as address, browser_page(browser) as page:
            for notebook in notebooks:
                started = time.monotonic()
                given = {"profile": options.profile, "results_dir": str(results)}
                errors = run_all(page, address, copy_with_parameters(notebook, root, **given).name)
                verdict = "; ".join(errors) or "ran without an error"
                print(f"{notebook.stem}: {verdict}, {time.monotonic() - started:.0f} s", flush=True)
                failed += [notebook.stem] if errors else []
                if options.screenshots:
                    page.screenshot(path=options.screenshots / f"{notebook.stem}.png")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
