"""What has landed, where it lay, and what was started for it: tables of the workspace's registry.

with Landings(workspace) as landings:
    landings.want(present, {"country": load_study("country")}, parameters={"workspace": "workspace"})
    for start in landings.unmade(): ...
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tasks.files import file_set, hash_of
from tasks.intake.codebook import CODEBOOKS_FOLDER
from tasks.registry import REGISTRY, Registry
from tasks.study import EVERY, Study

READY, UNREADABLE, UNKNOWN = "ready", "unreadable", "unknown"
HASH_DIGITS = 16
TABLES = (
    """
    create table if not exists landed_files (
        sha256 text primary key,
        name text not null,
        copy text not null,
        bytes integer not null,
        status text not null check (status in ('ready', 'unreadable', 'unknown')),
        waves text not null,
        countries text not null,
        version text not null,
        respondents integer not null,
        reason text not null,
        judged_by text not null,
        landed text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
        announced text
    ) strict, without rowid
    """,
    """
    create table if not exists landed_places (
        zone text not null,
        name text not null,
        bytes integer not null,
        stamp text not null,
        sha256 text not null,
        primary key (zone, name)
    ) strict, without rowid
    """,
    """
    create table if not exists landed_starts (
        sha256 text not null,
        study text not null,
        parameters text not null,
        wanted text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
        flow_run text,
        primary key (sha256, study)
    ) strict, without rowid
    """,
)


class Place(NamedTuple):
    """A file as the zone lists it."""

    bytes: int
    stamp: str


@dataclass(frozen=True)
class Landed:
    """A file by its content. `copy` is the workspace's own, of a file that can be studied; one that cannot has a `reason`."""

    sha256: str
    name: str
    bytes: int
    status: str
    copy: str = ""
    waves: tuple[int, ...] = ()
    countries: tuple[str, ...] = ()
    version: str = ""
    respondents: int = 0
    reason: str = ""

    def is_asked_for_by(self, study: Study) -> bool:
        """A study asks for a file when it names no file of its own, and what it says of country and wave chooses something in this one. A file
        of several countries or waves needs a study that chooses."""
        return (
            self.status == READY
            and study.survey.file is None
            and _chooses(tuple(country.upper() for country in study.survey.countries), self.countries)
            and _chooses(study.survey.waves, self.waves)
        )


def _chooses(wanted: tuple[Any, ...], there: tuple[Any, ...]) -> bool:
    return len(there) == 1 if not wanted else EVERY in wanted or set(wanted) <= set(there)


class Start(NamedTuple):
    """A study to be started for a file: `key` makes a second start the first one's run."""

    sha256: str
    study: str
    parameters: dict[str, Any]

    @property
    def key(self) -> str:
        return f"landed-{hash_of([self.sha256, self.study, self.parameters['workspace']])[:32]}"


class Landings(Registry):
    """One row per content, per place, and per content and study: whoever comes second finds the first one's."""

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace / REGISTRY, TABLES)

    def files(self, only: Iterable[str] | None = None) -> list[Landed]:
        """The newest last; `only` those contents."""
        rows = self.rows("select * from landed_files order by landed, sha256")
        return [_landed(dict(row)) for row in rows if only is None or row["sha256"] in set(only)]

    def unannounced(self) -> list[Landed]:
        return [_landed(dict(row)) for row in self.rows("select * from landed_files where announced is null order by landed, sha256")]

    def table(self) -> list[dict[str, Any]]:
        """For an artifact: the newest first, with the flow runs that were started."""
        runs: dict[str, list[str]] = {}
        for row in self.rows("select sha256, study, coalesce(flow_run, 'to be started') as flow_run from landed_starts order by study"):
            runs.setdefault(row["sha256"], []).append(f"{row['study']}: {row['flow_run']}")
        return [_shown(landed) | {"studies": ", ".join(runs.get(landed.sha256, []))} for landed in reversed(self.files())]

    def mark_announced(self, sha256: str) -> None:
        self.write("update landed_files set announced = strftime('%Y-%m-%dT%H:%M:%SZ', 'now') where sha256 = ?", [sha256])

    def known(self, zone: str) -> dict[str, tuple[Place, str]]:
        """Name -> how it was listed, and its content."""
        rows = self.rows("select * from landed_places where zone = ?", [zone])
        return {row["name"]: (Place(row["bytes"], row["stamp"]), row["sha256"]) for row in rows}

    def holds(self, sha256: str) -> bool:
        """The content is on record: as a file that can be studied, with its copy there, or as one that today's codebooks do not know."""
        rows = self.rows("select * from landed_files where sha256 = ?", [sha256])
        return bool(rows) and (Path(rows[0]["copy"]).is_file() if rows[0]["status"] == READY else rows[0]["judged_by"] == judged_by())

    def register(self, landed: Landed) -> None:
        """Put a file on record; another judgement of the same content is announced anew."""
        self.write(
            "insert into landed_files (sha256, name, copy, bytes, status, waves, countries, version, respondents, reason, judged_by)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " on conflict (sha256) do update set copy = excluded.copy, status = excluded.status, waves = excluded.waves,"
            " countries = excluded.countries, version = excluded.version, respondents = excluded.respondents, reason = excluded.reason,"
            " announced = case when status = excluded.status and reason = excluded.reason then announced end, judged_by = excluded.judged_by",
            [
                *(landed.sha256, landed.name, landed.copy, landed.bytes, landed.status),
                *(json.dumps(landed.waves), json.dumps(landed.countries), landed.version, landed.respondents, landed.reason, judged_by()),
            ],
        )

    def place(self, zone: str, name: str, place: Place, sha256: str) -> None:
        values = [zone, name, place.bytes, place.stamp, sha256]
        self.write("insert or replace into landed_places (zone, name, bytes, stamp, sha256) values (?, ?, ?, ?, ?)", values)

    def want(self, present: list[str], studies: Mapping[str, Study], *, parameters: dict[str, Any]) -> None:
        """Put on record which studies ask for which files, before they are started: whoever finds a start unmade makes it."""
        for landed in self.files(present):
            for name in (name for name, study in studies.items() if landed.is_asked_for_by(study)):
                given = json.dumps({"study": name, "surveys": [landed.copy], **parameters})
                self.write("insert or ignore into landed_starts (sha256, study, parameters) values (?, ?, ?)", [landed.sha256, name, given])

    def unmade(self) -> list[Start]:
        rows = self.rows("select * from landed_starts where flow_run is null order by wanted, study")
        return [Start(row["sha256"], row["study"], json.loads(row["parameters"])) for row in rows]

    def made(self, start: Start, flow_run: str) -> None:
        self.write("update landed_starts set flow_run = ? where sha256 = ? and study = ?", [flow_run, start.sha256, start.study])


def _landed(row: dict[str, Any]) -> Landed:
    kept = {name: row[name] for name in ("sha256", "name", "copy", "bytes", "status", "version", "respondents", "reason")}
    return Landed(**kept, waves=tuple(json.loads(row["waves"])), countries=tuple(json.loads(row["countries"])))


def _shown(landed: Landed) -> dict[str, Any]:
    listed = {"wave": landed.waves, "country": landed.countries}
    told = {"file": landed.name, "status": landed.status, **{name: ", ".join(map(str, values)) for name, values in listed.items()}}
    return {**told, "version": landed.version, "respondents": landed.respondents, "reason": landed.reason, "sha256": landed.sha256}


@cache
def judged_by() -> str:
    """What decides whether a file can be studied, beside the file: the codebooks, and the code that reads."""
    here = Path(__file__).parent
    code = sorted(str(path.relative_to(here)) for path in here.rglob("*.py"))
    return file_set(here, [*code, str(CODEBOOKS_FOLDER.relative_to(here))]).content_key[:HASH_DIGITS]


def what_to_do(landed: Landed) -> str:
    """In Markdown, for whoever watches the landing zone."""
    advice = {
        UNREADABLE: "Download or copy the file again, in one of the survey's official formats, and drop it under any name: it is looked at anew. "
        "`valuescape inspect FILE` says the same on your machine.",
        UNKNOWN: "The project has no codebook for it. `valuescape codebook FILE --out CSV` drafts one, a person confirms its rows, and "
        "`valuescape run STUDY --survey FILE --codebook CSV` studies the file. It is not started from here.",
    }[landed.status]
    return f"## {landed.name} cannot be studied\n\n{landed.reason}\n\n{advice}\n\nSHA-256 `{landed.sha256}`, {landed.bytes:,} bytes"
