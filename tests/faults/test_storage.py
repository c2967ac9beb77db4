"""Disks that are full or read-only, a database that is locked, results that are damaged or gone, a clock that jumps, two studies at once."""

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from tests.faults.conftest import Undisturbed, training
from tests.flows.plant import Plant, assert_same, eventually, mounted, run_folder

pytestmark = pytest.mark.fault

CLOCKS = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
needs_a_clock = pytest.mark.skipif(not CLOCKS and os.environ.get("CI") != "true", reason="needs Debian's libfaketime (make setup-system)")
SMALL = "3m"  # room for the survey, not for the whole study


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", SMALL) as disk:
        yield disk


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def test_a_full_disk_is_told_and_once_there_is_room_a_retry_finishes(plant: Plant, undisturbed: Undisturbed, disk: Path) -> None:
    run = plant.start(workspace=disk / "workspace")
    failed = plant.wait(run, "Failed")
    assert "No space left on device" in failed.message
    assert "Make room" in failed.message
    assert not [path for path in disk.rglob("*.tmp") if path.is_file()], "half a file stays"
    remount(disk, "size=200m")
    plant.retry(run)
    plant.wait(run, "Completed")
    assert_same(run_folder(disk / "workspace", run), undisturbed.folder)


def test_a_read_only_workspace_is_told_and_once_it_can_be_written_a_retry_finishes(plant: Plant, undisturbed: Undisturbed, disk: Path) -> None:
    remount(disk, "size=200m,ro")
    run = plant.start(workspace=disk / "workspace")
    failed = plant.wait(run, "Failed")
    assert "cannot be written: Read-only file system" in failed.message
    remount(disk, "rw")
    plant.retry(run)
    plant.wait(run, "Completed")
    assert_same(run_folder(disk / "workspace", run), undisturbed.folder)


def test_a_database_that_is_locked_for_a_while_costs_nothing_but_the_while(plant: Plant, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Longer than SQLite itself would wait (Prefect: 60 seconds)? No: a backup, or a person with a tool, holds it for half a minute."""
    run = plant.start(workspace=tmp_path)
    plant.wait(run, "Running")
    with closing(sqlite3.connect(plant.home / "prefect.db", timeout=30, isolation_level=None)) as database:
        database.execute("begin exclusive")
        time.sleep(30)
        database.execute("rollback")
    plant.wait(run, "Completed")
    assert_same(run_folder(tmp_path, run), undisturbed.folder)


def stored_results(workspace: Path) -> list[Path]:
    return sorted(path for path in (workspace / "prefect" / "storage").iterdir() if path.is_file())


@pytest.fixture(scope="module")
def finished(undisturbed: Undisturbed) -> Path:
    """The workspace of the undisturbed run: whatever is damaged in it is made again by the next run."""
    return undisturbed.workspace


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_damaged_results_are_made_again(plant: Plant, undisturbed: Undisturbed, finished: Path, damage: str) -> None:
    for path in stored_results(finished):
        content = path.read_bytes()
        path.write_bytes({"cut": content[: len(content) // 2], "garbage": bytes(reversed(content)), "empty": b""}[damage])
    run = plant.start(workspace=finished)
    plant.wait(run, "Completed")
    assert_same(run_folder(finished, run), undisturbed.folder)


def test_results_whose_files_are_gone_or_changed_are_made_again(plant: Plant, undisturbed: Undisturbed, finished: Path) -> None:
    for name in ("pairs", "targets", "predictions"):
        for path in finished.rglob(f"{name}.parquet"):
            path.unlink()
    for weights in finished.rglob("adapter_model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    run = plant.start(workspace=finished)
    plant.wait(run, "Completed")
    assert_same(run_folder(finished, run), undisturbed.folder)


def test_two_studies_on_one_workspace_at_once(plant: Plant, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Whoever comes second to the training is told to wait, or finds it done; one retry at most."""
    runs = [plant.start(workspace=tmp_path) for _ in range(2)]
    assert eventually(lambda: all(plant.state(run).name in ("Completed", "Failed") for run in runs), seconds=240)
    failed = [run for run in runs if plant.state(run).name == "Failed"]
    assert len(failed) < 2
    for run in failed:
        assert "another run is training the same adapter" in plant.state(run).message
        plant.retry(run)
        plant.wait(run, "Completed")
    for run in runs:
        assert_same(run_folder(tmp_path, run), undisturbed.folder)


def with_a_clock(plant: Plant, place: Path) -> tuple[UUID, Path]:
    """A run whose processes see the time of a file: write "+40d" into it."""
    clock = place / "clock"
    clock.write_text("+0")
    faked = {"LD_PRELOAD": str(CLOCKS[0]), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1", "DONT_FAKE_MONOTONIC": "1"}
    run = plant.start(workspace=place / "workspace", variables={"env": faked})
    plant.wait(run, "Running")
    return run, clock


@needs_a_clock
@pytest.mark.parametrize("jump", ["+40d", "-40d"])
def test_a_clock_that_jumps_in_the_middle_of_a_run_changes_nothing(plant: Plant, undisturbed: Undisturbed, tmp_path: Path, jump: str) -> None:
    run, clock = with_a_clock(plant, tmp_path)
    time.sleep(undisturbed.seconds / 3)
    clock.write_text(jump)
    if plant.wait(run, "Completed", "Crashed", seconds=900).name == "Crashed":  # a slow machine: as in the next test
        assert eventually(lambda: plant.state(run).name == "Completed", seconds=900), plant.state(run)
    assert_same(run_folder(tmp_path / "workspace", run), undisturbed.folder)


@needs_a_clock
def test_a_run_called_crashed_for_its_clock_goes_on_and_is_completed(plant: Plant, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The server does not hear heartbeats of another time, and takes the run for gone after five minutes."""
    run, clock = with_a_clock(plant, tmp_path)
    workspace = tmp_path / "workspace"
    assert eventually(lambda: training(workspace), seconds=240), (plant.state(run), plant.processes_of(run))
    trainer = plant.processes_of(run)[-1]
    trainer.suspend()
    clock.write_text("+40d")
    plant.wait(run, "Crashed", seconds=600)
    trainer.resume()
    assert eventually(lambda: plant.state(run).name == "Completed", seconds=240), plant.state(run)
    assert set(plant.executions(run).values()) == {1}
    assert_same(run_folder(workspace, run), undisturbed.folder)
