"""Answers that a server gave, kept: an evaluation that was interrupted goes on without asking, or paying, twice.

with AnswerCache(workspace / "registry.sqlite") as cache:
    cache.put(key, answer)
    kept = cache.get([key])
"""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from tasks.evaluation.backends.answers import Answer
from tasks.registry import Registry

TABLE = """
create table if not exists server_answers (
    key text primary key,
    answer text not null,
    answered text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) strict, without rowid
"""


class AnswerCache(Registry):
    """A table of the workspace's registry."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, [TABLE])

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; the first of a key stays."""
        self.write("insert or ignore into server_answers (key, answer) values (?, ?)", [key, answer.model_dump_json()])

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Those of `keys` that are kept; one that this version does not understand is asked again."""
        found: dict[str, Answer] = {}
        wanted = "select key, answer from server_answers where key in (select value from json_each(?))"
        for key, text in self.rows(wanted, [json.dumps(list(keys))]):
            try:
                found[key] = Answer.model_validate_json(text)
            except ValidationError:
                self.write("delete from server_answers where key = ?", [key])
        return found
