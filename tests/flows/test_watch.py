"""The watcher on a real server: a study is started once for a file, whatever happens to file, watcher or both."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.server import PROJECT
from tasks.intake.synthetic import write_synthetic_survey
from tests.flows.command import VALUESCAPE, environment
from tests.flows.test_server import eventually, user

pytestmark = pytest.mark.flow
PREFECT = VALUESCAPE.with_name("prefect")
LOOKS = """
import json, sys
from flows.watch import watch_flow

print(json.dumps(watch_flow(workspace=sys.argv[1], overrides=["items.limit=2"], settle_seconds=0.1)))
"""
ENTRY: dict[str, Any] = {
    "name": "watch-landing",
    "entrypoint": "flows/watch.py:watch_flow",
    "work_pool": {"name": "cpu"},
    "triggers": [{"type": "event", "enabled": True, "expect": ["valuescape.landing.dropped"], "posture": "Reactive", "threshold": 1, "within": 0}],
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a server with both deployments and no worker: what is started stays scheduled."""
    folder = tmp_path_factory.mktemp("server")
    with user(folder / "prefect") as server:
        given = environment(PREFECT_API_URL=server.url, PREFECT_HOME=str(folder / "elsewhere"))
        deployments = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
        study = next(entry for entry in deployments if entry["name"] == "study")
        entries = [entry | {"entrypoint": str(PROJECT / entry["entrypoint"])} for entry in (study, ENTRY)]
        (folder / "prefect.yaml").write_text(yaml.safe_dump({"name": "valuescape", "deployments": entries}), encoding="utf-8")
        for arguments in (
            ["work-pool", "create", "cpu", "--type", "process"],
            ["--no-prompt", "deploy", "--all", "--prefect-file", folder / "prefect.yaml"],
        ):
            made = subprocess.run([PREFECT, *map(str, arguments)], capture_output=True, text=True, env=given, cwd=PROJECT)
            assert made.returncode == 0, made
        yield given


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "workspace" / "landing").mkdir(parents=True)
    return tmp_path / "workspace"


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_synthetic_survey(tmp_path_factory.mktemp("survey")).read_bytes()


def looking(workspace: Path, given: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", LOOKS, workspace], cwd=PROJECT, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def look(workspace: Path, given: dict[str, str]) -> list[str]:
    """One look, to its end: the flow runs that it started."""
    out, errors = (process := looking(workspace, given)).communicate(timeout=180)
    assert process.returncode == 0, errors
    started: list[str] = json.loads(out)
    return started


def asked(given: dict[str, str], path: str, **wanted: Any) -> Any:
    request = urllib.request.Request(
        f"{given['PREFECT_API_URL']}/{path}", data=json.dumps(wanted).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def runs_of(given: dict[str, str], deployment: str, workspace: Path | None = None) -> list[Any]:
    found = asked(given, "flow_runs/filter", deployments={"name": {"any_": [deployment]}}, flow_runs={"deployment_id": {"is_null_": False}})
    return [run for run in found if workspace is None or run["parameters"]["workspace"] == str(workspace)]


def test_a_dropped_file_starts_the_study_once_over_restarts_renames_and_copies(given: dict[str, str], workspace: Path, survey: bytes) -> None:
    assert look(workspace, given) == []
    (workspace / "landing" / "wave7.csv").write_bytes(survey)
    (started,) = look(workspace, given)
    (run,) = runs_of(given, "study", workspace)
    assert run["id"] == started
    assert run["parameters"]["study"] == "country"
    assert run["parameters"]["overrides"] == ["items.limit=2"]
    assert Path(run["parameters"]["surveys"][0]).read_bytes() == survey
    (workspace / "landing" / "wave7.csv").rename(workspace / "landing" / "renamed.csv")
    (workspace / "landing" / "copy.csv").write_bytes(survey)
    assert look(workspace, given) == []
    assert [run["id"] for run in runs_of(given, "study", workspace)] == [started]


def test_two_watchers_at_once_start_it_once(given: dict[str, str], workspace: Path, survey: bytes) -> None:
    (workspace / "landing" / "wave7.csv").write_bytes(survey)
    both = [looking(workspace, given), looking(workspace, given)]
    outs = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    (run,) = runs_of(given, "study", workspace)
    assert {started for out, _ in outs for started in json.loads(out)} == {run["id"]}


def test_a_watcher_that_is_killed_starts_it_neither_twice_nor_never(given: dict[str, str], workspace: Path, survey: bytes) -> None:
    began = time.monotonic()
    look(workspace, given)
    idle = time.monotonic() - began
    (workspace / "landing" / "wave7.csv").write_bytes(survey)
    for share in (0.6, 0.8, 0.9, 1.0, 1.1):  # of the time that an idle look takes: looking, taking, starting
        killed = looking(workspace, given)
        time.sleep(share * idle)
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate(timeout=30)
    look(workspace, given)
    assert len(runs_of(given, "study", workspace)) == 1
    assert look(workspace, given) == []


def test_a_start_that_was_made_but_not_put_on_record_is_the_same_run(given: dict[str, str], workspace: Path, survey: bytes) -> None:
    (workspace / "landing" / "wave7.csv").write_bytes(survey)
    first = look(workspace, given)
    with sqlite3.connect(workspace / "registry.sqlite") as registry:
        registry.execute("update landed_starts set flow_run = null")
    assert look(workspace, given) == first
    assert len(runs_of(given, "study", workspace)) == 1


def test_a_start_that_is_refused_keeps_no_other_from_starting(given: dict[str, str], workspace: Path, survey: bytes) -> None:
    (workspace / "landing" / "wave7.csv").write_bytes(survey)
    (started,) = look(workspace, given)
    with sqlite3.connect(workspace / "registry.sqlite") as registry:
        registry.execute("update landed_starts set flow_run = null")
        refused = ["0" * 64, "country", json.dumps({"study": "country", "surveys": 5, "workspace": str(workspace)}), "2020-01-01T00:00:00Z"]
        registry.execute("insert into landed_starts (sha256, study, parameters, wanted) values (?, ?, ?, ?)", refused)
    _, errors = (process := looking(workspace, given)).communicate(timeout=180)
    assert process.returncode != 0
    assert "surveys" in errors
    with sqlite3.connect(workspace / "registry.sqlite") as registry:
        assert registry.execute("select flow_run from landed_starts order by wanted").fetchall() == [(None,), (started,)]


def test_what_cannot_be_studied_raises_one_event_and_an_artifact_with_what_to_do(given: dict[str, str], workspace: Path) -> None:
    (workspace / "landing" / "notes.csv").write_text("name;age\nA;3\n", encoding="utf-8")
    assert look(workspace, given) == []
    assert look(workspace, given) == []
    wanted = {"event": {"name": ["valuescape.wave.refused"]}}
    assert eventually(lambda: asked(given, "events/filter", filter=wanted)["total"] >= 1, seconds=30)
    events = asked(given, "events/filter", filter=wanted)["events"]
    assert [event["payload"]["name"] for event in events] == ["notes.csv"]
    sha256 = events[0]["payload"]["sha256"]
    (artifact,) = asked(given, "artifacts/filter", artifacts={"key": {"any_": [f"landed-{sha256[:8]}"]}})
    assert "is not a survey" in artifact["data"]
    assert "Download or copy the file again" in artifact["data"]
    tables = asked(given, "artifacts/filter", artifacts={"key": {"any_": ["landed"]}}, sort="CREATED_DESC")
    assert json.loads(tables[0]["data"])[0]["status"] == "unreadable"


def test_an_event_of_whoever_drops_files_runs_the_watcher_at_once(given: dict[str, str]) -> None:
    before = len(runs_of(given, "watch-landing"))
    emit = ["event", "emit", "valuescape.landing.dropped", "--resource-id", "valuescape.landing"]
    told = subprocess.run([PREFECT, *emit], capture_output=True, text=True, env=given, cwd=PROJECT)
    assert told.returncode == 0, told
    assert eventually(lambda: len(runs_of(given, "watch-landing")) == before + 1, seconds=60)
