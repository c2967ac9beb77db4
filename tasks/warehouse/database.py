"""DuckDB, locked down: one .sql file makes one relation; tables leave as Parquet.

connection = connect(run_folder / "study.duckdb", attach={"survey": survey_path}, folder=run_folder)
build(connection, "marts/subgroups", minimum_respondents=30)
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from tasks.errors import InputError, StepError
from tasks.files import FileSet, file_set, write_atomically

SQL_FOLDER = Path(__file__).resolve().parents[2] / "sql"


def connect(
    path: Path | None = None,
    *,
    read_only: bool = False,
    attach: dict[str, Path] | None = None,
    folder: Path | None = None,
    readable: list[Path] | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection that can touch `folder` (default: the database's own) and the `readable` files, nothing else; `attach` is read-only."""
    connection = _open(path, read_only)
    for name, attached in (attach or {}).items():
        connection.execute(f"attach {literal(attached)} as {identifier(name)} (read_only)")
    allowed = folder or (path.parent if path else None)
    if allowed:
        connection.execute(f"set allowed_directories = [{literal(f'{allowed.resolve()}/')}]")
    if readable:
        connection.execute(f"set allowed_paths = [{', '.join(literal(file.resolve()) for file in readable)}]")
    connection.execute("set enable_external_access = false")
    return connection


def _open(path: Path | None, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(str(path) if path else ":memory:", read_only=read_only)
    except duckdb.IOException as error:
        raise InputError(
            f"cannot open the database {path}: {str(error).splitlines()[0]}. Expected a DuckDB file that no other run is "
            "writing, in a folder that can be written. End the other run, or choose another --workspace."
        ) from error


def identifier(name: str) -> str:
    """A quoted SQL identifier: the only way a name enters a statement."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A quoted SQL string, for the statements that take no bound parameters (attach, copy, set)."""
    return "'" + str(value).replace("'", "''") + "'"


def build(connection: duckdb.DuckDBPyConnection, name: str, *, temporary: bool = False, **parameters: Any) -> int:
    """Make the relation that sql/<name>.sql describes, named like the file; returns its row count. Raises StepError, without any of its values."""
    table = identifier(Path(name).name)
    kind = "temporary table" if temporary else "table"
    try:
        connection.execute(f"create or replace {kind} {table} as\n{read_sql(name)}", parameters)
    except duckdb.DataError as error:
        problem = re.sub(r"'.*'|\".*\"", "'...'", str(error).splitlines()[0])  # what stands in quotes may be a respondent's answer
        raise StepError(f"sql/{name}.sql failed on its data: {problem}. Report it with the survey's name and version") from None
    return count(connection, Path(name).name)


def read_sql(name: str) -> str:
    return (SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8").rstrip().rstrip(";")


def count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    # fetchall, not fetchone: an unfinished result would keep the next frame from being registered.
    return int(connection.execute(f"select count(*) from {identifier(table)}").fetchall()[0][0])


def violations(connection: duckdb.DuckDBPyConnection, check: str, **parameters: Any) -> pd.DataFrame:
    """The rows that break sql/checks/<check>.sql; none is good."""
    return connection.execute(read_sql(f"checks/{check}"), parameters).df()


def frame(connection: duckdb.DuckDBPyConnection, table: str) -> pd.DataFrame:
    return connection.execute(f"select * from {identifier(table)}").df()


def load(connection: duckdb.DuckDBPyConnection, table: str, rows: pd.DataFrame) -> int:
    """Make `table` of a pandas frame; returns its row count."""
    connection.register("incoming_rows", rows)
    connection.execute(f"create or replace table {identifier(table)} as select * from incoming_rows")
    connection.unregister("incoming_rows")
    return count(connection, table)


def view(connection: duckdb.DuckDBPyConnection, name: str, parquet: Path) -> None:
    """Name a Parquet file like a table."""
    connection.execute(f"create view {identifier(name)} as select * from read_parquet({literal(parquet)})")


def collect(folder: Path) -> None:
    """<folder>/study.duckdb: every table of <folder>/tables in one database."""
    with new_database(folder / "study.duckdb", folder=folder) as connection:
        for parquet in sorted((folder / "tables").glob("*.parquet")):
            connection.execute(f"create table {identifier(parquet.stem)} as select * from read_parquet({literal(parquet.resolve())})")


def export(connection: duckdb.DuckDBPyConnection, tables: list[str], *, folder: Path, under: str = "tables") -> FileSet:
    """Write each table to <folder>/<under>/<table>.parquet; returns the record of the files."""
    names = [f"{under}/{table}.parquet" for table in tables]
    for table, name in zip(tables, names, strict=True):
        with _written_by_duckdb(folder / name) as temporary:
            connection.execute(f"copy {identifier(table)} to {literal(temporary)} (format parquet)")
    return file_set(folder, names, rows={table: count(connection, table) for table in tables})


@contextmanager
def new_database(path: Path, **confined: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database under a temporary name, which gets its name when all of its tables are made; arguments as in `connect`. Raises StepError when the
    folder does not take it."""
    with _written_by_duckdb(path) as temporary:
        try:
            with connect(temporary, **confined) as connection:
                yield connection
                connection.execute("checkpoint")
        finally:
            temporary.with_name(f"{temporary.name}.wal").unlink(missing_ok=True)


@contextmanager
def _written_by_duckdb(path: Path) -> Iterator[Path]:
    """`write_atomically` for DuckDB, which reports a full disk by errors of its own. Raises StepError."""
    try:
        with write_atomically(path) as temporary:
            yield temporary
    except (duckdb.OperationalError, duckdb.FatalException) as error:
        raise StepError(
            f"cannot write {path}: {str(error).splitlines()[0]}. Nothing was left under that name. "
            "Make room or take another --workspace, then repeat the command."
        ) from error
