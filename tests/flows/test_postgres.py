"""Prefect's server on PostgreSQL, as infra/compose has it: a password is asked for, and no run's state is lost while PostgreSQL is restarted.

Needs Debian's PostgreSQL (make setup-system). Without it these tests are skipped, except where CI=true.
"""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from flows.server import PROJECT
from tests.flows.command import environment, valuescape, write_study
from tests.flows.plant import DEPLOYMENTS, assert_same, eventually, run_folder
from tests.flows.postgres import FOUND, Database, Server, free_port, postgres, prefect_on
from tests.training.tiny import save_model

pytestmark = [pytest.mark.flow, pytest.mark.skipif(not FOUND and os.environ.get("CI") != "true", reason="needs PostgreSQL: make setup-system")]

FLOW = """
    import sys
    from prefect import flow, task

    @task(retries=2, retry_delay_seconds=1)
    def one(number):
        return number

    @flow
    def small(number):
        return [one(number) for _ in range(3)]

    for number in range(int(sys.argv[1])):
        small(number)
        print(number, flush=True)
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres() as database:
        yield database


@pytest.fixture(scope="module")
def server(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with prefect_on(database, tmp_path_factory.mktemp("server")) as server:
        yield server


def test_without_the_password_nothing_is_told(server: Server) -> None:
    assert [server.ask("flow_runs/count", auth=auth).status_code for auth in (None, "valuescape:wrong")] == [401, 401]
    assert server.ask("flow_runs/count").status_code == 200


def test_a_worker_by_itself_deploys_waits_for_runs_and_says_that_it_does(server: Server, tmp_path: Path) -> None:
    port = free_port()
    with _worker(server, tmp_path / "workspace", PREFECT_WORKER_WEBSERVER_HOST="127.0.0.1", PREFECT_WORKER_WEBSERVER_PORT=str(port)):
        assert {each["name"] for each in server.ask("deployments/filter").json()} == set(DEPLOYMENTS)
        assert httpx.get(f"http://127.0.0.1:{port}/health").json() == {"message": "OK"}


@contextmanager
def _worker(server: Server, workspace: Path, **more: str) -> Iterator[None]:
    """As the service worker-cpu of infra/compose; online."""
    command = [sys.executable, "-m", "flows.operations", "worker-cpu", str(workspace)]
    log = workspace.with_name("log")
    with log.open("wb") as lines:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment(**server.settings(), **more), stdout=lines, stderr=lines)
    try:
        assert eventually(lambda: process.poll() is not None or _online(server, "cpu"), seconds=120)
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        yield
    finally:
        process.kill()  # Prefect's worker does not always heed SIGTERM right after its start
        process.wait(timeout=60)


def _online(server: Server, pool: str) -> list[str]:
    found = server.ask(f"work_pools/{pool}/workers/filter")
    return [worker["name"] for worker in found.json() if worker["status"] == "ONLINE"] if found.is_success else []


def test_a_worker_without_a_server_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.operations", "worker-cpu", str(tmp_path)]
    ended = subprocess.run(command, cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "PREFECT_API_URL is not set" in ended.stderr


def test_runs_survive_a_restart_of_the_database(server: Server, database: Database, tmp_path: Path) -> None:
    _run_through_a_restart(server, database, tmp_path, at_once=2, each=6)


@pytest.mark.fault
def test_two_hundred_runs_twenty_at_a_time_lose_no_state(server: Server, database: Database, tmp_path: Path) -> None:
    began = time.monotonic()
    _run_through_a_restart(server, database, tmp_path, at_once=20, each=10)
    print(f"200 runs in {time.monotonic() - began:.0f} s, server {psutil.Process(server.pid).memory_info().rss / 2**20:.0f} MB")


@pytest.mark.fault
def test_a_dump_that_is_restored_has_every_run(server: Server, database: Database, tmp_path: Path) -> None:
    """As the runbook does it: pg_dump while the server runs, pg_restore into a new database."""
    place = ["--host", "127.0.0.1", "--port", str(database.port), "--username", "prefect"]
    dump = database.folder / "prefect.dump"
    database.run("pg_dump", *place, "--format", "custom", "--file", str(dump), "prefect")
    database.run("createdb", *place, "restored")
    database.run("pg_restore", *place, "--dbname", "restored", str(dump))
    with prefect_on(database, tmp_path, name="restored") as restored:
        assert _completed(restored) == _completed(server) > 0


@pytest.mark.fault
def test_a_study_of_a_worker_outlives_a_restart_of_the_database(server: Server, database: Database, tmp_path: Path) -> None:
    training = {"epochs": 20.0, "checkpoint_steps": 2, "evaluate_steps": 4}
    study = write_study(tmp_path, items={"include": ["Q1", "Q57"]}, training=training, evaluation={"order0": False})
    workspace = tmp_path / "workspace"
    with _worker(server, workspace):
        (deployment,) = (each for each in server.ask("deployments/filter").json() if each["name"] == "study")
        given = {"study": str(study), "model": str(save_model(tmp_path / "tiny"))}
        run = server.ask(f"deployments/{deployment['id']}/create_flow_run", parameters=given).json()["id"]
        assert eventually(lambda: list(workspace.glob("training/*/checkpoints/step-*")), seconds=240)
        database.restart()
        assert eventually(lambda: _state(server, run) in ("COMPLETED", "FAILED", "CRASHED"), seconds=300)
    assert _state(server, run) == "COMPLETED"
    alone = valuescape("run", study, "--model", given["model"], "--workspace", tmp_path / "undisturbed")
    assert alone.code == 0, alone
    (undisturbed,) = (tmp_path / "undisturbed" / "runs").glob("*/2*")
    assert_same(run_folder(workspace, run), undisturbed)


def _state(server: Server, run: str) -> str:
    found = server.ask("flow_runs/filter", flow_runs={"id": {"any_": [run]}})
    return str(found.json()[0]["state_type"]) if found.is_success else "not known"


def _run_through_a_restart(server: Server, database: Database, folder: Path, *, at_once: int, each: int) -> None:
    """So many processes with so many runs each; PostgreSQL is restarted once all of them are at work."""
    before, tasks_before = _completed(server), server.ask("task_runs/count", task_runs={"state": {"type": {"any_": ["COMPLETED"]}}}).json()
    (folder / "small.py").write_text(textwrap.dedent(FLOW), encoding="utf-8")
    given = environment(
        **server.settings(), PREFECT_HOME=str(folder / "home"), PREFECT_CLIENT_RETRY_EXTRA_CODES="500", PREFECT_CLIENT_MAX_RETRIES="10"
    )
    started = []
    for number in range(at_once):
        log = (folder / f"{number}.log").open("wb")
        started.append(subprocess.Popen([sys.executable, str(folder / "small.py"), str(each)], env=given, stdout=log, stderr=log, cwd=folder))
    while not all((folder / f"{number}.log").read_bytes().count(b"\n0\n") or process.poll() is not None for number, process in enumerate(started)):
        time.sleep(0.2)
    database.restart()
    codes = [process.wait(timeout=500) for process in started]
    assert codes == [0] * at_once, (folder / f"{codes.index(max(codes, key=abs))}.log").read_text(errors="replace")[-3000:]
    assert _completed(server) - before == at_once * each
    # A run whose creation PostgreSQL had committed, but not yet told, is created once more by the client; nobody begins the first.
    left = server.ask("flow_runs/filter", flow_runs={"state": {"type": {"not_any_": ["COMPLETED", "SCHEDULED"]}}}).json()
    assert {run["state_type"] for run in left} <= {"PENDING"} and len(left) <= at_once, [(run["name"], run["state"]) for run in left]
    # The server puts task runs on record from its events, some time after.
    tasks = {"state": {"type": {"any_": ["COMPLETED"]}}}
    assert eventually(lambda: server.ask("task_runs/count", task_runs=tasks).json() >= tasks_before + 3 * at_once * each, seconds=240), server.ask(
        "task_runs/count", task_runs=tasks
    ).json()


def _completed(server: Server) -> int:
    return int(server.ask("flow_runs/count", flow_runs={"state": {"type": {"any_": ["COMPLETED"]}}}).json())
