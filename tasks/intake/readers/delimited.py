"""Csv and CsvTxt, with `;`, `,` or tab between cells: DuckDB reads the rows, Python the header only.

table = read_delimited(path, folder)    # a text that is not UTF-8 is rewritten into `folder` first
"""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.errors import InputError
from tasks.intake.headers import WHAT_TO_DO
from tasks.intake.raw import Cells
from tasks.intake.readers.table import Table
from tasks.warehouse.database import literal

HEADER_BYTES = 1 << 20
CHUNK_BYTES = 1 << 20
LINE_BYTES = 1 << 23
UTF_8 = "UTF-8"
# What Windows wrote before UTF-8, and what else leaves no byte without a letter.
OLDER = {"cp1252": "Windows-1252", "latin-1": "Latin-1"}


class _Header(NamedTuple):
    """`lines`: how many lines of the file it takes."""

    cells: list[str]
    delimiter: str
    lines: int


def read_delimited(path: Path, folder: Path) -> Table:
    """The header and a query for the rows. Raises InputError for a text that is no table."""
    encoding, readable = _as_utf_8(path, folder)
    header = _read_header(readable, name=path.name)
    names = [f"column{number}" for number in range(len(header.cells))]
    options = {
        "columns": "{" + ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names) + "}",
        "force_not_null": f"[{', '.join(map(literal, names))}]",
        "delim": literal(header.delimiter),
        "skip": header.lines,
        "max_line_size": LINE_BYTES,
    }
    fixed = """header = false, auto_detect = false, quote = '"', escape = '"'"""
    settings = ", ".join([fixed, *(f"{name} = {value}" for name, value in options.items())])
    return Table(header.cells, Cells(f"select * from read_csv({literal(readable.resolve())}, {settings})"), encoding)


def _as_utf_8(path: Path, folder: Path) -> tuple[str, Path]:
    """The file's encoding, and the file or its copy as UTF-8, the only one that DuckDB reads by itself."""
    if _is_utf_8(path):
        return UTF_8, path
    for codec, name in OLDER.items():
        try:
            return name, _rewritten(path, folder, codec=codec)
        except UnicodeDecodeError:
            continue
    raise AssertionError("Latin-1 has a letter for every byte")


def _is_utf_8(path: Path) -> bool:
    """Raises InputError for a text that says UTF-8 and is not, that ends within a letter, or that holds NUL bytes."""
    decoder, valid, lines = codecs.getincrementaldecoder("utf-8")(), True, 1
    for chunk in _chunks(path):
        if b"\0" in chunk:
            place = lines + chunk[: chunk.index(b"\0")].count(b"\n")
            raise InputError(f"{path.name}, line {place}: found a NUL byte, expected text. The file is damaged: download or export it again")
        try:
            if valid:
                decoder.decode(chunk)
        except UnicodeDecodeError as error:
            if _says_utf_8(path):
                raise _not_utf_8(path, lines + error.object[: error.start].count(b"\n")) from None
            valid = False
        lines += chunk.count(b"\n")
    if valid and decoder.getstate()[0]:
        raise InputError(f"{path.name}, line {lines}: it ends within a letter, expected a whole file. It is cut: download or copy it again")
    return valid


def _says_utf_8(path: Path) -> bool:
    return next(_chunks(path)).startswith(codecs.BOM_UTF8)


def _not_utf_8(path: Path, line: int) -> InputError:
    return InputError(
        f"{path.name}, line {line}: found bytes that are not UTF-8, expected the UTF-8 text that its first bytes announce. "
        "Save the file as UTF-8, or give the ExcelTxt export"
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def _rewritten(path: Path, folder: Path, *, codec: str) -> Path:
    """One byte is one letter in the older encodings, so that chunks can be cut anywhere."""
    target = folder / "as-utf-8.csv"
    with target.open("wb") as copy:
        for chunk in _chunks(path):
            copy.write(chunk.decode(codec).encode("utf-8"))
    return target


def _read_header(path: Path, *, name: str) -> _Header:
    with path.open("rb") as source:
        text = source.read(HEADER_BYTES).removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace")
    first = text.splitlines()[0]
    delimiter = max(";,\t", key=first.count)
    # Not splitlines: it also breaks at letters that end no line of a csv.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = next(reader)
    except csv.Error as error:
        raise InputError(f"{name}: its first line is no header of a survey file ({error}). {WHAT_TO_DO}") from error
    if not any(cell.strip() for cell in header):
        raise InputError(f"{name}: its first line is blank, expected the names of the columns. It is no survey file, or was edited")
    if len("\n".join(header).encode()) + len(header) >= HEADER_BYTES - 1024:
        raise InputError(
            f"{name}: its header is longer than {HEADER_BYTES >> 20} MB, expected one line of column names. It is no survey file, or damaged"
        )
    return _Header(header, delimiter, reader.line_num)
