"""A real browser for tests: those that need one are skipped where there is none."""

import base64

import pytest
from conftest import tool

pytest.importorskip("playwright", reason="the extra browser is not installed")
from playwright.sync_api import Locator

lab_notebooks = tool("lab_notebooks")
BROWSER = lab_notebooks.find_browser()
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")


def drop(target: Locator, files: dict[str, bytes]) -> None:
    """Drop files, content by name, on a part of a page: the events of a real drag, without it."""
    coded = [[name, base64.b64encode(content).decode()] for name, content in files.items()]
    transfer = target.page.evaluate_handle(
        """(files) => {
          const transfer = new DataTransfer();
          for (const [name, coded] of files) {
            const content = Uint8Array.from(atob(coded), (c) => c.charCodeAt(0));
            transfer.items.add(new File([content], name));
          }
          return transfer;
        }""",
        coded,
    )
    for event in ("dragenter", "dragover", "drop"):
        target.dispatch_event(event, {"dataTransfer": transfer})
