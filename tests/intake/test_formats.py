import zipfile
from pathlib import Path

import openpyxl
import pytest

from tasks.errors import InputError
from tasks.intake.formats import opened
from tests.intake.conftest import NUMERIC, TEXT


def rows_of(raw) -> list[dict[str, str]]:
    return raw.connection.execute("select * exclude (respondent_id) from raw_responses").df().to_dict("records")


def look_at(path: Path) -> None:
    with opened(path):
        pass


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_of_codes_is_read_as_text_whatever_its_delimiter(write_csv, delimiter):
    with opened(write_csv(NUMERIC, delimiter=delimiter)) as raw:
        assert (raw.format, raw.respondents) == ("Csv", 3)
        assert raw.headers == dict.fromkeys(NUMERIC[0], "")
        assert rows_of(raw) == NUMERIC


def test_a_csv_of_labels_keeps_its_header_labels_and_quoted_delimiters(write_csv):
    rows = [TEXT[0] | {"Q2": "No answer;SG: Refused"}, TEXT[1] | {"Q1": ""}]
    with opened(write_csv(rows, labelled=True)) as raw:
        assert raw.format == "CsvTxt"
        assert raw.headers["Q260"] == "Sex"
        assert rows_of(raw) == rows


def test_an_xlsx_of_labels_is_read_from_its_data_sheet(write_xlsx):
    with opened(write_xlsx(TEXT)) as raw:
        assert raw.format == "ExcelTxt"
        assert (raw.headers["Q1"], raw.headers["Q260"]) == ("Important in life: Family", "Sex")
        assert rows_of(raw) == TEXT


def test_numbers_of_an_xlsx_become_the_codes_they_stand_for_and_blank_rows_go(tmp_path):
    workbook = openpyxl.Workbook()
    for line in (["Q1: Family", "W_WEIGHT: Weight"], [1, 0.25], [None, None], [-2.0, 1]):
        workbook.active.append(line)
    workbook.save(tmp_path / "codes.xlsx")
    with opened(tmp_path / "codes.xlsx") as raw:
        assert raw.format == "Excel"
        assert rows_of(raw) == [{"Q1": "1", "W_WEIGHT": "0.25"}, {"Q1": "-2", "W_WEIGHT": "1"}]


def test_the_content_decides_and_not_the_name(write_csv, write_xlsx):
    with opened(write_csv(NUMERIC, name="survey.sav")) as raw:
        assert raw.format == "Csv"
    with opened(write_xlsx(TEXT, name="survey.csv")) as raw:
        assert raw.format == "ExcelTxt"


def test_a_stray_quote_in_a_cell_is_kept(write_csv):
    with opened(write_csv([TEXT[0] | {"Q262": '65 and more years"'}])) as raw:
        assert raw.cells("Q262") == ['65 and more years"']


def test_rows_keep_the_order_of_the_file_and_cells_are_counted(write_csv):
    with opened(write_csv([*NUMERIC, NUMERIC[0]])) as raw:
        rows = raw.connection.execute("select respondent_id, Q262 from raw_responses").fetchall()
        assert rows == [
            ("-1", "21"),
            ("-2", "70"),
            ("-3", "-5"),
            ("-4", "21"),
        ]
        assert raw.counts("Q260", "Q262") == [("1", "21", 2), ("2", "-5", 1), ("2", "70", 1)]


def test_the_text_of_older_programs_is_read_with_its_encoding(tmp_path):
    (tmp_path / "survey.csv").write_bytes(b"Q1 Caf\xe9;Q2\r\n1;Don\xb4t know\r\n2;\x80\r\n")
    with opened(tmp_path / "survey.csv") as raw:
        assert (raw.encoding, raw.headers["Q1"], raw.cells("Q2")) == ("Windows-1252", "Café", ["Don´t know", "€"])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\x89PNG\r\n\x1a\n0000", "found a PNG picture, expected Csv, CsvTxt, Excel, ExcelTxt, Spss, Stata or R"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html></html>", "found an HTML or XML page, expected Csv"),
        (b"$FL2@(#) IBM SPSS STATISTICS", "the Spss file cannot be read"),
        (b"<stata_dta><header>", "the Stata file cannot be read"),
        (b"\x1f\x8b\x08\x00\x00", "found a gzip file that is cut or damaged"),
        ("Q1;Q2\n".encode("utf-16"), "found a UTF-16 text"),
        (b"\x01\x00\x02\x00", "found a binary file of an unknown kind"),
        (b"name,height\nAnn,170\n", "is not a survey: found 2 columns ('name', 'height' ...), expected question codes"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b"Q1;Q260\r\n", "found 2 columns and no respondent"),
        (b"Q1;Q2;q1\r\n1;1;1\r\n", "duplicate columns Q1, q1"),
        (b"Q1;Q2\r\n1;1\r\n1\r\n", "line 3: found 1 cells, expected 2"),
        (b'Q1;Q2\r\n1;1\r\n1;"open\r\n', "line 3: the cells cannot be told apart"),
        (b"\xef\xbb\xbfQ1;Q2\r\n1;1\r\n1;Don\xb4t know\r\n", "line 3: found bytes that are not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_as_a_survey_is_refused_with_what_was_found(tmp_path, content, found):
    path = tmp_path / "survey.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        look_at(path)
    assert found in str(refusal.value)


def test_the_refusal_of_a_damaged_row_does_not_show_the_row(tmp_path):
    path = tmp_path / "survey.csv"
    path.write_text("Q1;Q2;Q3\nsecret answer;2\n")
    with pytest.raises(InputError) as refusal:
        look_at(path)
    assert "secret" not in str(refusal.value)
    assert refusal.value.__suppress_context__


def test_a_truncated_xlsx_and_a_corrupt_one_are_refused(write_xlsx, tmp_path):
    whole = write_xlsx(TEXT).read_bytes()
    (tmp_path / "cut.xlsx").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "hollow.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook")
    for name in ("cut.xlsx", "hollow.xlsx"):
        with pytest.raises(InputError, match=f"{name} is a truncated or corrupt xlsx"):
            look_at(tmp_path / name)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        look_at(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="is a directory"):
        look_at(tmp_path)
