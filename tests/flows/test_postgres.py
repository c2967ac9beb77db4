"""Prefect's server on PostgreSQL, as infra/compose has it: a password is asked for, and no run's state is lost while PostgreSQL is restarted.

Needs Debian's PostgreSQL (make setup-system). Without it these tests are skipped, except where CI=true.
"""

import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from flows.server import PROJECT
from tests.flows.command import environment
from tests.flows.plant import eventually
from tests.flows.postgres import FOUND, Database, Server, postgres, prefect_on

pytestmark = [pytest.mark.flow, pytest.mark.skipif(not FOUND and os.environ.get("CI") != "true", reason="needs PostgreSQL: make setup-system")]

DEPLOYMENTS = {str(each["name"]) for each in yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]}
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


def test_a_worker_by_itself_deploys_and_waits_for_runs(server: Server, tmp_path: Path) -> None:
    """As the service worker-cpu of infra/compose."""
    command = [sys.executable, "-m", "flows.operations", "worker-cpu", str(tmp_path / "workspace")]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = environment(**server.settings(), PREFECT_WORKER_WEBSERVER_HOST="127.0.0.1", PREFECT_WORKER_WEBSERVER_PORT=str(port))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=given, stdout=log, stderr=log)
    try:
        assert eventually(lambda: process.poll() is not None or _online(server, "cpu"), seconds=120)
        assert process.poll() is None, (tmp_path / "log").read_text(errors="replace")[-3000:]
        assert {each["name"] for each in server.ask("deployments/filter").json()} == DEPLOYMENTS
        assert httpx.get(f"http://127.0.0.1:{port}/health").json() == {"message": "OK"}
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
