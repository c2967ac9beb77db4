"""The real Prefect server, as a run starts, shares and ends it. Every user is a process of its own: Prefect reads its settings at import."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from flows import server as server_module
from tasks.errors import StepError

PROJECT = Path(__file__).resolve().parents[2]
FAST_SCHEDULER = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2"}

WITH_SERVER = """
import sys
from pathlib import Path
from flows.server import local_server
from tasks.progress import report_to_terminal

report_to_terminal()
with local_server(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
"""
WAITS = """
    sys.stdin.read()
"""
SCHEDULES = """
    import time
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.schedules import CronSchedule

    @flow
    def small() -> None: ...

    client = get_client(sync_client=True)
    every_minute = DeploymentScheduleCreate(schedule=CronSchedule(cron="* * * * *"))
    deployment = client.create_deployment(client.create_flow(small), name="cron", schedules=[every_minute])
    runs, deadline = [], time.monotonic() + 100
    while not runs and time.monotonic() < deadline:
        time.sleep(0.5)
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id={"any_": [deployment]}))
    print(*{run.state.type.value for run in runs})
"""
FAILS = """
    import logging
    from prefect import flow, get_run_logger, task

    @task
    def broken() -> None:
        raise ValueError("the given step is broken")

    @flow
    def small() -> None:
        logging.getLogger("valuescape").info("a line of ours")
        get_run_logger().info("a line of Prefect's")
        broken()

    try:
        small()
    except ValueError as error:
        print("caught:", error)
"""
HURRIES = """
    from prefect import flow, task

    @task
    def quick(number: int) -> int:
        return number

    @flow
    def small() -> None:
        for future in [quick.submit(number) for number in range(100)]:
            future.result()

    small()
"""


class User(NamedTuple):
    """A process that uses the server of `home` until it is told to leave."""

    process: subprocess.Popen[str]
    url: str

    def leave(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


def run(home: Path, story: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITH_SERVER + story, home],
        cwd=PROJECT,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@contextmanager
def user(home: Path, **environment: str) -> Iterator[User]:
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_SERVER + WAITS, home],
        cwd=PROJECT,
        env=clean_environment() | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield User(process, process.stdout.readline().strip())
        finally:
            if process.poll() is None:
                User(process, "").leave()


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}


def server_process(home: Path) -> int:
    return int(json.loads((home / "server.json").read_text())["pid"])


def is_running(pid: int) -> bool:
    """A zombie, which only waits to be collected, has ended."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def eventually(condition: Callable[[], bool], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server that is up for the whole module."""
    return tmp_path_factory.mktemp("workspace") / "prefect"


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[User]:
    with user(home, **FAST_SCHEDULER) as first:
        yield first


@pytest.fixture(scope="module")
def quiet_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose server the tests start and end; its database is made once."""
    return tmp_path_factory.mktemp("quiet") / "prefect"


def test_the_server_answers_on_this_machine_and_keeps_its_data_at_home(server: User, home: Path) -> None:
    with urllib.request.urlopen(f"{server.url}/health", timeout=10) as response:
        assert json.load(response) is True
    assert server.url.startswith("http://127.0.0.1:")
    assert (home / "prefect.db").is_file()
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_cron_deployment_gets_a_scheduled_run(server: User, home: Path) -> None:
    done = run(home, SCHEDULES)
    assert done.stdout.split() == [server.url, "SCHEDULED"], done.stderr


def test_a_second_user_shares_the_server_and_leaves_it_up(server: User, home: Path) -> None:
    first = server_process(home)
    with user(home) as second:
        assert second.url == server.url
    assert second.process.returncode == 0
    assert server_process(home) == first
    assert is_running(first)


def test_a_failing_flow_raises_here_and_its_traceback_is_in_the_record_only(server: User, home: Path) -> None:
    done = run(home, FAILS)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == ["caught: the given step is broken"]
    assert done.stderr.splitlines()[1:] == ["a line of ours"]
    with sqlite3.connect(home / "prefect.db") as database:
        recorded = "\n".join(message for (message,) in database.execute("select message from log"))
    assert "a line of ours" in recorded
    assert "a line of Prefect's" in recorded
    assert "Traceback" in recorded


def test_the_server_ends_with_its_last_user_and_an_address_without_a_server_is_no_obstacle(quiet_home: Path) -> None:
    with user(quiet_home, PREFECT_API_URL="http://127.0.0.1:9/api") as only:
        pid = server_process(quiet_home)
        assert is_running(pid)
        assert only.leave() == 0
    assert not is_running(pid)


def test_the_server_ends_when_its_user_is_killed(quiet_home: Path) -> None:
    with user(quiet_home) as only:
        pid = server_process(quiet_home)
        os.kill(only.process.pid, signal.SIGKILL)
        assert eventually(lambda: not is_running(pid), seconds=20)


def test_the_server_stays_for_the_second_user_when_the_one_who_started_it_is_killed(quiet_home: Path) -> None:
    with user(quiet_home) as first, user(quiet_home) as second:
        pid = server_process(quiet_home)
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait(timeout=10)
        assert second.url == first.url
        assert not eventually(lambda: not is_running(pid), seconds=1)
        assert second.leave() == 0
    assert not is_running(pid)


def test_a_server_that_is_kept_up_is_shared_and_started_again_and_ends_with_its_keeper(quiet_home: Path) -> None:
    keeper = subprocess.Popen(
        [sys.executable, "-m", "flows.server", quiet_home], cwd=PROJECT, env=clean_environment(), stdout=subprocess.PIPE, text=True
    )
    assert keeper.stdout is not None
    url = keeper.stdout.readline().partition("PREFECT_API_URL=")[2].strip()
    pid = server_process(quiet_home)
    with user(quiet_home) as guest:
        assert guest.url == url
        assert guest.leave() == 0
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: answers(url), seconds=90), "it is started again, where it was"
    again = server_process(quiet_home)
    assert again != pid
    keeper.terminate()
    assert keeper.wait(timeout=60) == 0
    assert not is_running(again)


def test_a_keeper_whose_disk_is_full_or_whose_server_does_not_start_goes_on_trying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Full:
        def write(self, _: str) -> int:
            raise OSError("No space left on device")

    tries = iter([OSError("No space left on device"), StepError("it did not answer"), KeyboardInterrupt()])

    def revive(*_: object) -> None:
        monkeypatch.setattr(sys, "stdout", Full())
        raise next(tries)

    monkeypatch.setattr(server_module, "local_server", lambda _: nullcontext(server_module.Server("http://127.0.0.1:9/api", started_here=True)))
    monkeypatch.setattr(server_module, "_revive", revive)
    monkeypatch.setattr(server_module, "PAUSE_SECONDS", 0.0)
    before = signal.getsignal(signal.SIGTERM)
    server_module._keep(tmp_path)
    signal.signal(signal.SIGTERM, before)
    assert next(tries, None) is None


def test_every_task_state_is_recorded_before_the_server_ends(quiet_home: Path) -> None:
    assert run(quiet_home, HURRIES).returncode == 0
    with sqlite3.connect(quiet_home / "prefect.db") as database:
        states = dict(database.execute("select state_type, count(*) from task_run group by state_type"))
    assert states == {"COMPLETED": 100}


def test_a_server_that_the_user_names_is_used_and_left_alone(tmp_path: Path) -> None:
    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 (the name that http.server calls)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Healthy) as given:
        threading.Thread(target=given.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{given.server_port}/api"
        done = run(tmp_path / "prefect", "", PREFECT_API_URL=url)
        given.shutdown()
    assert done.stdout.split() == [url]
    assert not (tmp_path / "prefect").exists()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    done = run(tmp_path / "prefect", "", PREFECT_SERVER_DATABASE_CONNECTION_URL="sqlite+aiosqlite:////nowhere/prefect.db")
    assert "StepError: the Prefect server ended while it started" in done.stderr
    assert "unable to open database file" in done.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(tmp_path / "file" / "prefect", "")
    assert f"InputError: cannot write in {tmp_path}/file/prefect: Not a directory" in done.stderr
    assert done.stdout == ""


def test_settings_that_come_after_prefect_are_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import prefect\n" + WITH_SERVER, tmp_path], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert "StepError: Prefect was imported before its settings were made" in done.stderr
