"""Debian's PostgreSQL and a Prefect server on it, for tests: the stack of infra/compose without containers.

with postgres() as database, prefect_on(database, folder) as server:
    server.ask("flow_runs/count", auth=True)
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.flows.command import environment

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
PASSWORD, AUTH = "only-for-this-test", "valuescape:only-for-this-test"
SECONDS_TO_START = 90


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Database:
    """One cluster in a folder of its own, on 127.0.0.1. PostgreSQL does not run as root: there it is run as the user that Debian made for it."""

    folder: Path
    port: int

    def control(self, *arguments: str) -> None:
        self.run("pg_ctl", "--pgdata", str(self.folder / "data"), "--wait", *arguments)

    def run(self, program: str, *arguments: str) -> None:
        command = [str(FOUND[-1].with_name(program)), *arguments]
        user = {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        with (self.folder / "commands.log").open("ab") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd=self.folder, env={**os.environ, "PGPASSWORD": PASSWORD}, **user)  # type: ignore[call-overload]

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self.control("start", "--log", str(self.folder / "server.log"), "--options", options)

    def restart(self) -> None:
        self.control("stop", "--mode", "fast")
        self.start()


@contextmanager
def postgres() -> Iterator[Database]:
    """In a folder of its own beside pytest's, which another pytest of the same user closes to everybody else when it starts."""
    with tempfile.TemporaryDirectory(prefix="valuescape-postgres-") as name:
        database = Database(Path(name), free_port())
        password = database.folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        if os.getuid() == 0:
            for path in (database.folder, password):
                shutil.chown(path, "postgres")
        database.run(
            "initdb", "--pgdata", str(database.folder / "data"), "--username", "prefect", "--auth", "scram-sha-256", "--pwfile", str(password)
        )
        database.start()
        try:
            database.run("createdb", "--host", "127.0.0.1", "--port", str(database.port), "--username", "prefect", "prefect")
            yield database
        finally:
            database.control("stop", "--mode", "immediate")


@dataclass
class Server:
    """Prefect on the database, with a password of its own."""

    url: str
    pid: int

    def ask(self, path: str, *, auth: str | None = AUTH, **body: Any) -> httpx.Response:
        user, _, password = (auth or "").partition(":")
        return httpx.post(f"{self.url}/{path}", json=body, auth=(user, password) if auth else None, timeout=30)

    def settings(self) -> dict[str, str]:
        """What a worker or a command of this server has in its environment."""
        return {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": AUTH}


@contextmanager
def prefect_on(database: Database, folder: Path, *, name: str = "prefect") -> Iterator[Server]:
    port = free_port()
    given = environment(
        PREFECT_HOME=str(folder / "prefect"), PREFECT_SERVER_API_HOST="127.0.0.1", PREFECT_SERVER_API_AUTH_STRING=AUTH,
        PREFECT_SERVER_ANALYTICS_ENABLED="false", PREFECT_SERVER_DATABASE_DRIVER="postgresql+asyncpg", PREFECT_SERVER_DATABASE_HOST="127.0.0.1",
        PREFECT_SERVER_DATABASE_PORT=str(database.port), PREFECT_SERVER_DATABASE_NAME=name, PREFECT_SERVER_DATABASE_USER="prefect",
        PREFECT_SERVER_DATABASE_PASSWORD=PASSWORD,
    )  # fmt: skip
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "prefect.log").open("wb") as log:
        process = subprocess.Popen(command, env=given, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/api/health", process, folder / "prefect.log")
        yield Server(f"http://127.0.0.1:{port}/api", process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(address, timeout=3).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.3)
    raise AssertionError(log.read_text(encoding="utf-8", errors="replace")[-3000:])
