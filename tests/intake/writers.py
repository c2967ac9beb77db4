"""The synthetic survey in every format that the official downloads have, with labels that the codebook knows.

path = write("ExcelTxt", survey(), folder)      # a key of WRITERS
path = zipped(path)
"""

import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import openpyxl
import pandas as pd
import pyreadstat
import rdata

from tasks.intake.codebook import load_codebook
from tasks.intake.synthetic import write_synthetic_survey

MISSING = {-1: "Don´t know", -2: "No answer{NA}", -3: "Not applicable", -4: "Not asked", -5: "Missing; Unknown"}
LABELS = {"Q260": "Sex", "Q262": "Age; years", "Q289": 'Religious "denomination", major groups', "B_COUNTRY_ALPHA": "Country"}
TEXTS = ("version", "doi", "B_COUNTRY_ALPHA")

Writer = Callable[[pd.DataFrame, Path], Path]


def survey(folder: Path) -> pd.DataFrame:
    """Every cell of the synthetic survey as text."""
    return pd.read_csv(write_synthetic_survey(folder), sep=";", dtype=str, encoding="utf-8-sig", keep_default_na=False)


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{code: pd.to_numeric(table[code]) for code in table if code not in TEXTS})


@cache
def value_labels() -> dict[str, dict[int, str]]:
    """Column -> code -> the label of the official files."""
    codebook = load_codebook(7)
    items = {code: {option.code: option.label for option in (*item.options, *item.off_scale)} for code, item in codebook.items.items()}
    return items | {column: {code: texts[0] for code, texts in levels.items()} for column, levels in codebook.vocabularies.items()}


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """Codes as the Txt exports write them; a code without a label stays."""
    known = {code: {str(number): label for number, label in (MISSING | value_labels()[code]).items()} for code in table if code in value_labels()}
    return table.assign(**{code: table[code].map(lambda cell, texts=texts: texts.get(cell, cell)) for code, texts in known.items()})


def headers(table: pd.DataFrame, separator: str) -> list[str]:
    return [f"{code}{separator}{LABELS.get(code, code)}" for code in table]


def csv_of_codes(delimiter: str) -> Writer:
    def write(table: pd.DataFrame, path: Path) -> Path:
        table.to_csv(path, sep=delimiter, index=False, encoding="utf-8-sig", lineterminator="\r\n")
        return path

    return write


def csv_of_labels(table: pd.DataFrame, path: Path) -> Path:
    labelled(table).to_csv(path, sep=";", index=False, header=headers(table, " "), encoding="utf-8-sig", lineterminator="\r\n")
    return path


def csv_of_an_older_program(table: pd.DataFrame, path: Path) -> Path:
    """Windows-1252, and a comma in the weights."""
    commas = labelled(table).assign(W_WEIGHT=table["W_WEIGHT"].str.replace("0.", ",", regex=False).str.replace(".", ",", regex=False))
    commas.to_csv(path, sep=";", index=False, encoding="cp1252", lineterminator="\r\n")
    return path


def workbook(header: list[str], rows: pd.DataFrame, path: Path) -> Path:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Data")
    sheet.append(header)
    for row in rows.itertuples(index=False):
        sheet.append(list(row))
    book.save(path)
    return path


def excel(table: pd.DataFrame, path: Path) -> Path:
    return workbook(headers(table, ": "), numbers(table), path)


def excel_of_labels(table: pd.DataFrame, path: Path) -> Path:
    return workbook(headers(table, ": "), labelled(table), path)


def spss(table: pd.DataFrame, path: Path, *, compress: bool = False) -> Path:
    values = numbers(table)
    ranges = {code: [{"lo": -5.0, "hi": -1.0}] for code in values if code not in TEXTS}
    labels = {code: MISSING | known for code, known in value_labels().items() if code in values}
    pyreadstat.write_sav(values, path, column_labels=LABELS, variable_value_labels=labels, missing_ranges=ranges, compress=compress)
    return path


def zsav(table: pd.DataFrame, path: Path) -> Path:
    return spss(table, path, compress=True)


def stata(table: pd.DataFrame, path: Path) -> Path:
    labels = {code: MISSING | known for code, known in value_labels().items() if code in table}
    pyreadstat.write_dta(numbers(table), path, column_labels=LABELS, variable_value_labels=labels)
    return path


def stata_in_lower_case(table: pd.DataFrame, path: Path) -> Path:
    pyreadstat.write_dta(numbers(table).rename(columns=str.lower), path)
    return path


def of_objects(table: pd.DataFrame) -> pd.DataFrame:
    """The package knows no other kind of text column."""
    return table.astype({code: object for code in table if table[code].dtype == "str"})


def rds(table: pd.DataFrame, path: Path) -> Path:
    rdata.write_rds(path, of_objects(numbers(table)))
    return path


def rds_of_factors(table: pd.DataFrame, path: Path) -> Path:
    texts = of_objects(labelled(table))
    rdata.write_rds(path, texts.assign(**{code: pd.Categorical(texts[code]) for code in value_labels() if code in texts}), compression="xz")
    return path


def rdata_file(table: pd.DataFrame, path: Path) -> Path:
    rdata.write_rda(path, {"WVS_Wave_7_Nowhere_v5_0": of_objects(numbers(table))}, compression="bzip2")
    return path


# The official name of the format, what makes the file, and what it is called.
WRITERS: dict[str, tuple[str, Writer, str]] = {
    "csv ;": ("Csv", csv_of_codes(";"), "survey.csv"),
    "csv ,": ("Csv", csv_of_codes(","), "survey.csv"),
    "csv tab": ("Csv", csv_of_codes("\t"), "survey.csv"),
    "csv of labels": ("CsvTxt", csv_of_labels, "survey.csv"),
    "csv of an older program": ("CsvTxt", csv_of_an_older_program, "survey.csv"),
    "excel": ("Excel", excel, "survey.xlsx"),
    "excel of labels": ("ExcelTxt", excel_of_labels, "survey.xlsx"),
    "sav": ("Spss", spss, "survey.sav"),
    "zsav": ("Spss", zsav, "survey.zsav"),
    "dta": ("Stata", stata, "survey.dta"),
    "dta in lower case": ("Stata", stata_in_lower_case, "survey.dta"),
    "rds": ("R", rds, "survey.rds"),
    "rds of factors": ("R", rds_of_factors, "survey.rds"),
    "rdata": ("R", rdata_file, "survey.RData"),
}


def zipped(path: Path) -> Path:
    """As the official site has it: in a folder, with a note beside it."""
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, f"WVS_Wave_7/{path.name}")
        archive.writestr("WVS_Wave_7/README.txt", "What this is, in words; Q1 is one of its columns.\n")
        archive.writestr("__MACOSX/._survey.csv", b"\0\5\26\7")
    return path.with_suffix(".zip")
