"""Format readers: a survey file, whatever its name, becomes a table of text cells.

    raw = read_survey(Path("F00013339-WVS_Wave_7_Nowhere_ExcelTxt_v5.0.xlsx"))
    raw.format          # 'ExcelTxt': Csv and Excel hold codes, CsvTxt and ExcelTxt labels
    raw.headers["Q260"] # 'Sex', or '' where the file has bare codes
    raw.frame           # pandas: one column per code, every cell a string, '' where nothing stands

The format is sniffed from the content. Another one needs a line in SIGNATURES and a function in READERS.
"""

import codecs
import csv
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd
from python_calamine import CalamineError, CalamineWorkbook

from tasks.errors import InputError
from tasks.warehouse.database import connect

SNIFFED_BYTES = 1 << 16
HEADER_BYTES = 1 << 20
SHEET = "Data"
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
NUMBER = re.compile(r"\s*-?\d+([.,]\d+)?\s*|\s*")


class RawSurvey(NamedTuple):
    """A file as it was read: `headers` maps a column's code to its label ('' if none); every cell of `frame` is a string."""

    path: Path
    format: str
    headers: dict[str, str]
    frame: pd.DataFrame


class Table(NamedTuple):
    """What a format reader returns: the header row as it stands, and text cells."""

    header: list[str]
    columns: list[Iterable[str]]


def read_survey(path: Path) -> RawSurvey:
    """Read a survey file of any known format.

    Raises InputError for a file that is missing, empty, damaged, of another format, without survey columns or with duplicate ones.
    """
    container = readable_format(path)
    table = READERS[container](path)
    headers = _headers(table.header, path=path)
    frame = pd.DataFrame(dict(zip(headers, table.columns, strict=True)), dtype="str")
    if frame.empty:
        raise InputError(f"{path.name}: found {len(headers)} columns and no respondent, expected one row per respondent. Download the file again")
    return RawSurvey(path, _official_format(container, headers=headers, frame=frame), headers, frame)


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
        raise _damaged_workbook(path, f"its end is missing ({error})") from error
    return "xlsx" if "xl/workbook.xml" in names else "a zip archive (unpack it first)"


def _damaged_workbook(path: Path, problem: str) -> InputError:
    return InputError(f"{path.name} is a truncated or corrupt xlsx: {problem}. Download or copy the file again")


def read_csv(path: Path) -> Table:
    """Csv and CsvTxt, with `,` or `;` between cells. DuckDB sees that file's folder and nothing else."""
    header, delimiter, lines = _csv_header(path)
    with connect(folder=path.resolve().parent) as connection:
        try:
            cells = connection.execute(
                """select * from read_csv(
                    $path, columns = $columns, delim = $delimiter, skip = $lines, header = false, auto_detect = false,
                    quote = '"', escape = '"', max_line_size = 8388608
                )""",
                {
                    "path": str(path.resolve()),
                    "columns": {f"column{number}": "VARCHAR" for number in range(len(header))},
                    "delimiter": delimiter,
                    "lines": lines,
                },
            ).df()
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            raise _damaged_csv(path, str(error)) from None  # DuckDB's message quotes the respondent's row
    return Table(header, [cells[column].fillna("") for column in cells.columns])


def _csv_header(path: Path) -> tuple[list[str], str, int]:
    """The header's cells, the delimiter, and how many lines the header takes."""
    with path.open("rb") as source:
        text = source.read(HEADER_BYTES).removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace")
    lines = text.splitlines(keepends=True)
    delimiter = max(";,\t", key=lines[0].count)
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        header = next(reader)
    except csv.Error as error:
        raise InputError(f"{path.name}: its first line is no header of a survey file ({error}). {WHAT_TO_DO}") from error
    if not any(header):
        raise InputError(f"{path.name}: its first line is blank, expected the names of the columns. It is no survey file, or was edited")
    return header, delimiter, reader.line_num


def _damaged_csv(path: Path, message: str) -> InputError:
    line = re.search(r"Line: (\d+)", message)
    place = f"{path.name}, line {line[1]}" if line else path.name
    counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if counts:
        return InputError(f"{place}: found {counts[2]} cells, expected {counts[1]} as in the header. The file is cut or damaged: download it again")
    if "unicode" in message or "utf-8" in message.lower():
        return InputError(f"{place}: found bytes that are not UTF-8, expected a UTF-8 text. Save the file as UTF-8, or give the ExcelTxt export")
    return InputError(f"{place}: the cells cannot be told apart, expected one row per respondent with closed quotes. Download the file again")


def read_xlsx(path: Path) -> Table:
    """Excel and ExcelTxt: the sheet Data, or else the first one."""
    try:
        workbook = CalamineWorkbook.from_path(str(path))
        names = workbook.sheet_names
        rows = workbook.get_sheet_by_name(SHEET if SHEET in names else names[0]).to_python()
    except (CalamineError, IndexError, OSError) as error:
        raise _damaged_workbook(path, str(error)) from error
    if not rows:
        raise InputError(f"{path.name}: its sheet is empty, expected a header and one row per respondent. Download the file again")
    header = [_as_text(cell) for cell in rows[0]]
    filled = [row for row in rows[1:] if any(cell != "" for cell in row)]
    columns: list[Iterable[str]] = [[cell if type(cell) is str else _as_text(cell) for cell in column] for column in zip(*filled, strict=True)]
    return Table(header, columns or [[] for _ in header])


def _as_text(cell: Any) -> str:
    """Excel has one kind of number: 7.0 is the code 7."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


READERS: dict[str, Callable[[Path], Table]] = {"csv": read_csv, "xlsx": read_xlsx}


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


def _official_format(container: str, *, headers: dict[str, str], frame: pd.DataFrame) -> str:
    """Csv, CsvTxt, Excel or ExcelTxt: the Txt exports answer in labels."""
    questions = [code for code in headers if QUESTION.fullmatch(code)]
    labels = any(not NUMBER.fullmatch(cell) for code in questions for cell in frame[code].unique())
    return {"csv": "Csv", "xlsx": "Excel"}[container] + ("Txt" if labels else "")
