"""Progress that a person can follow: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection  # not at run time: a training worker shows progress and has no use for a database

SECONDS_BETWEEN_LINES = 15.0
SECONDS_BETWEEN_LOOKS = 0.2

logger = logging.getLogger("valuescape")
console = Console(stderr=True)


class Meter:
    """Counts `total` units of work under one label; use as a context manager and call `advance`. `total` may be set when it becomes known."""

    def __init__(self, label: str, total: int | None) -> None:
        self.label, self.total, self.done = label, total, 0
        self._bar = _bar() if console.is_terminal else None
        self._last_line = self._started = time.monotonic()

    def __enter__(self) -> "Meter":
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, units: int = 1, *, note: str = "") -> None:
        self.done += units
        if self._bar is not None:
            self._bar.update(self._task, total=self.total, advance=units, note=note)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            logger.info("%s: %d of %s%s", self.label, self.done, self.total, f", {note}" if note else "")


@contextmanager
def watched(connection: "DuckDBPyConnection", label: str) -> Iterator[None]:
    """Show how far the statement in the block is, as DuckDB estimates it."""
    connection.execute("set enable_progress_bar = true")
    connection.execute("set enable_progress_bar_print = false")
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=[connection, label, ended], daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _watch(connection: "DuckDBPyConnection", label: str, ended: threading.Event) -> None:
    with Meter(label, total=100) as meter:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            percent = int(connection.query_progress())  # -1 before and after the statement
            if percent > meter.done:
                meter.advance(percent - meter.done)


def _bar() -> Progress:
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    return Progress(*columns, console=console, transient=True)


def report_to_terminal() -> None:
    """Send our own log lines to standard error, without a prefix; for commands, not for libraries."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
