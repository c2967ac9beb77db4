"""Format readers: a survey file, whatever its name, becomes a table of text cells in DuckDB.

    with opened(Path("F00013339-WVS_Wave_7_Nowhere_ExcelTxt_v5.0.xlsx")) as raw:
        raw.format          # 'ExcelTxt': Csv and Excel hold codes, CsvTxt and ExcelTxt labels
        raw.headers["Q260"] # 'Sex', or '' where the file has bare codes
        raw.counts("Q260")  # [('Female', 1053), ('Male', 959)]

The format is sniffed from the content. Another one needs a line in SIGNATURES and a reader in READERS.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from tasks.errors import InputError
from tasks.intake.headers import FORMATS, QUESTION, WHAT_TO_DO, understood
from tasks.intake.raw import RawSurvey, store
from tasks.intake.readers.archive import check_archive, unpack
from tasks.intake.readers.delimited import damaged, read_delimited
from tasks.intake.readers.excel import read_excel
from tasks.intake.readers.r_data import read_r
from tasks.intake.readers.statistical import read_spss, read_stata
from tasks.intake.readers.table import Table
from tasks.intake.sniff import CSV, SPSS, STATA, XLSX, ZIP, R, sniff
from tasks.warehouse.database import connect

READERS: dict[str, Callable[[Path, Path], Table]] = {
    CSV: read_delimited,
    XLSX: read_excel,
    SPSS: read_spss,
    STATA: read_stata,
    R: read_r,
}
MEMORY = "2GiB"  # of DuckDB, past which it works on disk
OFFICIAL_NAMES = {CSV: "Csv", XLSX: "Excel", SPSS: "Spss", STATA: "Stata", R: "R"}
NUMBER = re.compile(r"\s*-?(\d+([.,]\d*)?|[.,]\d+)(e[-+]?\d+)?\s*|\s*", re.IGNORECASE)


@contextmanager
def opened(path: Path) -> Iterator[RawSurvey]:
    """A survey for a look: its database is in a private temporary folder that goes when the look ends. Raises InputError as read_survey does."""
    readable_format(path)
    with TemporaryDirectory(prefix="valuescape-") as name, connect(Path(name) / "survey.duckdb", readable=[path]) as connection:
        yield read_survey(path, connection=connection, folder=Path(name))


def read_survey(path: Path, *, connection: duckdb.DuckDBPyConnection, folder: Path, file: str = "") -> RawSurvey:
    """Read a survey file of any known format into the table raw_responses of `connection`, which can read `path` and `folder`; respondents are
    known by `file` and their row, and what has to be written on the way is written into `folder` and removed.

    Raises InputError for a file that is missing, empty, damaged, of another format, without survey columns or with duplicate ones.
    """
    connection.execute(f"set memory_limit = '{MEMORY}'")
    with TemporaryDirectory(prefix=".reading-", dir=folder) as name:
        container, found = _unzipped(path, Path(name))
        table = READERS[container](found, Path(name))
        headers = understood(table.header, name=path.name)
        try:
            respondents = store(connection, table.cells, codes=list(headers), file=file, label=f"reading {path.name}")
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            raise damaged(path, str(error)) from None  # DuckDB's message quotes the respondent's row
    if not respondents:
        raise InputError(f"{path.name}: found {len(headers)} columns and no respondent, expected one row per respondent. Download the file again")
    raw = RawSurvey(path, container, table.encoding, headers, respondents, connection)
    return raw._replace(format=_official_format(raw))


def readable_format(path: Path) -> str:
    """What `path` is: a key of READERS, or a zip with one survey file. Raises InputError for a file that no reader takes."""
    container = sniff(path)
    if container == ZIP:
        check_archive(path)
    elif container not in READERS:
        raise InputError(f"{path.name}: found {container}, expected {FORMATS}. {WHAT_TO_DO}")
    return container


def _unzipped(path: Path, folder: Path) -> tuple[str, Path]:
    """The format and the file itself, or those of the survey in the zip."""
    container = readable_format(path)
    if container != ZIP:
        return container, path
    survey = unpack(path, folder)
    container = sniff(survey)
    if container not in READERS:
        what = "another zip" if container == ZIP else container
        raise InputError(f"{path.name}: found {what} in the zip, expected a survey file. Unpack it and give the survey file in it")
    return container, survey


def _official_format(raw: RawSurvey) -> str:
    """The official download that the file is. Of text and sheets, the Txt exports answer in labels."""
    name = OFFICIAL_NAMES[raw.format]
    if raw.format not in (CSV, XLSX):
        return name
    questions = [code for code in raw.headers if QUESTION.fullmatch(code)]
    labels = any(not NUMBER.fullmatch(cell) for code in questions for cell in raw.cells(code))
    return f"{name}Txt" if labels else name
