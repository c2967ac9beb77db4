"""What cleaning a workspace takes, and what it leaves."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.records import LOCK, found_again, newest_on_another_file
from flows.retention import Plan, bytes_of, plan_removal, remove
from tasks.files import FileSet, file_set, held_alone, link_or_copy, write_json
from tasks.lineage import Lineage, Step
from tests.flows.command import valuescape

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LARGE = 1 << 20
MONTH = timedelta(days=30)


class Workspace:
    """A workspace with runs of given ages, in days."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("runs", "surveys", "training", "landed", "landing"):
            (folder / name).mkdir(parents=True)

    def run(self, run_id: str, *, days: float, study: str = "small", status: str = "finished", survey: str = "aa") -> Path:
        """A run that made a table of its own, and read a staged survey."""
        folder = self.folder / "runs" / study / run_id
        updated = (NOW - timedelta(days=days)).isoformat(timespec="seconds")
        write_json(folder / "manifest.json", {"study_name": study, "run_id": run_id, "status": status, "error": None, "updated": updated})
        (folder / "tables").mkdir()
        (folder / "tables" / "pairs.parquet").write_bytes(os.urandom(LARGE))
        self.record(run_id, "take in the survey", self.survey(survey))
        self.record(run_id, "build the pairs", file_set(folder, ["tables"]))
        return folder

    def survey(self, stem: str) -> FileSet:
        for suffix in ("duckdb", "json"):
            if not (self.folder / "surveys" / f"{stem}.{suffix}").exists():
                (self.folder / "surveys" / f"{stem}.{suffix}").write_bytes(os.urandom(LARGE))
        return file_set(self.folder / "surveys", [f"{stem}.duckdb", f"{stem}.json"])

    def training(self, name: str, *, finished: bool) -> FileSet:
        work = self.folder / "training" / name
        (work / "adapter").mkdir(parents=True)
        (work / "adapter" / "adapter_model.safetensors").write_bytes(os.urandom(LARGE))
        made = file_set(work, ["adapter"])
        if finished:
            write_json(work / "made.json", made.files)
        return made

    def record(self, run_id: str, step: str, made: FileSet) -> None:
        with Lineage(self.folder) as lineage:
            lineage.record(Step(run_id, "small", step, 1, "commit", {}, {}, reused=False), made)

    def age(self, *, days: float) -> None:
        """Make every file as old."""
        written = (NOW - timedelta(days=days)).timestamp()
        for path in self.folder.rglob("*"):
            os.utime(path, (written, written))

    def plan(self, **given: Any) -> Plan:
        return plan_removal(self.folder, now=NOW, **given)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def names(plan: Plan) -> list[str]:
    return sorted(f"{entry.kind} {entry.name}" for entry in plan.entries)


def test_old_runs_go_but_never_the_newest_finished_one_of_a_study(workspace: Workspace) -> None:
    for run_id, days in (("1", 90), ("2", 60), ("3", 10)):
        workspace.run(run_id, days=days)
    workspace.run("4", days=80, study="other")
    workspace.run("5", days=50, study="other", status="failed")
    assert names(workspace.plan(older_than=MONTH)) == ["run 1", "run 2", "run 5"]


def test_an_age_of_nothing_takes_all_but_the_newest(workspace: Workspace) -> None:
    for run_id, days in (("1", 2), ("2", 1)):
        workspace.run(run_id, days=days)
    assert names(workspace.plan(older_than=timedelta(0))) == ["run 1"]


def test_a_run_whose_removal_was_cut_off_is_not_what_a_new_wave_is_compared_with(workspace: Workspace) -> None:
    for run_id, file in (("1", "a"), ("2", "b")):
        folder = workspace.run(run_id, days=2)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        write_json(folder / "manifest.json", manifest | {"survey": {"country": ["USA"], "file_sha256": file}})
    new, having = {"country": ["USA"], "file_sha256": "c"}, ["tables/pairs.parquet"]
    assert newest_on_another_file(workspace.folder, "small", new, having=having) == folder
    (folder / "tables" / "pairs.parquet").unlink()
    assert newest_on_another_file(workspace.folder, "small", new, having=having) == folder.parent / "1"


def test_a_run_that_is_executed_stays_and_one_that_was_killed_goes(workspace: Workspace) -> None:
    running = workspace.run("1", days=90, status="running")
    workspace.run("2", days=1)
    with held_alone(running / LOCK, refusal=""):
        assert names(workspace.plan(older_than=MONTH)) == []
    assert names(workspace.plan(older_than=MONTH)) == ["run 1"]


def test_what_goes_is_gone_and_what_stays_is_whole(workspace: Workspace) -> None:
    old, new = workspace.run("1", days=90, survey="old"), workspace.run("2", days=1, survey="new")
    workspace.age(days=40)
    plan = workspace.plan(older_than=MONTH)
    assert names(plan) == ["run 1", "staged survey old"]
    assert remove(plan) == []
    assert not old.exists()
    assert sorted(path.name for path in (workspace.folder / "surveys").iterdir()) == ["new.duckdb", "new.json"]
    assert (new / "tables" / "pairs.parquet").stat().st_size == LARGE
    assert names(workspace.plan(older_than=MONTH)) == []


def test_what_a_run_that_stays_has_used_stays_however_old(workspace: Workspace) -> None:
    workspace.run("1", days=90)
    workspace.run("2", days=1)
    adapter = workspace.training("used", finished=True)
    workspace.record("2", "fine-tune", adapter)
    workspace.training("unused", finished=True)
    workspace.training("given up", finished=False)
    workspace.age(days=40)
    assert names(workspace.plan(older_than=MONTH)) == ["run 1", "training given up", "training unused"]


def test_results_go_when_no_run_that_stays_has_their_files(workspace: Workspace) -> None:
    old, new = workspace.run("1", days=90), workspace.run("2", days=1)
    storage = workspace.folder / "prefect" / "storage"
    storage.mkdir(parents=True)
    for folder in (old, new):
        told = {"__class__": "tasks.files.FileSet", "data": file_set(folder, ["tables"]).model_dump()}
        (storage / f"pairs-{folder.name}").write_text(json.dumps({"metadata": {}, "result": json.dumps(told)}))
    (storage / "another").write_text(json.dumps({"metadata": {}, "result": "3"}))
    workspace.age(days=40)
    plan = workspace.plan(older_than=MONTH)
    assert names(plan) == ["run 1", "stored result 1 of Prefect's"]
    assert remove(plan) == []
    assert sorted(path.name for path in storage.iterdir()) == ["another", "pairs-2"]


def test_a_training_that_goes_on_or_was_cut_off_just_now_stays(workspace: Workspace) -> None:
    workspace.run("1", days=1)
    work = Path(workspace.training("going on", finished=False).folder)
    workspace.age(days=40)
    with held_alone(work / "lock", refusal=""):
        assert names(workspace.plan(older_than=MONTH)) == []
    workspace.age(days=0.5)
    assert names(workspace.plan(older_than=timedelta(0))) == []


def test_what_has_begun_to_be_used_since_it_was_listed_is_left(workspace: Workspace) -> None:
    old = workspace.run("1", days=90, survey="old")
    workspace.run("2", days=1, survey="new")
    workspace.age(days=40)
    plan = workspace.plan(older_than=MONTH)
    with held_alone(old / LOCK, refusal=""):
        assert remove(plan) == ["run 1: it is in use", "staged survey old: a run is being executed, which may use it"]
    assert (old / "manifest.json").is_file()
    assert (workspace.folder / "surveys" / "old.duckdb").is_file()


def test_runs_without_lineage_keep_all_that_they_may_have_used(workspace: Workspace) -> None:
    workspace.run("1", days=1)
    (workspace.folder / "registry.sqlite").unlink()
    workspace.age(days=90)
    (workspace.folder / "landed" / ".arriving-1").mkdir()
    workspace.age(days=90)
    assert names(workspace.plan(older_than=MONTH)) == ["leftover .arriving-1"]


def test_the_oldest_runs_go_until_the_workspace_has_the_size(workspace: Workspace) -> None:
    for run_id, days in (("1", 4), ("2", 3), ("3", 2), ("4", 1)):
        workspace.run(run_id, days=days)
    total = bytes_of([workspace.folder])
    assert names(workspace.plan(at_most_bytes=total)) == []
    assert names(workspace.plan(at_most_bytes=total - LARGE // 2)) == ["run 1"]
    assert names(workspace.plan(at_most_bytes=total - LARGE - LARGE // 2)) == ["run 1", "run 2"]
    assert names(workspace.plan(at_most_bytes=0)) == ["run 1", "run 2", "run 3"]


def test_a_content_that_a_newer_run_shares_is_not_counted_as_freed_and_is_found_there(workspace: Workspace) -> None:
    old, new = workspace.run("1", days=90), workspace.run("2", days=1)
    stored = file_set(old, ["tables/pairs.parquet"])
    link_or_copy(old / "tables" / "pairs.parquet", new / "tables" / "pairs.parquet")
    plan = workspace.plan(older_than=MONTH)
    assert plan.freed_bytes < LARGE
    remove(plan)
    assert not stored.holds()
    found = found_again(stored, workspace.folder)
    assert found is not None and found.holds() and Path(found.folder) == new


def test_a_result_that_no_run_has_is_not_found(workspace: Workspace) -> None:
    folder = workspace.run("1", days=1)
    stored = file_set(folder, ["tables/pairs.parquet"])
    (folder / "tables" / "pairs.parquet").write_bytes(b"damaged")
    assert found_again(stored, workspace.folder) is None


@pytest.fixture
def two_old_runs(workspace: Workspace) -> Workspace:
    long_ago = (datetime.now(UTC) - NOW).days
    workspace.run("1", days=90 - long_ago)
    workspace.run("2", days=60 - long_ago)
    return workspace


def listed(workspace: Workspace) -> list[str]:
    return [entry["run_id"] for entry in json.loads(valuescape("runs", "--json", "--workspace", workspace.folder).out)]


def test_the_command_lists_and_removes_only_when_told_so(two_old_runs: Workspace) -> None:
    asked = valuescape("clean", "--workspace", two_old_runs.folder)
    assert asked.code == 0, asked
    assert "run" in asked.out and "frees 0.00 GB" in asked.out and "say --yes" in asked.out
    assert "Nothing was removed." in valuescape("clean", "--dry-run", "--yes", "--workspace", two_old_runs.folder).out
    assert listed(two_old_runs) == ["1", "2"]
    assert "Removed." in valuescape("clean", "--yes", "--workspace", two_old_runs.folder).out
    assert listed(two_old_runs) == ["2"]
    assert "Nothing to remove" in valuescape("clean", "--yes", "--workspace", two_old_runs.folder).out


def test_the_command_takes_days_and_a_size(two_old_runs: Workspace) -> None:
    assert "Nothing to remove" in valuescape("clean", "--older-than", "100000", "--workspace", two_old_runs.folder).out
    assert "Nothing to remove" in valuescape("clean", "--max-size", "10", "--workspace", two_old_runs.folder).out
    assert "Removed." in valuescape("clean", "--max-size", "0.001", "--yes", "--workspace", two_old_runs.folder).out
    assert listed(two_old_runs) == ["2"]
