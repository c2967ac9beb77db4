"""Processes that go on when we have ended, found again by a lock that each holds as long as it lives.

    worker = Background(home, "worker-cpu")
    worker.start(["prefect", "worker", "start", "--pool", "cpu"], environment)
    worker.stop(seconds=20)

The lock is the process's own, inherited at its start: the system frees it however the process ends, so that a recorded id is never another's.
"""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from tasks.files import write_json

PROJECT = Path(__file__).resolve().parents[1]


class Background(NamedTuple):
    """<home>/<name>.lock, .json (its process id) and .log."""

    home: Path
    name: str

    @property
    def log(self) -> Path:
        return self.home / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        record = self.home / f"{self.name}.json"
        return int(json.loads(record.read_text(encoding="utf-8"))["pid"]) if self.is_alive() and record.is_file() else None

    def is_alive(self) -> bool:
        return is_locked(self.home / f"{self.name}.lock")

    def start(self, command: list[str], environment: dict[str, str]) -> bool:
        """Start it, in the checkout, unless it runs; returns whether it had to be started."""
        with locked(self.home / f"{self.name}.starting", fcntl.LOCK_EX):
            if self.is_alive():
                return False
            self._start(command, environment)
            return True

    def _start(self, command: list[str], environment: dict[str, str]) -> None:
        record = self.home / f"{self.name}.json"
        record.unlink(missing_ok=True)
        keep_last_log(self.log)
        with locked(self.home / f"{self.name}.lock", fcntl.LOCK_EX) as held, self.log.open("wb") as log:
            subprocess.Popen(
                command,
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[held.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C is not meant for it
                preexec_fn=lambda: write_json(record, {"pid": os.getpid()}),
            )

    def stop(self, *, seconds: float) -> bool:
        """Ask it to end, and end it after so many seconds; returns whether there was anything to end."""
        found = self.pid
        for order in (signal.SIGTERM, signal.SIGKILL):
            if (pid := self.pid) is not None:
                os.kill(pid, order)
                wait_until(lambda: not self.is_alive(), seconds=seconds)
        return found is not None


@contextmanager
def locked(path: Path, kind: int) -> Iterator[IO[bytes]]:
    """Hold a lock; closing, not unlocking, gives it up, so that a process that inherited the file goes on holding it."""
    with path.open("ab") as file:
        fcntl.flock(file, kind)
        yield file


def try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("ab") as file:
        return not try_lock(file)


def keep_last_log(log: Path) -> None:
    """The log of the process before, which may say why it ended, is kept aside as *.log.1."""
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))


def wait_until(holds: Callable[[], bool], *, seconds: float) -> bool:
    """Whether it came to hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
