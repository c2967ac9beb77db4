"""Excel and ExcelTxt: the sheet Data of an xlsx, or else its first one.

table = read_excel(path, folder)
"""

import re
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from python_calamine import CalamineError, CalamineWorkbook

from tasks.errors import InputError
from tasks.intake.readers.archive import UNREADABLE, check_sizes
from tasks.intake.readers.table import ROWS_PER_BLOCK, Table, as_text, block

SHEET = "Data"
MOST_CELLS = 100_000_000
CHUNK_BYTES, OVERLAP = 4 << 20, 64
# A cell outside of ZZ99999, which is far from a survey's last; and every cell, where there is such a one.
FAR_CELL = re.compile(rb"=\s*[\"'](?:[A-Z]{3,4}\d{1,8}|[A-Z]{1,2}\d{6,8})[\"']")
CELL = re.compile(rb"=\s*[\"']([A-Z]{1,4})(\d{1,8})[\"']")
NEVER_IN_A_WORKBOOK = b"<!DOCTYPE"  # without which no entity can be defined


def read_excel(path: Path, folder: Path) -> Table:
    _check_parts(path)
    try:
        workbook = CalamineWorkbook.from_path(str(path))
        names = workbook.sheet_names
        sheet = workbook.get_sheet_by_name(SHEET if SHEET in names else names[0])
    except (CalamineError, IndexError, OSError) as error:
        raise _damaged(path, str(error)) from error
    # A row in which nothing stands is no respondent.
    rows = (row for row in sheet.iter_rows() if any(cell != "" for cell in row))
    header = next(rows, None)
    if header is None:
        raise InputError(f"{path.name}: its sheet is empty, expected a header and one row per respondent. Download the file again")
    return Table([as_text(cell) for cell in header], _blocks(rows))


def _check_parts(path: Path) -> None:
    """The reader makes room for a sheet's whole rectangle, so that two cells far apart fill the memory: they are looked for first."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_sizes(archive, path)
            for name in archive.namelist():
                if name.endswith(".xml"):
                    with archive.open(name) as part:
                        _check_part(part, path, sheet=name.startswith("xl/worksheets/"))
    except UNREADABLE as error:
        raise _damaged(path, str(error)) from error


def _check_part(part: IO[bytes], path: Path, *, sheet: bool) -> None:
    far, columns, rows, rest = False, 702, 99_999, b""
    while chunk := part.read(CHUNK_BYTES):
        text = rest + chunk
        if NEVER_IN_A_WORKBOOK in text:
            raise InputError(f"{path.name}: the workbook defines entities (<!DOCTYPE>), which Excel never does. Download the file again")
        if sheet and (far or FAR_CELL.search(text)):
            far = True
            cells = CELL.findall(text)
            columns = max([columns, *(_column_number(letters) for letters in {letters for letters, _ in cells})])
            rows = max([rows, *(int(row) for row in {row for _, row in cells})])
        rest = text[-OVERLAP:]
    if columns * rows > MOST_CELLS:
        raise InputError(
            f"{path.name}: its sheet spans {rows:,} rows x {columns:,} columns, more than any survey. Clear stray cells, or give the Csv"
        )


def _column_number(letters: bytes) -> int:
    """27 for AA."""
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number


def _damaged(path: Path, problem: str) -> InputError:
    return InputError(f"{path.name} is a truncated or corrupt xlsx: {problem}. Download or copy the file again")


def _blocks(rows: Iterator[list[Any]]) -> Iterator[pa.Table]:
    while some := list(islice(rows, ROWS_PER_BLOCK)):
        yield block(_text_column(column) for column in zip(*some, strict=True))


def _text_column(column: tuple[Any, ...]) -> pa.Array:
    """Text exports hold nothing but text, which Arrow takes as it is."""
    try:
        return pa.array(column, pa.string())
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.array([cell if type(cell) is str else as_text(cell) for cell in column], pa.string())
