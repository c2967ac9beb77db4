"""The workspace's registry: one SQLite file in WAL mode, which processes read and write at once. Each table belongs to the module that fills it:
files that landed (intake/landing.py), lineage (lineage.py), answers of servers (evaluation/backends/cache.py).

with Registry(workspace / REGISTRY, TABLES) as registry:
    registry.write("insert or ignore into landed_files (sha256) values (?)", [sha256])
    rows = registry.rows("select * from landed_files")
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tasks.errors import StepError

REGISTRY = "registry.sqlite"  # in the workspace: shared by all runs
SECONDS_TO_WAIT = 30.0  # for another process that writes


class Registry:
    """An open registry; `tables` are statements that make what is not there yet. Threads share one connection.

    Raises StepError when the file cannot be used: damaged, locked for too long, on a full disk.
    """

    def __init__(self, path: Path, tables: Iterable[str]) -> None:
        self._path, self._lock = path, threading.Lock()
        with self._usable():
            self._connection = sqlite3.connect(path, timeout=SECONDS_TO_WAIT, check_same_thread=False, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._into_wal_mode()
            for table in tables:
                self._connection.execute(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _into_wal_mode(self) -> None:
        """SQLite's time-out does not hold here: of two processes that make one registry, each waits for the other, and one is told at once."""
        give_up = time.monotonic() + SECONDS_TO_WAIT
        while True:
            try:
                self._connection.execute("pragma journal_mode = wal")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
            time.sleep(0.01)

    def rows(self, query: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        with self._usable():
            return self._connection.execute(query, tuple(values)).fetchall()

    def write(self, statement: str, values: Iterable[Any] = ()) -> int:
        """One statement, in a transaction of its own; returns how many rows it changed."""
        with self._usable():
            return self._connection.execute(statement, tuple(values)).rowcount

    def write_all(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """One statement for each of `rows`, all or none."""
        with self._usable():
            self._connection.execute("begin immediate")
            try:
                self._connection.executemany(statement, rows)
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    @contextmanager
    def _usable(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise StepError(
                    f"the registry {self._path} cannot be used: {error}. Make room, or move the file away: it keeps which files have landed, what "
                    "made which table, and answers of servers, which are then asked again"
                ) from error
