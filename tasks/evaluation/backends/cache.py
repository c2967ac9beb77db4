"""Answers that a server gave, kept: an evaluation that was interrupted goes on without asking, or paying, twice. Attempts that failed, too: a budget
that forgot them at every start would not be one.

with AnswerCache(workspace / "registry.sqlite") as cache:
    cache.put(key, answer)
    kept = cache.get([key])
    cache.fail(key, "time-out", taken)
    failed = cache.failed([key])        # {"time-out": what these attempts took}
"""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from tasks.evaluation.backends.answers import Answer, Usage
from tasks.registry import Registry

ANSWERS = """
create table if not exists server_answers (
    key text primary key,
    answer text not null,
    answered text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) strict, without rowid
"""
FAILURES = """
create table if not exists server_failures (
    key text not null,
    kind text not null,
    requests integer not null,
    prompt_tokens integer not null,
    completion_tokens integer not null,
    primary key (key, kind)
) strict, without rowid
"""
FAILED = """
insert into server_failures (key, kind, requests, prompt_tokens, completion_tokens) values (?, ?, ?, ?, ?)
on conflict (key, kind) do update set
    requests = requests + excluded.requests,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens
"""


class AnswerCache(Registry):
    """Two tables of the workspace's registry."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, [ANSWERS, FAILURES])

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

    def fail(self, key: str, kind: str, taken: Usage) -> None:
        """Count an attempt without an answer, and what it may have taken."""
        self.write(FAILED, [key, kind, taken.requests, taken.prompt_tokens, taken.completion_tokens])

    def failed(self, keys: Sequence[str]) -> dict[str, Usage]:
        """kind -> what the attempts of `keys` took that failed so."""
        sums = ", ".join(f"sum({name}) as {name}" for name in Usage.model_fields)
        query = f"select kind, {sums} from server_failures where key in (select value from json_each(?)) group by kind"
        rows = self.rows(query, [json.dumps(list(keys))])
        return {row["kind"]: Usage.model_validate({name: row[name] for name in Usage.model_fields}) for row in rows}
