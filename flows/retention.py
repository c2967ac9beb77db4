"""What of a workspace may go: old runs, what only they used, and leftovers of processes that were killed.

    plan = plan_removal(workspace, older_than=timedelta(days=30))
    plan.entries, plan.freed_bytes
    remove(plan)

Never the newest finished run of a study, a run that is being executed, or what a run that stays has read or made. Files that two runs share are
links to one content: what stays keeps its own, and stored results whose run has gone are found in the runs that stay. Survey files, copies of
landed ones, models, answers of servers and Prefect's record are left alone.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from flows.records import LOCK, read_manifest, run_folders
from tasks.errors import StepError
from tasks.files import FileSet, held_alone, is_held
from tasks.lineage import Lineage
from tasks.training.launcher import MADE

REST = timedelta(days=1)  # what was touched since then may be about to be used again
RUN, TRAINING, SURVEY, LEFTOVER, RESULT = "run", "training", "staged survey", "leftover", "stored result"


class Entry(NamedTuple):
    """Files or folders that go together; `touched` is when the newest of them was written."""

    kind: str
    name: str
    paths: tuple[Path, ...]
    touched: datetime


@dataclass
class Plan:
    """What would go; `freed_bytes` counts a content once, and only when no other file is a link to it."""

    workspace: Path
    entries: list[Entry] = field(default_factory=list)
    freed_bytes: int = 0


def plan_removal(workspace: Path, *, older_than: timedelta | None = None, at_most_bytes: int | None = None, now: datetime | None = None) -> Plan:
    """Runs that are older, and as many of the oldest others as bring the workspace under its size; with them, what no run that stays uses."""
    if not (workspace / "runs").is_dir():
        return Plan(workspace)
    moment = now or datetime.now(UTC)
    runs = sorted(_removable_runs(workspace), key=lambda entry: entry.touched)
    aged = sum(moment - entry.touched > older_than for entry in runs) if older_than is not None else 0
    shared = list(_shared(workspace, untouched_since=moment - max(older_than or REST, REST)))
    total = bytes_of([workspace])
    if at_most_bytes is not None and older_than is None and total <= at_most_bytes:
        return Plan(workspace)
    for number in range(aged, len(runs) + 1):
        entries = [*runs[:number], *_unused(shared, workspace, without={entry.name for entry in runs[:number]})]
        plan = Plan(workspace, entries, bytes_of(path for entry in entries for path in entry.paths))
        if at_most_bytes is None or total - plan.freed_bytes <= at_most_bytes:
            break
    return plan


def remove(plan: Plan) -> list[str]:
    """Remove what is planned; returns what was left, with the reason, because a process has begun to use it."""
    left = []
    for entry in plan.entries:
        try:
            _remove(entry, busy=any(is_held(folder / LOCK) for folder in run_folders(plan.workspace)))
        except StepError as error:
            left.append(f"{entry.kind} {entry.name}: {error}")
    return left


def bytes_of(places: Iterable[Path]) -> int:
    """Bytes on disk that would be free if `places` went: a content with links elsewhere would stay."""
    links: Counter[tuple[int, int]] = Counter()
    freed = 0
    for path in (file for place in places for file in _files(place)):
        found = path.lstat()
        links[found.st_dev, found.st_ino] += 1
        if links[found.st_dev, found.st_ino] == found.st_nlink:
            freed += found.st_blocks * 512
    return freed


def _files(place: Path) -> Iterator[Path]:
    if place.is_symlink() or not place.is_dir():
        yield place
        return
    for folder, _, names in os.walk(place):
        yield from (Path(folder) / name for name in names)


def _removable_runs(workspace: Path) -> Iterator[Entry]:
    newest: dict[str, Path] = {}
    manifests = {folder: read_manifest(folder) for folder in run_folders(workspace)}
    for folder, manifest in manifests.items():
        if manifest["status"] == "finished":
            newest[folder.parent.name] = folder
    for folder, manifest in manifests.items():
        if folder not in newest.values() and manifest["status"] != "running":
            yield Entry(RUN, folder.name, (folder,), datetime.fromisoformat(manifest["updated"]))


def _shared(workspace: Path, *, untouched_since: datetime) -> Iterator[Entry]:
    """What runs have in common, of those that nobody touched for a while."""
    surveys: dict[str, list[Path]] = {}
    for path in (workspace / "surveys").glob("[!.]*.*"):
        surveys.setdefault(path.stem, []).append(path)
    leftovers = (path for name in ("surveys", "landed", "training") for path in (workspace / name).glob(".*"))
    found = [
        *((TRAINING, path.name, (path,)) for path in (workspace / "training").glob("[!.]*") if not is_held(path / "lock")),
        *((SURVEY, stem, tuple(paths)) for stem, paths in surveys.items()),
        *((LEFTOVER, path.name, (path,)) for path in leftovers),
        *((RESULT, path.name, (path,)) for path in (workspace / "prefect" / "storage").glob("[!.]*") if path.is_file() and _told_of(path)),
    ]
    for kind, name, paths in found:
        touched = max(datetime.fromtimestamp(file.lstat().st_mtime, UTC) for path in paths for file in (path, *_files(path)))
        if touched < untouched_since:
            yield Entry(kind, name, paths, touched)


def _unused(shared: list[Entry], workspace: Path, *, without: set[str]) -> list[Entry]:
    """Those that no run which stays has read or made. Of runs that left no lineage that is not known: then only leftovers go."""
    staying = {folder.name for folder in run_folders(workspace)} - without
    with Lineage(workspace) as lineage:
        known = staying <= lineage.runs()
        used = lineage.contents(sorted(staying)) | lineage.names(sorted(staying))
    unused = [entry for entry in shared if entry.kind == LEFTOVER or (known and not used & _marks(entry))]
    results = [entry for entry in unused if entry.kind == RESULT]
    return [*(entry for entry in unused if entry.kind != RESULT), *([_together(results)] if results else [])]


def _together(results: list[Entry]) -> Entry:
    """A line for them all: there are dozens of a run, of a kilobyte each."""
    return Entry(
        RESULT, f"{len(results)} of Prefect's", tuple(path for entry in results for path in entry.paths), max(entry.touched for entry in results)
    )


def _marks(entry: Entry) -> set[str]:
    """By what lineage knows an entry: a staged survey by its name, which is a hash, an adapter by its content, a stored result by the files that it
    tells of."""
    if entry.kind == SURVEY:
        return {path.name for path in entry.paths}
    if entry.kind == RESULT:
        return _told_of(entry.paths[0])
    made = entry.paths[0] / MADE
    return set(json.loads(made.read_text(encoding="utf-8")).values()) if made.is_file() else set()


def _told_of(result: Path) -> set[str]:
    """The SHA-256 of the files of a step, as Prefect stored it; none for what is no step's."""
    with suppress(ValueError, LookupError, TypeError, OSError):
        return set(FileSet.model_validate(json.loads(json.loads(result.read_text(encoding="utf-8"))["result"])["data"]).files.values())
    return set()


def _remove(entry: Entry, *, busy: bool) -> None:
    refusal = "it is in use"
    if entry.kind == RUN:
        with held_alone(entry.paths[0] / LOCK, refusal=refusal):
            _remove_run(entry.paths[0])
    elif entry.kind == TRAINING:
        with held_alone(entry.paths[0] / "lock", refusal=refusal):
            shutil.rmtree(entry.paths[0])
    elif busy:
        raise StepError("a run is being executed, which may use it")
    else:
        for path in entry.paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _remove_run(folder: Path) -> None:
    """The manifest goes last: cut off half-way, the run is still listed, and the next cleaning ends it."""
    for path in [path for path in folder.iterdir() if path.name not in ("manifest.json", LOCK)]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder)
