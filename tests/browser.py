"""A real browser for tests: those that need one are skipped where there is none."""

import pytest
from conftest import tool

lab_notebooks = tool("lab_notebooks")
BROWSER = lab_notebooks.find_browser()
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
