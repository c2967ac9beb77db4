"""Debian's Chromium (make setup-system), started for tests and pictures: it asks nobody for anything.

with chromium() as browser:
    page = browser.new_page()
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = os.environ.get("VALUESCAPE_CHROMIUM") or shutil.which("chromium") or "chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
SCREENSHOTS = Path(__file__).resolve().parents[2] / "workspace" / "screenshots"
# Where CI=true a missing browser is an error.
needs_chromium = pytest.mark.skipif(os.environ.get("CI") != "true" and not Path(CHROMIUM).exists(), reason="needs chromium: make setup-system")


@contextmanager
def chromium() -> Iterator[Any]:
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def page_of_prefect() -> Iterator[Any]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(60_000)  # the first page compiles what it shows
        yield page
