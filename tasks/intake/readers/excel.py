"""Excel and ExcelTxt: the sheet Data of an xlsx, or else its first one.

table = read_excel(path, folder)
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from python_calamine import CalamineError, CalamineWorkbook

from tasks.errors import InputError
from tasks.intake.readers.table import ROWS_PER_BLOCK, Table, as_text, block

SHEET = "Data"


def read_excel(path: Path, folder: Path) -> Table:
    try:
        workbook = CalamineWorkbook.from_path(str(path))
        names = workbook.sheet_names
        sheet = workbook.get_sheet_by_name(SHEET if SHEET in names else names[0])
    except (CalamineError, IndexError, OSError) as error:
        raise damaged_workbook(path, str(error)) from error
    # A row in which nothing stands is no respondent.
    rows = (row for row in sheet.iter_rows() if any(cell != "" for cell in row))
    header = next(rows, None)
    if header is None:
        raise InputError(f"{path.name}: its sheet is empty, expected a header and one row per respondent. Download the file again")
    return Table([as_text(cell) for cell in header], _blocks(rows))


def damaged_workbook(path: Path, problem: str) -> InputError:
    return InputError(f"{path.name} is a truncated or corrupt xlsx: {problem}. Download or copy the file again")


def _blocks(rows: Iterator[list[Any]]) -> Iterator[pa.Table]:
    while some := list(islice(rows, ROWS_PER_BLOCK)):
        yield block(_text_column(column) for column in zip(*some, strict=True))


def _text_column(column: tuple[Any, ...]) -> pa.Array:
    return pa.array([cell if type(cell) is str else as_text(cell) for cell in column], pa.string())
