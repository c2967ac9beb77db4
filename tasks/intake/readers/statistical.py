"""Spss (.sav, .zsav) and Stata (.dta) files: values as codes, variable labels as header labels, a block of rows at a time.

table = read_spss(path, folder)
"""

import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyreadstat

from tasks.errors import InputError
from tasks.intake.readers.table import ROWS_PER_BLOCK, Table, block, texts

# ReadStat names encodings as iconv does. Some Stata files say UTF-8 and hold this.
FALLBACK = "LATIN1"
UNREADABLE = (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, UnicodeDecodeError, ValueError, MemoryError, OSError)

Read = Callable[..., tuple[dict[str, Any], Any]]


def read_spss(path: Path, folder: Path) -> Table:
    """With user-missing values as they stand: -1 to -5 would be empty cells otherwise."""
    return _read(path, partial(pyreadstat.read_sav, user_missing=True), name="Spss")


def read_stata(path: Path, folder: Path) -> Table:
    return _read(path, pyreadstat.read_dta, name="Stata")


def _read(path: Path, function: Callable[..., Any], *, name: str) -> Table:
    read: Read = partial(_decoded, path, partial(function, output_format="dict", disable_datetime_conversion=True), name)
    _, metadata = read(metadataonly=True)
    header = [f"{_given(code)}: {label or ''}" for code, label in zip(metadata.column_names, metadata.column_labels, strict=True)]
    labels = tuple(_whole(metadata.variable_value_labels.get(code, {})) for code in metadata.column_names)
    return Table(header, _blocks(path, read, metadata=metadata), metadata.file_encoding or "", labels)


def _whole(labels: dict[Any, str]) -> dict[int, str]:
    """Labels of whole numbers; Stata's letters for missing values have none."""
    return {int(code): label for code, label in labels.items() if isinstance(code, int | float) and float(code).is_integer()}


def _given(name: str | None) -> str:
    """pyreadstat renames a second Q1 to Q1_duplicated1, where we want to hear of it."""
    return re.sub(r"_duplicated\d+$", "", name or "")


def _decoded(path: Path, function: Callable[..., Any], name: str, **options: Any) -> tuple[dict[str, Any], Any]:
    """A file's own encoding first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(str(path), **options)  # type: ignore[no-any-return]
        except UNREADABLE:
            try:
                return function(str(path), encoding=FALLBACK, **options)  # type: ignore[no-any-return]
            except UNREADABLE as error:
                raise _damaged(path, f"the {name} file cannot be read ({str(error)[:80] or type(error).__name__})") from None


def _blocks(path: Path, read: Read, *, metadata: Any) -> Iterator[pa.Table]:
    rows = 0
    while not rows % ROWS_PER_BLOCK:
        columns, _ = read(row_offset=rows, row_limit=ROWS_PER_BLOCK)
        found = len(next(iter(columns.values()), ()))
        if not found:
            break
        if len(columns) != len(metadata.column_names):
            raise _damaged(path, "two of its columns have one name")
        yield block(map(texts, columns.values()))
        rows += found
    if metadata.number_rows is not None and rows != metadata.number_rows:
        raise _damaged(path, f"found {rows:,} respondents, expected {metadata.number_rows:,} as its header says")


def _damaged(path: Path, problem: str) -> InputError:
    return InputError(f"{path.name}: {problem}. It is cut or damaged: download it again, or give the Csv")
