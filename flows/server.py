"""A Prefect server for the run: the one that is up, or a real one of our own that ends with its last user.

    with local_server(workspace / "prefect") as server:
        from flows.study import study_flow  # Prefect reads its settings when it is imported, so import it in here

To keep it up: `python -m flows.server workspace/prefect`, on the port PREFECT_SERVER_API_PORT.

A server that the user runs is PREFECT_API_URL: it is used and left alone. Otherwise the workspace's own server (database, results, log
and locks under `home`) is started, or shared with the commands that already use it. Three locks, which the system frees when
their process dies, keep one server on one database:

    start.lock   held while somebody looks for the server or starts it
    users.lock   shared by every user; when the server gets it alone nobody is left, and it ends
    server.lock  held by the server process for as long as it lives
"""

import fcntl
import json
import logging
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from flows.background import PROJECT, is_locked, keep_last_log, locked, try_lock, wait_until
from tasks.errors import InputError, StepError
from tasks.files import write_json

HOST = "127.0.0.1"
STARTUP_SECONDS = 120.0
SHUTDOWN_SECONDS = 15.0
RECORDING_SECONDS = 10.0
WATCH_SECONDS = 1.0
PAUSE_SECONDS = 15.0
LOG_LINES = 15

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # V2 calls an analytics host on every page load
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}
QUIET_SETTINGS = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "valuescape",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the terminal is ours; Prefect's lines go to the run's log on the server
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # our lines from outside a flow are no fault
}

NAMES = (*SETTINGS, *QUIET_SETTINGS, "PREFECT_HOME", "PREFECT_API_URL", "no_proxy", "NO_PROXY")

logger = logging.getLogger("valuescape")


def apply_settings() -> None:
    """Put Prefect's settings into the environment; what the user has set stays. Raises StepError when Prefect is already imported."""
    if "prefect" in sys.modules:
        raise StepError("Prefect was imported before its settings were made: import flows.study inside `with local_server(...)`")
    settings = {**SETTINGS, **QUIET_SETTINGS}
    os.environ.update({name: os.environ.get(name, value) for name, value in settings.items()})
    without_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"{without_proxy},{HOST},localhost".lstrip(",")


class Server(NamedTuple):
    """`started_here`: it was started for this command, so that no worker can know of it."""

    url: str
    started_here: bool


@contextmanager
def local_server(home: Path) -> Iterator[Server]:
    """Yield a server that answers, with the environment set for it until the end.

    Raises InputError when `home` cannot be written, StepError when the server does not come up.
    """
    home = home.resolve()
    before = {name: os.environ.get(name) for name in NAMES}
    try:
        apply_settings()
        given = server_url()
        if given:
            yield Server(given, started_here=False)
            return
        with _own_server(home) as server:
            yield server
    finally:
        _restore(before)


def server_url() -> str | None:
    """The user's server, when PREFECT_API_URL names one that answers."""
    url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if url and not answers(url):
        logger.warning("PREFECT_API_URL=%s does not answer; using a server of our own", url)
        return None
    return url or None


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _own_server(home: Path) -> Iterator[Server]:
    """The workspace's server, found or started; its last user ends it."""
    _make_folder(home)
    since = datetime.now(UTC)
    with locked(home / "users.lock", fcntl.LOCK_SH) as users:
        try:
            server = _found_or_started(home)
            os.environ.update(PREFECT_HOME=str(home), PREFECT_API_URL=server.url)
            yield server
        finally:
            _send_what_waits()
            if try_lock(users):  # nobody else uses it, and whoever comes now waits until it is gone
                _wait_until_recorded(home, since)
                _stop(home)


def _found_or_started(home: Path) -> Server:
    with locked(home / "start.lock", fcntl.LOCK_EX):
        running = is_alive(home)
        if not running:
            logger.info("starting a Prefect server (about 10 seconds); its log: %s", home / "server.log")
            _launch(home, port=int(os.environ.get("PREFECT_SERVER_API_PORT", "0")))
        url = _wait_until_it_answers(home)
    logger.info("Prefect server: %s", url.removesuffix("/api"))
    return Server(url, started_here=not running)


def _launch(home: Path, *, port: int) -> None:
    """Start the server process (port 0: on any that is free); it inherits server.lock held, so that there is no moment without."""
    with socket.create_server((HOST, port)) as free:
        port = free.getsockname()[1]
    (home / "server.json").unlink(missing_ok=True)
    keep_last_log(home / "server.log")
    with locked(home / "server.lock", fcntl.LOCK_EX) as held, (home / "server.log").open("wb") as log:
        subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(home), str(port)],
            cwd=PROJECT,
            env=_server_environment(home, _url(port)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[held.fileno()],
            start_new_session=True,  # Ctrl-C ends the run, which still has to tell the server so
        )


def _server_environment(home: Path, url: str) -> dict[str, str]:
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"}  # the server's console is its log
    kept = {name: value for name, value in os.environ.items() if name not in quiet}
    return {**kept, "PREFECT_HOME": str(home), "PREFECT_API_URL": url}


def _wait_until_it_answers(home: Path) -> str:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        url = _record(home).get("url")
        if url and answers(url):
            return url
        if not is_alive(home):
            raise StepError(f"the Prefect server ended while it started. The end of {home / 'server.log'}:\n{_end_of_log(home)}")
        time.sleep(0.2)
    raise StepError(
        f"the Prefect server (process {_record(home).get('pid')}) did not answer within {STARTUP_SECONDS:.0f} seconds. End that process and "
        f"repeat, or set PREFECT_API_URL to a server that runs. The end of {home / 'server.log'}:\n{_end_of_log(home)}"
    )


def answers(url: str) -> bool:
    """Whether a Prefect server is there."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # a server that wants credentials, which Prefect's client has
    except (OSError, ValueError):  # nobody there, or no URL
        return False


def _send_what_waits() -> None:
    """Prefect sends logs and task states from threads: what they still hold when the server ends is lost."""
    if "prefect" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        APILogWorker.drain_all(timeout=SHUTDOWN_SECONDS)
        EventsWorker.drain_all(timeout=SHUTDOWN_SECONDS)


def _wait_until_recorded(home: Path, since: datetime) -> None:
    """The server writes task states down behind their arrival, and drops its queue at its end: wait until none of this run's is open and no more
    are coming. A busy machine takes its time: what is given up is a server that has written nothing for a while."""
    began, known, settled = time.monotonic(), (-1, -1), 0
    while settled < 3 and time.monotonic() - began < RECORDING_SECONDS and is_alive(home):
        time.sleep(0.3)
        counts = _tasks(_record(home).get("url", ""), since)
        settled = settled + 1 if counts is not None and counts == known and counts[0] == 0 else 0
        if counts is not None and counts != known:
            began, known = time.monotonic(), counts


def _tasks(url: str, since: datetime) -> tuple[int, int] | None:
    """Tasks that the server holds for unfinished, and all that have begun since; zeros from a server that wants credentials, None from one that does
    not answer in time."""
    begun = {"expected_start_time": {"after_": since.isoformat()}}
    try:
        return _count(url, begun | {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}), _count(url, begun)
    except urllib.error.HTTPError as error:
        return (0, 0) if error.code in (401, 403) else None
    except (OSError, ValueError):
        return None


def _count(url: str, tasks: dict[str, Any]) -> int:
    body = json.dumps({"task_runs": tasks}).encode()
    request = urllib.request.Request(f"{url}/task_runs/count", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as response:
        return int(json.load(response))


def _stop(home: Path) -> None:
    """End the server by its process id, which server.lock vouches for."""
    for order in (signal.SIGTERM, signal.SIGKILL):
        pid = _record(home).get("pid")
        if pid is None or not is_alive(home):
            return
        os.kill(int(pid), order)
        wait_until(lambda: not is_alive(home), seconds=SHUTDOWN_SECONDS)


def is_alive(home: Path) -> bool:
    """Whether the workspace's server runs."""
    return is_locked(home / "server.lock")


def _record(home: Path) -> dict[str, str]:
    """What the running server wrote about itself; empty before it has."""
    path = home / "server.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _end_of_log(home: Path) -> str:
    lines = (home / "server.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-LOG_LINES:])


def _make_folder(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "users.lock").touch()
    except OSError as error:
        raise InputError(f"cannot write in {home}: {error.strerror}. Choose a folder of yours with --workspace") from error


def _url(port: str | int) -> str:
    return f"http://{HOST}:{port}/api"


def _serve(home: Path, port: str) -> None:
    """The server process: `prefect server start`, beside a thread that ends it with its last user, however that one ends."""
    write_json(home / "server.json", {"url": _url(port), "pid": os.getpid()})
    threading.Thread(target=_end_with_last_user, args=[home], daemon=True).start()
    sys.argv = ["prefect", "server", "start", "--host", HOST, "--port", port]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


def _end_with_last_user(home: Path) -> None:
    with locked(home / "users.lock", fcntl.LOCK_EX):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SHUTDOWN_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)


def _keep(home: Path) -> None:
    """A user of the workspace's server who stays until Ctrl-C or SIGTERM, so that the server stays; and who starts it again when it dies."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), local_server(home) as server:
        address = server.url.removesuffix("/api")
        print(f"Prefect server on {home}: {address}. Ctrl-C ends it. For workers: export PREFECT_API_URL={server.url}", flush=True)
        while True:
            time.sleep(WATCH_SECONDS)
            try:
                _revive(home, server.url)
            except (OSError, StepError) as error:  # a full disk, a slow machine: whoever gave up would have to be started by hand
                _say(f"the server could not be started: {error}. It is tried again")
                time.sleep(PAUSE_SECONDS)


def _say(line: str) -> None:
    """For the log, which may be on the disk that is full."""
    with suppress(OSError):
        print(line, flush=True)


def _revive(home: Path, url: str) -> None:
    """On the same port: workers and runs go on asking there."""
    if is_alive(home):
        return
    with locked(home / "start.lock", fcntl.LOCK_EX):
        if not is_alive(home):
            _say(f"the server on {url} ended; it is started again")
            _launch(home, port=int(urlsplit(url).port or 0))
            _wait_until_it_answers(home)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        _keep(Path(sys.argv[1]))
    else:
        _serve(Path(sys.argv[1]), sys.argv[2])
