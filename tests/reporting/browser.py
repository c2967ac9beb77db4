"""Debian's Chromium (make setup-system), started for tests and pictures: it asks nobody for anything."""

import os
import shutil

CHROMIUM = os.environ.get("VALUESCAPE_CHROMIUM") or shutil.which("chromium") or "chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
