"""A survey as it was read: its cells lie in DuckDB, so that a file of any size fits; what the stage asks of them is asked in SQL.

raw.headers["Q260"]                       # 'Sex', or '' where the file has bare codes
raw.counts("B_COUNTRY_ALPHA", "A_YEAR")   # [('SGP', '2020', 2012)]
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from tasks.progress import Meter, watched
from tasks.warehouse.database import build, count, identifier, read_sql

TABLE = "raw_responses"
ROWS = "survey_rows"
RESPONDENT_ID = "respondent_id"


class RawSurvey(NamedTuple):
    """`headers` maps a column's code to its label ('' if none). In table raw_responses every cell is text, '' where nothing stands."""

    path: Path
    format: str
    encoding: str
    headers: dict[str, str]
    respondents: int
    connection: duckdb.DuckDBPyConnection

    def counts(self, *columns: str) -> list[tuple[Any, ...]]:
        """The distinct cells of the columns, each with its number of respondents behind, in the order of the cells."""
        names = ", ".join(map(identifier, columns))
        return self.connection.execute(f"select {names}, count(*) from {TABLE} group by all order by {names}").fetchall()

    def cells(self, column: str) -> list[str]:
        """The distinct cells of one column, in order."""
        return [str(cell) for cell, _ in self.counts(column)]


@dataclass(frozen=True)
class Cells:
    """A query whose rows are the respondents."""

    query: str


def store(connection: duckdb.DuckDBPyConnection, cells: Iterable[Any] | Cells, *, codes: list[str], file: str, label: str = "reading") -> int:
    """Make raw_responses (sql/raw/raw_responses.sql) of a reader's cells, block by block; returns the number of respondents. `label`: what a person
    who waits is told."""
    if isinstance(cells, Cells):
        names = ", ".join(map(identifier, codes))
        connection.execute(f"create or replace temporary view {ROWS} ({names}) as {cells.query}")
        with watched(connection, label):
            respondents = build(connection, f"raw/{TABLE}", file=file, earlier=0)
        connection.execute(f"drop view {ROWS}")
        return respondents
    respondents = 0
    with Meter(label, total=None) as meter:
        for rows in cells:
            connection.register(ROWS, rows.rename_columns(codes))
            if respondents:
                connection.execute(f"insert into {TABLE}\n{read_sql(f'raw/{TABLE}')}", {"file": file, "earlier": respondents})
            else:
                build(connection, f"raw/{TABLE}", file=file, earlier=0)
            connection.unregister(ROWS)
            meter.advance(count(connection, TABLE) - respondents, note="respondents")
            respondents = meter.done
    return respondents
