"""What a result depends on beside the study and its files: the project's commit, the libraries, the machine. Read without Prefect.

circumstances()   # {"commit": "...", "versions": {...}, "hardware": {...}}
"""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
LIBRARIES = ("prefect", "duckdb", "pandas", "torch", "transformers", "accelerate", "peft", "great-expectations")


@cache
def circumstances() -> dict[str, Any]:
    """For a run's manifest; a process stays with what it started from."""
    versions = {"valuescape": version("valuescape"), **{name: version(name) for name in LIBRARIES}}
    return {"commit": _commit(), "versions": versions, "hardware": _hardware()}


def _commit() -> str | None:
    """The project's commit, `-dirty` where files differ from it; in an image what it was built from; None where nothing says it."""
    if built_from := os.environ.get("VALUESCAPE_COMMIT"):
        return built_from
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def _hardware() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "accelerate": os.environ.get("VALUESCAPE_HARDWARE") or "chosen for this machine",
    }
