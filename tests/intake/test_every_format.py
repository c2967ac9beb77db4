"""One survey in every format, alone and zipped: the same respondents, the same answers."""

from pathlib import Path

import pandas as pd
import pytest

from tasks.files import FileSet
from tasks.intake.formats import opened
from tasks.intake.ingest import ingest, read_report
from tasks.study import Study
from tasks.warehouse.database import connect
from tests.intake.writers import WRITERS, survey, zipped

STAGED = {
    "stg_respondents": "select * replace (split_part(respondent_id, '-', 2)::integer as respondent_id) from stg_respondents order by all",
    "stg_answers": "select * replace (split_part(respondent_id, '-', 2)::integer as respondent_id) from stg_answers order by all",
    "options": "select * from options",
    "items": "select * from items",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Enough respondents for every kind of cell; all of them are what the sample study takes in."""
    return survey(tmp_path_factory.mktemp("survey")).head(250)


def staged(path: Path, study: Study, folder: Path) -> FileSet:
    return ingest(path, section=study.survey, dimensions=study.dimensions, folder=folder)


def tables_of(files: FileSet) -> dict[str, list[tuple]]:
    with connect(files.path(next(name for name in files.files if name.endswith(".duckdb"))), read_only=True) as connection:
        return {name: connection.execute(query).fetchall() for name, query in STAGED.items()}


@pytest.fixture(scope="module")
def expected(table: pd.DataFrame, sample_study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple]]:
    folder = tmp_path_factory.mktemp("expected")
    path = folder / "survey.csv"
    table.to_csv(path, sep=";", index=False)
    return tables_of(staged(path, sample_study, folder))


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_same_respondents_and_answers_zipped_or_not(form, table, expected, sample_study, tmp_path):
    name, write, file = WRITERS[form]
    path = write(table, tmp_path / file)
    for given, folder in ((path, "alone"), (zipped(path), "zipped")):
        files = staged(given, sample_study, tmp_path / folder)
        found = tables_of(files)
        assert read_report(files)["format"] == name
        for relation, rows in expected.items():
            assert found[relation] == rows, relation
        assert len(list((tmp_path / folder).iterdir())) == 2, "what was unpacked on the way is gone"


def test_variable_labels_become_header_labels(table, tmp_path):
    for form in ("sav", "dta", "excel", "csv of labels"):
        _, write, file = WRITERS[form]
        with opened(write(table.head(3), tmp_path / file)) as raw:
            assert (raw.headers["Q260"], raw.headers["Q262"]) == ("Sex", "Age; years")


def test_a_file_of_several_blocks_keeps_the_order_and_number_of_its_rows(table, tmp_path, monkeypatch):
    for module in ("excel", "statistical"):
        monkeypatch.setattr(f"tasks.intake.readers.{module}.ROWS_PER_BLOCK", 7)
    few = table.head(21)
    for form in ("sav", "zsav", "dta", "excel"):
        _, write, file = WRITERS[form]
        with opened(write(few, tmp_path / file)) as raw:
            rows = raw.connection.execute("select respondent_id, D_INTERVIEW from raw_responses").fetchall()
        assert rows == [(f"-{number}", cell) for number, cell in enumerate(few["D_INTERVIEW"], start=1)]
