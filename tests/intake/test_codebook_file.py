"""A codebook of the user's: read as spreadsheets save it, and refused with the row and what to do."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import InputError
from tasks.intake.codebook import CODEBOOKS_FOLDER, load_codebook, load_codebook_file

FIRST = load_codebook(7).items["Q1"]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A codebook of the single item Q1, as shipped but for the given cells."""

    def write(*, delimiter: str = ",", encoding: str = "utf-8", **cells: str) -> Path:
        with (CODEBOOKS_FOLDER / "wave7.csv").open(encoding="utf-8", newline="") as source:
            row = {**next(csv.DictReader(source)), **cells}
        path = tmp_path / "mine.csv"
        with path.open("w", encoding=encoding, newline="") as target:
            writer = csv.DictWriter(target, list(row), delimiter=delimiter)
            writer.writeheader()
            writer.writerow(row)
        return path

    return write


@pytest.mark.parametrize("saved", [{}, {"encoding": "utf-8-sig"}, {"delimiter": ";"}, {"delimiter": ";", "encoding": "utf-8-sig"}])
def test_it_is_read_however_a_spreadsheet_saved_it(write: Write, saved: dict[str, str]) -> None:
    codebook = load_codebook_file(write(**saved))
    assert (codebook.wave, codebook.items, codebook.vocabularies) == ("mine", {"Q1": FIRST}, {})


def test_respondent_columns_are_read_from_the_file_beside_it(write: Write) -> None:
    path = write()
    alone = load_codebook_file(path)
    path.with_name("mine_respondents.csv").write_text("column,code,level,aliases\nQ260,1,Male,\nQ260,2,Female,\n", encoding="utf-8")
    both = load_codebook_file(path)
    assert both.vocabularies == {"Q260": {1: ("Male",), 2: ("Female",)}}
    assert both.content_hash != alone.content_hash


def test_a_wrong_row_is_the_users_to_mend(write: Write) -> None:
    with pytest.raises(InputError) as refusal:
        load_codebook_file(write(scale="likert"))
    assert str(refusal.value) == (
        "codebook mine.csv, row 2 (Q1): scale is 'likert', expected one of binary, nominal, ordinal. "
        "Correct the row, save mine.csv as UTF-8 CSV and try again"
    )
    assert refusal.value.exit_code == 2


def test_a_wrong_level_is_named_too(write: Write) -> None:
    path = write()
    path.with_name("mine_respondents.csv").write_text("column,code,level,aliases\nQ260,1,,\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"codebook mine_respondents\.csv, row 2 \(Q260\): column level is empty"):
        load_codebook_file(path)


@pytest.mark.parametrize("confirm", ["matched", "decide", "", "Yes, but"])
def test_a_row_that_says_neither_yes_nor_no_is_open(write: Write, confirm: str) -> None:
    with pytest.raises(InputError, match=r"mine\.csv is a draft that is not confirmed: 1 of 1 rows are open"):
        load_codebook_file(write(confirm=confirm))


@pytest.mark.parametrize("confirm", ["yes", " Yes ", "YES"])
def test_yes_is_yes_as_people_type_it(write: Write, confirm: str) -> None:
    assert list(load_codebook_file(write(confirm=confirm)).items) == ["Q1"]


def test_a_codebook_of_which_everything_is_left_out_is_refused(write: Write) -> None:
    with pytest.raises(InputError, match=r"mine\.csv has no item"):
        load_codebook_file(write(confirm="no"))


def test_a_file_that_is_not_there_or_no_text_is_the_users_to_mend(tmp_path: Path, write: Write) -> None:
    with pytest.raises(InputError, match=r"codebook none\.csv cannot be read"):
        load_codebook_file(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"codebook mine\.csv cannot be read.*save mine\.csv as UTF-8"):
        load_codebook_file(write(encoding="utf-16"))
