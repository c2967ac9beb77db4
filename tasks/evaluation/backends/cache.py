"""Answers that a server gave, kept: an evaluation that was interrupted goes on without asking, or paying, twice.

with AnswerCache(workspace / "registry.sqlite") as cache:
    cache.put(key, answer)
    kept = cache.get([key])
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from tasks.errors import StepError
from tasks.evaluation.backends.answers import Answer

TABLE = """
create table if not exists server_answers (
    key text primary key,
    answer text not null,
    answered text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) strict, without rowid
"""
SECONDS_TO_WAIT = 30.0  # for another process that writes


class AnswerCache:
    """A table of the workspace's registry, an SQLite file in WAL mode: processes read and write it at once. Threads share one connection."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        with self._readable():
            self._connection = sqlite3.connect(path, timeout=SECONDS_TO_WAIT, check_same_thread=False, isolation_level=None)
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute(TABLE)

    def __enter__(self) -> "AnswerCache":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; the first of a key stays."""
        with self._readable():
            self._connection.execute("insert or ignore into server_answers (key, answer) values (?, ?)", [key, answer.model_dump_json()])

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Those of `keys` that are kept; one that this version does not understand is asked again."""
        found: dict[str, Answer] = {}
        for key, text in self._rows(keys):
            try:
                found[key] = Answer.model_validate_json(text)
            except ValidationError:
                self._forget(key)
        return found

    def _rows(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        with self._readable():
            wanted = "select key, answer from server_answers where key in (select value from json_each(?))"
            return self._connection.execute(wanted, [json.dumps(list(keys))]).fetchall()

    def _forget(self, key: str) -> None:
        with self._readable():
            self._connection.execute("delete from server_answers where key = ?", [key])

    @contextmanager
    def _readable(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise StepError(
                    f"the registry {self._path} cannot be used: {error}. Make room, or move the file away: it keeps answers of servers, which are "
                    "then asked again"
                ) from error
