"""DuckDB sees the folder that it was given, and nothing else."""

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from tasks.errors import InputError
from tasks.warehouse import database


def test_a_connection_reads_no_file_outside_its_folder(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside.csv", tmp_path / "inside" / "a.csv"
    inside.parent.mkdir()
    for path in (outside, inside):
        path.write_text("x\n1\n", encoding="utf-8")
    with database.connect(folder=inside.parent) as connection:
        assert connection.execute("select x from read_csv($path)", {"path": str(inside.resolve())}).fetchall() == [(1,)]
        with pytest.raises(duckdb.PermissionException):
            connection.execute("select x from read_csv($path)", {"path": str(outside.resolve())})
        with pytest.raises(duckdb.Error):
            connection.execute("set enable_external_access = true")


def test_an_attached_database_cannot_be_changed(tmp_path: Path) -> None:
    with database.connect(tmp_path / "survey.duckdb") as connection:
        database.load(connection, "answers", pd.DataFrame({"code": [1]}))
    with database.connect(attach={"survey": tmp_path / "survey.duckdb"}, folder=tmp_path) as connection:
        assert connection.execute("select code from survey.answers").fetchall() == [(1,)]
        with pytest.raises(duckdb.Error, match="read-only"):
            connection.execute("delete from survey.answers")


def test_two_frames_load_into_one_connection() -> None:
    with database.connect() as connection:
        assert [database.load(connection, name, pd.DataFrame({"x": [1, 2]})) for name in ("a", "b")] == [2, 2]


def test_a_name_is_quoted_whatever_it_holds() -> None:
    with database.connect() as connection:
        name = 'odd"; drop table x; --'
        database.load(connection, name, pd.DataFrame({"x": [1]}))
        assert database.count(connection, name) == 1
        assert connection.execute("select table_name from duckdb_tables()").fetchall() == [(name,)]


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("not a database, but long enough to be looked at " * 100, encoding="utf-8")
    with pytest.raises(InputError, match="cannot open the database"):
        database.connect(tmp_path / "text.duckdb")


def test_tables_leave_as_parquet_and_come_together_in_one_database(tmp_path: Path) -> None:
    with database.connect(folder=tmp_path) as connection:
        database.load(connection, "a", pd.DataFrame({"x": [1, 2]}))
        made = database.export(connection, ["a"], folder=tmp_path)
    assert made.rows == {"a": 2}
    database.collect(tmp_path)
    with duckdb.connect(str(tmp_path / "study.duckdb"), read_only=True) as connection:
        assert connection.execute("select x from a order by x").fetchall() == [(1,), (2,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.duckdb", "tables"]
