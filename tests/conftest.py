"""What several stages start from: given rows in an in-memory DuckDB, and the tables of the synthetic survey.

warehouse.given("options", "item code position", [("Q1", 3, 0), ("Q1", 1, 1)])
assert warehouse.run("marts/targets", "item code tied") == [("Q1", 3, True)]
"""

import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from tasks.files import FileSet
from tasks.intake.ingest import ingest
from tasks.intake.synthetic import write_synthetic_survey
from tasks.study import Study, load_study
from tasks.subgroups.marts import build_marts
from tasks.warehouse import database

Row = tuple[Any, ...]
ENDED = pytest.StashKey[int]()


class Warehouse:
    """Given rows in, the rows of one .sql file out."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def given(self, table: str, columns: str, rows: list[Row]) -> None:
        database.load(self.connection, table, pd.DataFrame(rows, columns=columns.split()))

    def given_respondents(self, respondents: dict[str, tuple[float, dict[str, str]]]) -> None:
        """respondent_id -> weight, traits."""
        columns = "respondent_id varchar, weight double, traits map(varchar, varchar), country varchar default 'SGP', wave integer default 7"
        self.connection.execute(f"create table stg_respondents ({columns})")
        rows = [(name, weight, list(traits), list(traits.values())) for name, (weight, traits) in respondents.items()]
        self.connection.executemany(
            "insert into stg_respondents (respondent_id, weight, traits) values (?, ?, map(?::varchar[], ?::varchar[]))", rows
        )

    def run(self, name: str, columns: str, **parameters: Any) -> list[Row]:
        """Every row of the relation, in its order, with the columns that matter."""
        database.build(self.connection, name, **parameters)
        shown = ", ".join(map(database.identifier, columns.split()))
        return self.connection.execute(f"select {shown} from {database.identifier(Path(name).name)}").fetchall()


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    with database.connect() as connection:
        yield Warehouse(connection)


@pytest.fixture(scope="session")
def sample_study() -> Study:
    return load_study("sample")


@pytest.fixture(scope="session")
def staged_sample(sample_study: Study, tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    """The synthetic survey, staged. Read only."""
    folder = tmp_path_factory.mktemp("staged")
    survey = write_synthetic_survey(folder)
    return ingest(survey, section=sample_study.survey, dimensions=sample_study.dimensions, folder=folder)


@pytest.fixture(scope="session")
def sample_marts(staged_sample: FileSet, sample_study: Study, tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    """The marts of the sample study. Read only."""
    return build_marts(staged_sample, sample_study, folder=tmp_path_factory.mktemp("marts"))


@pytest.fixture(scope="session")
def sample_model(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> FileSet:
    """SmolLM2, converted, which takes half a minute: once for all of pytest's processes. Read only."""
    from tasks.training.model import prepare_model  # torch, for those alone who ask for it

    own = tmp_path_factory.getbasetemp()
    place = own if worker_id == "master" else own.parent  # pytest-xdist's name for a pytest without processes of its own
    with (place / "models.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return prepare_model("sample", cache=place / "models")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[ENDED] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave at once: with torch loaded, DuckDB's bindings list at the interpreter's end every object that is still held, below pytest's last line."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.stash.get(ENDED, 1))
