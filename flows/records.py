"""What runs left in a workspace, read without Prefect.

for folder in run_folders(workspace):
    print(read_manifest(folder)["status"])
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from tasks.files import is_held

LOCK = ".running"  # held by the process that executes the run


def run_id_of(flow_run: UUID, created: datetime) -> str:
    """Sorts by time, and stays the same when Prefect retries the flow run."""
    return f"{created:%Y%m%d-%H%M%S}-{str(flow_run)[-6:]}"


def run_folders(workspace: Path) -> list[Path]:
    """The newest last; `latest` is a link to one of them."""
    found = [path.parent for path in (workspace / "runs").glob("*/*/manifest.json") if not path.parent.is_symlink()]
    return sorted(found, key=lambda folder: folder.name)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest; a run that says "running" and whose process is gone was killed."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    killed = manifest["status"] == "running" and not is_held(folder / LOCK)
    return {**manifest, "status": "killed", "error": "its process was ended; repeating the command goes on"} if killed else manifest
