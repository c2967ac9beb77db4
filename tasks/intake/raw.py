"""A survey as it was read: DuckDB answers what the stage asks of its cells, so that a file of any size fits.

raw.headers["Q260"]                       # 'Sex', or '' where the file has bare codes
raw.counts("B_COUNTRY_ALPHA", "A_YEAR")   # [('SGP', '2020', 2012)]
kept = raw.keep(columns=["Q1", "Q260"], rows=ChosenRows("B_COUNTRY_ALPHA", ["SGP"]))
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from tasks.errors import InputError
from tasks.progress import Meter, watched
from tasks.warehouse.database import build, count, identifier, literal

TABLE = "raw_responses"
ROWS = "survey_rows"
FACTS = "survey_facts"
RESPONDENT_ID = "respondent_id"
NUMBER = r"\s*-?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*|\s*"


class ChosenRows(NamedTuple):
    """Which respondents are taken, by the texts in two columns; a file of one wave has the country's twice."""

    country_column: str
    country_cells: list[str]
    wave_column: str
    wave_cells: list[str]


class RawSurvey(NamedTuple):
    """`headers` maps a column's code to its label ('' if none). Every cell is text, '' where nothing stands. `table` is what `held` columns are
    counted in: a few columns of all respondents, or what was kept; the file itself has the rest. `value_labels`: what the file itself says of codes
    (Spss and Stata)."""

    path: Path
    format: str
    encoding: str
    headers: dict[str, str]
    respondents: int
    connection: duckdb.DuckDBPyConnection
    file: str = ""
    table: str = FACTS
    held: frozenset[str] = frozenset()
    value_labels: dict[str, dict[int, str]] = {}

    def counts(self, *columns: str) -> list[tuple[Any, ...]]:
        """The distinct cells of the columns, each with its number of respondents behind, in the order of the cells."""
        names = ", ".join(map(identifier, columns))
        table = self.table if self.held.issuperset(columns) else ROWS
        return self.connection.execute(f"select {names}, count(*) from {table} group by all order by {names}").fetchall()

    def cells(self, column: str) -> list[str]:
        """The distinct cells of one column, in order."""
        return [str(cell) for cell, _ in self.counts(column)]

    def keep(self, *, columns: list[str] | None = None, rows: ChosenRows | None = None) -> "RawSurvey":
        """Make raw_responses (sql/raw/raw_responses.sql): some columns, or all, of some respondents, or of all. Raises InputError for a file whose
        rows cannot be read."""
        kept = list(self.headers) if columns is None else columns
        chosen = rows or ChosenRows(kept[0], [], kept[0], [])
        with told_of(self.path), watched(self.connection, f"reading {self.path.name}"):
            build(self.connection, f"raw/{TABLE}", file=self.file, columns=kept, everybody=rows is None, **chosen._asdict())
        return self._replace(table=TABLE, held=frozenset(kept))

    def answers_in_words(self, columns: list[str]) -> bool:
        """Whether any cell of the columns is neither a number nor empty."""
        words = "select bool_or(not regexp_full_match(columns(lambda code: list_contains($columns, code)), $number))"
        found = self.connection.execute(f"{words} from {TABLE}", {"columns": columns, "number": NUMBER}).fetchall() if columns else []
        return any(any(row) for row in found)


@dataclass(frozen=True)
class Cells:
    """A query whose rows are the respondents."""

    query: str


@contextmanager
def offered(connection: duckdb.DuckDBPyConnection, cells: Iterable[Any] | Cells, *, codes: list[str], folder: Path, label: str) -> Iterator[None]:
    """survey_rows: a reader's cells under their codes, a query as it is, blocks by way of a database in `folder`. `label`: what a person who waits
    is told."""
    names = ", ".join(map(identifier, codes))
    if isinstance(cells, Cells):
        connection.execute(f"create or replace temporary view {ROWS} ({names}) as {cells.query}")
        yield
        connection.execute(f"drop view {ROWS}")
        return
    connection.execute(f"attach {literal(folder / 'rows.duckdb')} as reading")
    connection.execute(f"create table reading.{ROWS} ({', '.join(f'{identifier(code)} varchar' for code in codes)})")
    with Meter(label, total=None) as meter:
        for block in cells:
            connection.register("block", block)
            connection.execute(f"insert into reading.{ROWS} select * from block")
            connection.unregister("block")
            meter.advance(block.num_rows, note="respondents")
    connection.execute(f"create or replace temporary view {ROWS} as select * from reading.{ROWS}")
    yield
    connection.execute(f"drop view {ROWS}")
    connection.execute("detach reading")


def hold_facts(connection: duckdb.DuckDBPyConnection, *, path: Path, columns: list[str]) -> int:
    """Make survey_facts: a few columns of all respondents; returns their number. A csv is read once for all that is asked of them."""
    with told_of(path), watched(connection, f"reading {path.name}"):
        connection.execute(f"create or replace temporary table {FACTS} as select {', '.join(map(identifier, columns))} from {ROWS}")
    return count(connection, FACTS)


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Where DuckDB finds no row in a line, the line; its own message quotes the respondent's row."""
    try:
        yield
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        message = str(error)
        line = re.search(r"Line: (\d+)", message)
        place = f"{path.name}, line {line[1]}" if line else path.name
        counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
        if counts:
            told = f"found {counts[2]} cells, expected {counts[1]} as in the header. The file is cut or damaged: download it again"
        else:
            told = "the cells cannot be told apart, expected one row per respondent with closed quotes. Download the file again"
        raise InputError(f"{place}: {told}") from None
