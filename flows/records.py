"""What runs left in a workspace, read without Prefect.

for folder in run_folders(workspace):
    print(read_manifest(folder)["status"])
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from tasks.files import FileSet, is_held

LOCK = ".running"  # held by the process that executes the run
LOG = "log.jsonl"


def run_id_of(flow_run: UUID, created: datetime) -> str:
    """Sorts by time, and stays the same when Prefect retries the flow run."""
    return f"{created:%Y%m%d-%H%M%S}-{str(flow_run)[-6:]}"


def folder_of(workspace: Path, study: str, run_id: str) -> Path:
    return workspace / "runs" / study / run_id


def found_again(made: FileSet, workspace: Path) -> FileSet | None:
    """The same files in another run's folder: every run is whole, so that a result outlives the run that made it. None when no run has them."""
    folders = [place for folder in reversed(run_folders(workspace)) for place in (folder, *sorted(folder.glob("replications/*")))]
    moved = (made.model_copy(update={"folder": str(folder)}) for folder in folders)
    return next((files for files in moved if files.holds()), None)


def run_folders(workspace: Path) -> list[Path]:
    """The newest last; `latest` is a link to one of them."""
    found = [path.parent for path in (workspace / "runs").glob("*/*/manifest.json") if not path.parent.is_symlink()]
    return sorted(found, key=lambda folder: folder.name)


def newest_on_another_file(workspace: Path, study: str, survey: Mapping[str, Any], *, having: Sequence[str]) -> Path | None:
    """The newest finished run of a study whose survey has the countries of `survey` and came from other files; `having` these files, which
    one whose removal was cut off has not."""
    for folder in reversed([folder for folder in run_folders(workspace) if folder.parent.name == study]):
        manifest = read_manifest(folder)
        alike = {name: manifest["survey"].get(name) == survey.get(name) for name in ("country", "file_sha256")}
        whole = manifest["status"] == "finished" and all((folder / name).is_file() for name in having)
        if whole and alike["country"] and not alike["file_sha256"]:
            return folder
    return None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest; a run that says "running" and whose process is gone was killed."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    killed = manifest["status"] == "running" and not is_held(folder / LOCK)
    return {**manifest, "status": "killed", "error": "its process was ended; repeating the command goes on"} if killed else manifest
