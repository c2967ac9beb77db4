"""Format readers: a survey file, whatever its name, becomes a table of text cells in DuckDB.

    with opened(Path("F00013339-WVS_Wave_7_Nowhere_ExcelTxt_v5.0.xlsx")) as raw:
        raw.format          # 'ExcelTxt': Csv and Excel hold codes, CsvTxt and ExcelTxt labels
        raw.headers["Q260"] # 'Sex', or '' where the file has bare codes
        raw.counts("Q260")  # [('Female', 1053), ('Male', 959)]

The format is sniffed from the content. Another one needs a line in SIGNATURES and a reader in READERS.
"""

import codecs
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from tasks.errors import InputError
from tasks.intake.raw import RawSurvey, store
from tasks.intake.readers.delimited import damaged, read_delimited
from tasks.intake.readers.excel import damaged_workbook, read_excel
from tasks.intake.readers.table import Table
from tasks.warehouse.database import connect

SNIFFED_BYTES = 1 << 16
WHAT_TO_DO = "Export the survey as Csv or ExcelTxt (the official downloads offer both) and give that file"

# What a file starts with, and what that makes it. A zip is an xlsx when it holds a workbook.
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"$FL2", "an SPSS file (.sav)"),
    (b"$FL3", "a compressed SPSS file (.zsav)"),
    (b"<stata_dta>", "a Stata file (.dta)"),
    (b"\x71\x01", "a Stata file (.dta)"),
    (b"\x71\x02", "a Stata file (.dta)"),
    (b"\x72\x01", "a Stata file (.dta)"),
    (b"\x72\x02", "a Stata file (.dta)"),
    (b"\x73\x01", "a Stata file (.dta)"),
    (b"\x73\x02", "a Stata file (.dta)"),
    (b"RDX", "an R data file (.rdata)"),
    (b"\x1f\x8b", "a gzip file (R's .rds and .rdata are such files)"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"PAR1", "a Parquet file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (.xls)"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\xff\xfe", "a UTF-16 text"),
    (b"\xfe\xff", "a UTF-16 text"),
)
# Q-codes (waves 7 and 8), V-codes (waves 4 to 6), integrated codes (time series).
QUESTION = re.compile(r"(Q\d{1,3}|V\d{1,3}|[A-HXY]\d{3})[A-Z]?")
HEADER = re.compile(r"(?P<code>[A-Za-z_][\w.]*)\s*(?::\s*|\s|$)(?P<label>.*)", re.DOTALL)
NUMBER = re.compile(r"\s*-?(\d+([.,]\d*)?|[.,]\d+)(e[-+]?\d+)?\s*|\s*", re.IGNORECASE)


@contextmanager
def opened(path: Path) -> Iterator[RawSurvey]:
    """A survey for a look: its database is in a private temporary folder that goes when the look ends. Raises InputError as read_survey does."""
    with TemporaryDirectory(prefix="valuescape-") as name, connect(Path(name) / "survey.duckdb", readable=[path]) as connection:
        yield read_survey(path, connection=connection, folder=Path(name))


def read_survey(path: Path, *, connection: duckdb.DuckDBPyConnection, folder: Path, file: str = "") -> RawSurvey:
    """Read a survey file of any known format into the table raw_responses of `connection`, which can read `path` and `folder`; respondents are
    known by `file` and their row, and what has to be written on the way is written into `folder` and removed.

    Raises InputError for a file that is missing, empty, damaged, of another format, without survey columns or with duplicate ones.
    """
    container = readable_format(path)
    with TemporaryDirectory(prefix=".reading-", dir=folder) as scratch:
        table = READERS[container](path, Path(scratch))
        headers = _headers(table.header, path=path)
        try:
            respondents = store(connection, table.cells, codes=list(headers), file=file)
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            raise damaged(path, str(error)) from None  # DuckDB's message quotes the respondent's row
    if not respondents:
        raise InputError(f"{path.name}: found {len(headers)} columns and no respondent, expected one row per respondent. Download the file again")
    raw = RawSurvey(path, container, table.encoding, headers, respondents, connection)
    return raw._replace(format=_official_format(raw))


def readable_format(path: Path) -> str:
    """The key of READERS for a file, by its first bytes. Raises InputError for a file that no reader takes."""
    container = sniff(path)
    if container not in READERS:
        raise InputError(f"{path.name}: found {container}, expected Csv or ExcelTxt. {WHAT_TO_DO}")
    return container


def sniff(path: Path) -> str:
    """'csv' or 'xlsx' by content; else what the file is, in words."""
    start = _first_bytes(path)
    for signature, found in SIGNATURES:
        if start.startswith(signature):
            return _sniff_zip(path) if found == "zip" else found
    if start.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<":
        return "an HTML or XML page"
    # Texts in another encoding than UTF-8 pass here, so that read_csv can name the line.
    return "a binary file of an unknown kind" if b"\0" in start else "csv"


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is a directory, expected one survey file. Give the path of the file in it")
    try:
        with path.open("rb") as source:
            start = source.read(SNIFFED_BYTES)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist. Check the spelling of the path") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check its permissions") from error
    if not start.removeprefix(codecs.BOM_UTF8).strip():
        raise InputError(f"{path.name} is empty, expected a survey file. Download it again")
    return start


def _sniff_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise damaged_workbook(path, f"its end is missing ({error})") from error
    return "xlsx" if "xl/workbook.xml" in names else "a zip archive (unpack it first)"


READERS: dict[str, Callable[[Path, Path], Table]] = {"csv": read_delimited, "xlsx": read_excel}


def _headers(cells: list[str], *, path: Path) -> dict[str, str]:
    """Code -> label, from `Q260`, `Q260 Sex` or `Q260: Sex`."""
    pairs = [_code_and_label(cell, number=number) for number, cell in enumerate(cells, start=1)]
    codes = [code for code, _ in pairs]
    if not any(QUESTION.fullmatch(code) for code in codes):
        shown = ", ".join(repr(code[:20]) for code in codes[:5])
        raise InputError(f"{path.name} is not a survey: found {len(codes)} columns ({shown} ...), expected question codes such as Q1. {WHAT_TO_DO}")
    # DuckDB's column names ignore case, so ours must differ in more.
    repeated = {code for code, times in Counter(code.casefold() for code in codes).items() if times > 1}
    if repeated:
        shown = ", ".join(sorted({code for code in codes if code.casefold() in repeated}))
        raise InputError(f"{path.name}: duplicate columns {shown}, expected every code once. Remove the copies, or download the file again")
    return dict(pairs)


def _code_and_label(cell: str, *, number: int) -> tuple[str, str]:
    match = HEADER.fullmatch(cell.strip())
    if match is None:
        return (cell.strip() or f"unnamed_{number}"), ""
    return match["code"], match["label"].strip()


def _official_format(raw: RawSurvey) -> str:
    """Csv, CsvTxt, Excel or ExcelTxt: the Txt exports answer in labels."""
    questions = [code for code in raw.headers if QUESTION.fullmatch(code)]
    labels = any(not NUMBER.fullmatch(cell) for code in questions for cell in raw.cells(code))
    return {"csv": "Csv", "xlsx": "Excel"}[raw.format] + ("Txt" if labels else "")
