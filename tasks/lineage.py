"""Lineage: which files, code and parameters made which table, report or adapter. One row per run, step and file, in the workspace's registry.

with Lineage(workspace) as lineage:
    lineage.record(Step(run_id, study, "build the tables", ...), made)
    lineage.table(run_id)
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tasks.files import FileSet
from tasks.policy import LEFT_OUT, ContentKey, identity
from tasks.registry import REGISTRY, Registry

TABLES = (
    """
    create table if not exists lineage_steps (
        run_id text not null,
        step text not null,
        study text not null,
        version integer,
        code text,
        inputs text not null,
        parameters text not null,
        reused integer not null,
        ended text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
        primary key (run_id, step)
    ) strict, without rowid
    """,
    """
    create table if not exists lineage_files (
        run_id text not null,
        step text not null,
        file text not null,
        sha256 text not null,
        primary key (run_id, step, file)
    ) strict, without rowid
    """,
    "create index if not exists lineage_contents on lineage_files (sha256)",
    """
    create view if not exists lineage as
    select study, run_id, step, file, sha256, version, code, inputs, parameters, reused, ended
    from lineage_files
    join lineage_steps using (run_id, step)
    """,
)


class Step(NamedTuple):
    """One call of a step: `version` is that of its cache key, `code` the project's commit, `inputs` map what it read to SHA-256."""

    run_id: str
    study: str
    step: str
    version: int | None
    code: str | None
    inputs: dict[str, str]
    parameters: dict[str, Any]
    reused: bool


class Lineage(Registry):
    """A view `lineage` of two tables: what a step read and was told is written once, however many files it made."""

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace / REGISTRY, TABLES)

    def record(self, step: Step, made: FileSet) -> None:
        """What a step made; a retry that reuses what the run itself has made leaves the first word."""
        kept = {row["file"]: row["sha256"] for row in self.rows("select * from lineage_files where run_id = ? and step = ?", step[0:3:2])}
        if step.reused and kept == made.files:
            return
        told = [*step[:5], json.dumps(step.inputs), json.dumps(step.parameters), int(step.reused)]
        names = "run_id, study, step, version, code, inputs, parameters, reused"
        self.write(f"insert or replace into lineage_steps ({names}) values (?, ?, ?, ?, ?, ?, ?, ?)", told)
        self.write("delete from lineage_files where run_id = ? and step = ?", [step.run_id, step.step])
        rows = [(step.run_id, step.step, file, sha256) for file, sha256 in made.files.items()]
        self.write_all("insert into lineage_files (run_id, step, file, sha256) values (?, ?, ?, ?)", rows)

    def table(self, run_id: str) -> list[dict[str, Any]]:
        """One row per step of a run, for an artifact: what it made of what, and the run in which a reused result was made."""
        return [
            {
                "step": row["step"],
                "made": _named(self._made(run_id, row["step"])),
                "of": _named(json.loads(row["inputs"])),
                "parameters": row["parameters"],
                "step version": row["version"],
                "code": (row["code"] or "")[:12],
                "made in run": self._maker(run_id, row["step"]) if row["reused"] else run_id,
            }
            for row in self.rows("select * from lineage_steps where run_id = ? order by ended, step", [run_id])
        ]

    def contents(self, runs: list[str]) -> set[str]:
        """The SHA-256 of every file that these runs read or made."""
        made = self.rows("select sha256 from lineage_files where run_id in (select value from json_each(?))", [json.dumps(runs)])
        read = self.rows("select inputs from lineage_steps where run_id in (select value from json_each(?))", [json.dumps(runs)])
        return {row["sha256"] for row in made} | {sha256 for row in read for sha256 in json.loads(row["inputs"]).values()}

    def names(self, runs: list[str]) -> set[str]:
        """The name of every file that these runs made."""
        query = "select distinct file from lineage_files where run_id in (select value from json_each(?))"
        return {row["file"] for row in self.rows(query, [json.dumps(runs)])}

    def runs(self) -> set[str]:
        return {row["run_id"] for row in self.rows("select distinct run_id from lineage_steps")}

    def _made(self, run_id: str, step: str) -> dict[str, str]:
        return {row["file"]: row["sha256"] for row in self.rows("select * from lineage_files where run_id = ? and step = ?", [run_id, step])}

    def _maker(self, run_id: str, step: str) -> str:
        """The newest run before this one in which the step was computed, with the same files; empty when the registry does not know it."""
        query = "select run_id from lineage_steps where step = ? and run_id < ? and reused = 0 order by run_id desc"
        made = self._made(run_id, step)
        earlier = (str(row["run_id"]) for row in self.rows(query, [step, run_id]))
        return next((run for run in earlier if self._made(run, step) == made), "")


def read_by(arguments: tuple[Any, ...]) -> dict[str, str]:
    """The files among a step's arguments, by name; of two with one name the folder tells which."""
    found: dict[str, str] = {}
    for files in _file_sets(arguments):
        for name, sha256 in files.files.items():
            found[name if found.get(name, sha256) == sha256 else str(files.path(name))] = sha256
    return found


def told_to(function: Callable[..., Any], arguments: tuple[Any, ...], *, key: object) -> dict[str, Any]:
    """What a step is told beside files: plain values and settings by their names, of a study the sections that count."""
    sections = key.sections if isinstance(key, ContentKey) else ()
    named = dict(zip(inspect.signature(function).parameters, arguments, strict=False))
    return {name: identity(value, sections) for name, value in named.items() if name not in LEFT_OUT and not list(_file_sets((value,)))}


def _file_sets(value: Any) -> Iterator[FileSet]:
    if isinstance(value, FileSet):
        yield value
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from _file_sets(member)


def _named(files: Mapping[str, str]) -> str:
    """Tables by name, whole folders by theirs."""
    names = {name.removeprefix("tables/").removesuffix(".parquet") if name.startswith("tables/") else name.split("/")[0] for name in files}
    return ", ".join(sorted(names))
