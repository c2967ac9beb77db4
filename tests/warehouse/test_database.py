"""DuckDB, locked down: what a connection can touch, what leaves it, and names that carry quotes."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from tasks.errors import InputError, StepError
from tasks.warehouse import database

NUMBERS = pd.DataFrame({"number": [1, 2, 3]})
# More than the process may write to one file, as on a disk that fills up.
ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
import pandas as pd
from tasks.errors import ValuescapeError
from tasks.warehouse import database

folder = Path(sys.argv[1])
with database.connect(folder=folder) as connection:
    database.load(connection, "numbers", pd.DataFrame({"number": np.random.default_rng(1).random(200_000)}))
    if sys.argv[2] == "collect":
        database.export(connection, ["numbers"], folder=folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    try:
        database.collect(folder) if sys.argv[2] == "collect" else database.export(connection, ["numbers"], folder=folder)
    except ValuescapeError as error:
        print(error)
        sys.exit(error.exit_code)
"""


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """A folder with a table, which is allowed, beside a secret, which is not."""
    (tmp_path / "secret.csv").write_text("name\nann\n")
    (tmp_path / "inside-too").mkdir()
    (tmp_path / "inside-too" / "secret.csv").write_text("name\nann\n")
    folder = tmp_path / "inside"
    with database.connect(folder=folder) as connection:
        database.load(connection, "numbers", NUMBERS)
        database.export(connection, ["numbers"], folder=folder)
    (folder / "way_out").symlink_to(tmp_path)
    return folder


# Locked down


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_csv('/etc/hosts')",
        "select * from read_text('/etc/hosts')",
        "select * from read_csv('{folder}/../secret.csv')",
        "select * from read_csv('{folder}/way_out/secret.csv')",
        "select * from read_csv('{folder}-too/secret.csv')",
        "select * from glob('{folder}/../*')",
        "copy (select 1) to '{folder}/../written.csv'",
        "attach '{folder}/../other.duckdb'",
        "install httpfs",
        "select * from read_csv('https://example.org/a.csv')",
    ],
)
def test_nothing_outside_the_allowed_folder_can_be_read_or_written(inside: Path, statement: str) -> None:
    before = sorted(inside.parent.rglob("*"))
    with database.connect(folder=inside) as connection, pytest.raises(duckdb.PermissionException):
        connection.execute(statement.format(folder=inside)).fetchall()
    assert sorted(inside.parent.rglob("*")) == before


@pytest.mark.parametrize("statement", ["set enable_external_access = true", "set allowed_directories = ['/']", "set allowed_paths = ['/etc/hosts']"])
def test_a_statement_cannot_unlock_the_connection(inside: Path, statement: str) -> None:
    with database.connect(folder=inside) as connection, pytest.raises(duckdb.InvalidInputException):
        connection.execute(statement)


def test_without_a_folder_no_file_can_be_touched(inside: Path) -> None:
    with database.connect() as connection, pytest.raises(duckdb.PermissionException):
        database.view(connection, "numbers", inside / "tables" / "numbers.parquet")


def test_a_database_s_own_folder_is_allowed_and_single_files_can_be_readable_too(inside: Path) -> None:
    with database.connect(inside / "study.duckdb", readable=[inside.parent / "secret.csv"]) as connection:
        database.view(connection, "numbers", inside / "tables" / "numbers.parquet")
        assert database.count(connection, "numbers") == 3
        assert connection.execute("select * from read_csv(?)", [str(inside.parent / "secret.csv")]).fetchall() == [("ann",)]
        with pytest.raises(duckdb.PermissionException):
            connection.execute("select * from read_csv(?)", [str(inside.parent / "inside-too" / "secret.csv")])


def test_an_attached_database_is_read_only_wherever_it_lies(tmp_path: Path) -> None:
    survey = tmp_path / "o'brien" / "survey.duckdb"
    survey.parent.mkdir()
    with database.connect(survey) as connection:
        database.load(connection, "answers", NUMBERS)
    with database.connect(attach={"survey": survey}, folder=tmp_path / "run") as connection:
        assert connection.execute("select sum(number) from survey.answers").fetchall() == [(6,)]
        for statement in ("insert into survey.answers values (4)", "create table survey.more as select 1", "drop table survey.answers"):
            with pytest.raises(duckdb.InvalidInputException, match="read-only"):
                connection.execute(statement)


@pytest.mark.parametrize("content", [None, b"this is no database" * 300], ids=["missing", "no database"])
def test_a_database_that_cannot_be_opened_is_named_with_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "survey.duckdb"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match="cannot open the database .*survey.duckdb: .*another --workspace"):
        database.connect(path, read_only=True)


# Names and relations


@pytest.mark.parametrize("name", ["plain", 'a "quoted" name', "drop table items; --", "o'brien", "select"])
def test_any_name_is_a_name_and_never_a_statement(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "it's here"
    with database.connect(folder=folder) as connection:
        assert database.load(connection, name, NUMBERS) == database.count(connection, name) == 3
        assert database.frame(connection, name)["number"].tolist() == [1, 2, 3]
        database.view(connection, f"{name} again", database.export(connection, [name], folder=folder).only())
        assert database.count(connection, f"{name} again") == 3


def test_one_sql_file_makes_one_relation_with_its_name_and_bound_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "marts").mkdir()
    (tmp_path / "marts" / "some_numbers.sql").write_text("-- one row per number\nselect number from numbers where number >= $least;\n")
    monkeypatch.setattr(database, "SQL_FOLDER", tmp_path)
    with database.connect() as connection:
        database.load(connection, "numbers", NUMBERS)
        assert database.build(connection, "marts/some_numbers", least=2) == 2
        assert database.build(connection, "marts/some_numbers", least=3) == 1, "a relation is made anew"


def test_what_data_do_to_a_relation_is_told_without_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "marts").mkdir()
    (tmp_path / "marts" / "numbers_of.sql").write_text("-- one row per text\nselect cast(answer as integer) as number from answers\n")
    monkeypatch.setattr(database, "SQL_FOLDER", tmp_path)
    with database.connect() as connection:
        database.load(connection, "answers", pd.DataFrame({"answer": ["1", "what a respondent said"]}))
        with pytest.raises(StepError, match="sql/marts/numbers_of.sql failed on its data") as raised:
            database.build(connection, "marts/numbers_of")
    assert "respondent said" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_frames_load_one_after_another_and_one_that_is_loaded_again_replaces_the_first() -> None:
    with database.connect() as connection:
        assert [database.load(connection, name, NUMBERS) for name in ("numbers", "more")] == [3, 3]
        assert database.load(connection, "numbers", NUMBERS.head(1)) == 1
        assert database.count(connection, "more") == 3


# What leaves


def test_exported_tables_are_parquet_files_with_their_hashes_and_row_counts(inside: Path) -> None:
    with database.connect(folder=inside) as connection:
        database.load(connection, "numbers", NUMBERS.head(2))
        made = database.export(connection, ["numbers"], folder=inside)
    assert made.rows == {"numbers": 2}
    assert made.holds()
    pd.testing.assert_frame_equal(made.read("numbers"), NUMBERS.head(2))


def test_a_workspace_behind_a_link_works(inside: Path) -> None:
    with database.connect(folder=inside / "way_out" / "inside") as connection:
        database.load(connection, "more", NUMBERS)
        assert database.export(connection, ["more"], folder=inside / "way_out" / "inside").holds()


def test_collect_puts_every_table_of_a_run_into_one_database_and_can_be_repeated(inside: Path) -> None:
    with database.connect(folder=inside) as connection:
        database.load(connection, "letters", pd.DataFrame({"letter": ["a"]}))
        database.export(connection, ["letters"], folder=inside)
    for _ in range(2):
        database.collect(inside)
    with database.connect(inside / "study.duckdb", read_only=True) as connection:
        assert connection.execute("select table_name from duckdb_tables() order by all").fetchall() == [("letters",), ("numbers",)]
        assert database.frame(connection, "numbers")["number"].tolist() == [1, 2, 3]
    assert sorted(path.name for path in inside.iterdir()) == ["study.duckdb", "tables", "way_out"]


@pytest.mark.parametrize(("does", "left"), [("export", []), ("collect", ["numbers.parquet"])])
def test_a_full_disk_is_one_sentence_and_exit_code_1_and_leaves_no_half_file(tmp_path: Path, does: str, left: list[str]) -> None:
    ended = subprocess.run([sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path), does], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.startswith(f"cannot write {tmp_path}")
    assert "Make room or take another --workspace" in ended.stdout
    assert len(ended.stdout.splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == left
