"""One survey in every format, alone and zipped: the same respondents, the same answers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rdata
from rdata.conversion.to_r import build_r_char, build_r_list, build_r_object
from rdata.parser import RObjectType

from tasks.files import FileSet
from tasks.intake.formats import opened
from tasks.intake.ingest import ingest, read_report
from tasks.study import Study
from tasks.warehouse.database import connect
from tests.intake.writers import WRITERS, of_objects, survey, zipped

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


@pytest.mark.parametrize("form", ["sav", "dta"])
def test_a_statistical_file_of_another_encoding_than_it_says_is_read_as_latin_1(form, table, tmp_path):
    _, write, file = WRITERS[form]
    path = write(table.head(3).assign(version="Cafe Munster"), tmp_path / file)
    path.write_bytes(path.read_bytes().replace(b"Cafe M", b"Caf\xe9 M").replace(b"Age; years", b"Age; ann\xe9e"))
    with opened(path) as raw:
        assert raw.headers["Q262"] == "Age; année"
        assert raw.cells("version") == ["Café Munster"]


def test_labels_of_r_are_header_labels_and_what_is_not_there_is_empty(tmp_path):
    frame = pd.DataFrame({"Q1": [1.0, np.nan], "Q262": ["a", "b"]})
    rdata.write_rds(tmp_path / "plain.rds", of_objects(frame))
    parsed = rdata.parser.parse_file(tmp_path / "plain.rds")
    name = build_r_object(RObjectType.SYM, value=build_r_char("label", encoding="utf-8"))
    label = build_r_object(RObjectType.STR, value=[build_r_char("Famille, en français", encoding="utf-8")])
    parsed.object.value[0].attributes = build_r_list([(name, label)])
    parsed.object.value[0].info.attributes = True
    rdata.unparser.unparse_file(tmp_path / "labelled.rds", parsed)
    with opened(tmp_path / "labelled.rds") as raw:
        assert raw.headers == {"Q1": "Famille, en français", "Q262": ""}
        assert raw.counts("Q1", "Q262") == [("", "b", 1), ("1", "a", 1)]
