"""A study once more, exactly as a run had it: everything that it takes is in the run's manifest.

again = rerun(find_run("20261124-080000-abcdef", workspace), workspace=workspace)
again.study       # a study file with the run's whole configuration, in the workspace
again.differs     # ["the project is at commit ..., and was at ..."]
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from pydantic import ValidationError

from flows.circumstances import circumstances
from flows.records import read_manifest, run_folders
from tasks.errors import InputError
from tasks.files import hash_of, sha256_of, write_atomically
from tasks.intake.landings import HASH_DIGITS
from tasks.study import Study

HARDWARE = ("machine", "cores", "accelerate")  # on which the last bits of a result depend
CLOCK = {"training_log.parquet": ["samples_per_second", "seconds"]}  # what no two runs have in common


class Rerun(NamedTuple):
    """`differs`: what is not as it was, each in a sentence."""

    study: Path
    differs: list[str]


def find_run(run: str, workspace: Path) -> Path:
    """The folder of a run, by its id, by the name of its study (the newest that finished) or by its path. Raises InputError."""
    if (Path(run) / "manifest.json").is_file():
        return Path(run).resolve()
    found = [folder for folder in run_folders(workspace) if run in (folder.name, folder.parent.name)]
    named = [folder for folder in found if folder.name == run or read_manifest(folder)["status"] == "finished"]
    if not named:
        raise InputError(f"no run {run!r} in {workspace.resolve()}. `valuescape runs` lists all runs; give the id of one, or the path of its folder")
    return named[-1]


def rerun(folder: Path, *, workspace: Path, surveys: list[Path]) -> Rerun:
    """Write the run's configuration as a study file. Its files are taken where they lay, from `surveys`, or from what has landed: whatever holds what
    the run read.

    Raises InputError when a file is nowhere, or holds something else by now.
    """
    manifest = read_manifest(folder)
    values: dict[str, Any] = manifest["study"]
    differs: list[str] = []
    moved = {path: _found(Path(path), sha256, surveys=surveys, workspace=workspace) for path, sha256 in _inputs(manifest).items()}
    differs += [f"{path} is not there; {place} holds the same" for path, place in moved.items() if Path(path) != place]
    values["survey"] |= _moved_files(values["survey"], {path: str(place) for path, place in moved.items()})
    return Rerun(_written(values, manifest=manifest, workspace=workspace), [*differs, *_differences(manifest)])


def _inputs(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Path -> SHA-256 of the user's files."""
    if "inputs" not in manifest:
        raise InputError(
            f"run {manifest['run_id']} is of an earlier version, whose manifest does not say what its files held. Run the study by its name"
        )
    inputs: dict[str, str] = manifest["inputs"]
    return inputs


def _found(path: Path, sha256: str, *, surveys: list[Path], workspace: Path) -> Path:
    landed = (workspace / "landed" / sha256[:HASH_DIGITS]).glob("*")
    for place in (path, *surveys, *sorted(landed)):
        if place.is_file() and sha256_of(place) == sha256:
            return place.resolve()
    state = "holds something else than it did" if path.is_file() else "is not there any more"
    raise InputError(f"{path} {state}, and no other file with its content (SHA-256 {sha256}) is known. Give that file with --survey")


def _moved_files(survey: Mapping[str, Any], moved: Mapping[str, str]) -> dict[str, Any]:
    """The survey's file and codebook by the whole path that each has now."""

    def now(value: Any) -> Any:
        if isinstance(value, list):
            return [now(name) for name in value]
        return moved.get(str(Path(value).expanduser().resolve()), value) if value and value != "synthetic" else value

    return {key: now(survey[key]) for key in ("file", "codebook")}


def _written(values: dict[str, Any], *, manifest: Mapping[str, Any], workspace: Path) -> Path:
    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        raise InputError(f"run {manifest['run_id']} is of a version whose studies had other keys: {error}. Take that version, or a study") from error
    path = workspace / "studies" / f"{study.name}-{hash_of(values)[:12]}.yaml"
    with write_atomically(path) as temporary:
        temporary.write_text(f"# Run {manifest['run_id']} once more\n{yaml.safe_dump(values, sort_keys=False)}", encoding="utf-8")
    return path.resolve()


def _differences(manifest: Mapping[str, Any]) -> list[str]:
    now = circumstances()
    differs = []
    if manifest["commit"] != now["commit"]:
        differs.append(f"the project is at commit {now['commit']}, and was at {manifest['commit']}")
    elif str(now["commit"]).endswith("-dirty"):
        differs.append("the project's files differ from its commit, now as then: whether they differ alike cannot be told")
    for name, version in manifest["versions"].items():
        if now["versions"].get(name) != version:
            differs.append(f"{name} is {now['versions'].get(name)}, and was {version}")
    before, here = ({name: hardware.get(name) for name in HARDWARE} for hardware in (manifest["hardware"], now["hardware"]))
    if before != here:
        differs.append(f"this machine is {here}, and was {before}: results may differ by rounding")
    return differs


def is_same_model(before: Path, after: Path) -> bool:
    """Whether two runs had the same weights; a name of the hub may stand for others by now. A run of an earlier version does not say, and passes."""
    then, now = (read_manifest(folder).get("model_files") for folder in (before, after))
    return then is None or then == now


def compare_tables(before: Path, after: Path) -> tuple[list[str], list[str]]:
    """Tables of two runs, by name: those that are the same to the last byte (the training's log but for its times), and those that are not, or that
    one of them lacks."""
    names = sorted({path.name for folder in (before, after) for path in (folder / "tables").glob("*.parquet")})
    same = [name for name in names if _holds(before, name) == _holds(after, name)]
    return [Path(name).stem for name in same], [Path(name).stem for name in names if name not in same]


def _holds(folder: Path, name: str) -> str:
    path = folder / "tables" / name
    if not path.is_file():
        return ""
    return hash_of(pd.read_parquet(path).drop(columns=CLOCK[name]).to_json()) if name in CLOCK else sha256_of(path)
