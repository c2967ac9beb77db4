import json

import pytest
from rich.console import Console

from tasks.errors import InputError
from tasks.intake.codebook import CODEBOOKS_FOLDER
from tasks.intake.inspection import describe, inspect_survey
from tests.intake.conftest import NUMERIC, TEXT

pytestmark = pytest.mark.usefixtures("codebook")


def printed(inspection) -> str:
    console = Console(width=100, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        console.print(describe(inspection))
    return capture.get()


def test_a_survey_is_described_without_its_rows(write_csv):
    path = write_csv([*NUMERIC, NUMERIC[0] | {"Q1": "Allways", "Q2": "-2"}])
    found = inspect_survey(path).to_json()
    assert found.pop("size_bytes") == path.stat().st_size
    assert found == {
        "file": "survey.csv",
        "format": "CsvTxt",
        "encoding": "UTF-8",
        "columns": 12,
        "respondents": 4,
        "wave": 7,
        "version": "SYNTHETIC 1",
        "synthetic": True,
        "countries": {"SGP": {"name": "Singapore", "year": 2020, "respondents": 4}},
        "weight_column": "W_WEIGHT",
        "dimensions": {"sex": "Q260", "age": "Q262", "ethnicity": "Q290", "religion": "Q289"},
        "items_known": ("Q1", "Q2", "Q48"),
        "items_unknown": (),
        "items_absent": ("Q99",),
        "mapped_by": {"code": 8, "missing": 3, "unknown": 1},
        "missing": {"Q2": {"dont_know": 1, "no_answer": 1}, "Q48": {"no_answer": 1}},
        "unknown_labels": ({"item": "Q1", "label": "Allways", "respondents": 1},),
        "can_be_studied": True,
        "reasons": (),
        "notes": ("Q1: 25.0% of the answers are not understood, and a study stops above 0.5%",),
    }
    assert json.loads(json.dumps(found))["items_known"] == ["Q1", "Q2", "Q48"]


def test_country_extras_are_unknown_items_and_background_questions_are_not(write_csv):
    inspection = inspect_survey(write_csv([row | {"Q82_ASEAN": "1", "Q33_3": "1"} for row in NUMERIC]))
    assert inspection.items_unknown == ("Q82_ASEAN", "Q33_3")


def test_what_a_study_will_need_is_noted(write_csv):
    rows = [{key: cell for key, cell in row.items() if key not in ("W_WEIGHT", "Q290")} for row in (TEXT[0], *NUMERIC)]
    inspection = inspect_survey(write_csv(rows))
    assert inspection.can_be_studied
    assert inspection.notes == (
        "no weight column W_WEIGHT: set survey.weight to none in the study; its shares will be unweighted",
        "2 countries: choose with --country (repeated for several, or ALL)",
        "no column for ethnicity (Q290): a study must leave these dimensions out",
    )


def test_a_survey_of_another_wave_is_described_with_the_reason_why_it_cannot_be_studied(write_csv):
    inspection = inspect_survey(write_csv([NUMERIC[0] | {"A_YEAR": "2025"}]))
    assert not inspection.can_be_studied
    assert "a later wave numbers its questions anew" in inspection.reasons[0]
    assert "This file cannot be studied: not wave 7: A_YEAR holds '2025'" in printed(inspection)


def test_a_file_without_any_item_of_the_codebook_cannot_be_studied(write_csv):
    rows = [{key: cell for key, cell in row.items() if key not in ("Q1", "Q2", "Q48")} | {"Q5": "1"} for row in NUMERIC]
    assert inspect_survey(write_csv(rows)).reasons == ("none of the 4 items of the codebook of wave 7 is in the file",)


def test_a_file_that_is_no_survey_is_refused(tmp_path):
    (tmp_path / "page.csv").write_text("<html></html>")
    with pytest.raises(InputError, match="found an HTML or XML page"):
        inspect_survey(tmp_path / "page.csv")


def test_the_terminal_shows_file_items_missing_answers_and_unknown_labels(write_xlsx):
    text = printed(inspect_survey(write_xlsx([*TEXT, TEXT[0] | {"Q1": "Allways", "Q2": "No answer"}])))
    for line in (
        "ExcelTxt, 3 respondents x 12 columns",
        "USA the United States, 2017: 3 respondents",
        "3 of 4 in the codebook",
        "dont_know 1, no_answer 1",
        "'Allways'",
        "This file can be studied.",
    ):
        assert line in text


def test_a_file_of_a_later_wave_is_described_by_a_codebook_of_the_users(write_csv, tmp_path):
    path = write_csv([row | {"A_YEAR": "2025"} for row in NUMERIC])
    book = tmp_path / "mine.csv"
    book.write_bytes((CODEBOOKS_FOLDER / "wave7.csv").read_bytes())
    inspection = inspect_survey(path, codebook=book)
    assert (inspection.can_be_studied, inspection.wave, inspection.items_known) == (True, 8, ("Q1", "Q2", "Q48"))
    assert "mapped by  the code 6, a missing code 2, not mapped 1" in printed(inspection)
    assert not inspect_survey(write_csv(NUMERIC), codebook=book).can_be_studied


def test_what_would_stop_a_study_is_noted(write_csv):
    rows = [row | {"W_WEIGHT": weight, "Q289": "77"} for row, weight in zip(NUMERIC, ("0", "1.5", "No weighting"), strict=True)]
    notes = inspect_survey(write_csv(rows)).notes
    assert "Q289 (religion): 100.0% of the answers are not understood, and a study stops above 0.5%" in notes
    assert "W_WEIGHT: 1 weights are no positive numbers; their respondents are left out" in notes
