"""R files (.rds, .rdata): the one data frame in them, factors as labels, other values as codes, variable labels as header labels.

table = read_r(path, folder)

The package rdata parses R's serialization in Python and runs nothing of it. R writes a file in one piece, so that it is read in one piece.
"""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import rdata
from rdata.parser import DEFAULT_ALTREP_MAP, CharFlags, RObject, RObjectType

from tasks.errors import InputError
from tasks.intake.readers.table import Table, block, texts
from tasks.intake.sniff import DAMAGED_STREAM, R, decompressed, kind_of

LARGEST = 1 << 30
LONGEST_SEQUENCE = 1 << 24


def read_r(path: Path, folder: Path) -> Table:
    """Raises InputError for a file that is damaged, too large, or without exactly one data frame."""
    try:
        root = _parsed(_bytes(path))
        frames = list(_data_frames(root))
        columns = [_column(vector) for vector in frames[0].value] if len(frames) == 1 else []
        header = [f"{name}: {label}" for name, label in zip(_names(frames[0]), map(_label, frames[0].value), strict=True)] if columns else []
    except InputError:
        raise
    except Exception as error:  # the parser raises whatever its next step happens to raise on a damaged file
        raise InputError(f"{path.name}: the R file is cut or damaged ({type(error).__name__}). Download it again, or give the Csv") from None
    return _table(path, header, columns=columns, frames=len(frames))


def _table(path: Path, header: list[str], *, columns: list[pa.Array], frames: int) -> Table:
    if frames != 1:
        raise InputError(f"{path.name}: found {frames} data frames in the R file, expected one. Save the survey alone, or give the Csv")
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise InputError(f"{path.name}: the R file's columns differ in length. It is cut or damaged: download it again, or give the Csv")
    return Table(header, [block(columns)] if lengths - {0} else [])


def _bytes(path: Path) -> bytes:
    try:
        with decompressed(path) as source:
            content = source.read(LARGEST + 1)
    except DAMAGED_STREAM:
        raise InputError(f"{path.name}: the R file is cut or damaged. Download it again, or give the Csv") from None
    if len(content) > LARGEST:
        raise InputError(f"{path.name}: the R file unpacks to over {LARGEST >> 30} GB, which is read in one piece. Give the Csv or the Spss file")
    if kind_of(content[:16]) != R:
        raise InputError(f"{path.name}: found no R data in the compressed file. Give the Csv")
    return content


def _parsed(content: bytes) -> RObject:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extension = ".rda" if content.startswith(b"RD") else ".rds"
        return rdata.parser.parse_data(content, extension=extension, altrep_constructor_dict=_BOUNDED).object


def _data_frames(root: RObject) -> Iterator[RObject]:
    """An .rds is one object; an .rdata a chain of named ones."""
    objects = [value for _, value in _pairs(root)] if root.info.type is RObjectType.LIST else [root]
    return (found for found in objects if found.info.type is RObjectType.VEC and "data.frame" in _strings(_attributes(found).get("class")))


def _pairs(chain: RObject | None) -> Iterator[tuple[str, RObject]]:
    while chain is not None and chain.info.type is RObjectType.LIST:
        symbol = chain.tag.referenced_object if chain.tag is not None and chain.tag.info.type is RObjectType.REF else chain.tag
        yield (_string(symbol.value) if symbol is not None else ""), chain.value[0]
        chain = chain.value[1]


def _attributes(found: RObject) -> dict[str, RObject]:
    return dict(_pairs(found.attributes))


def _names(frame: RObject) -> list[str]:
    return _strings(_attributes(frame)["names"])


def _label(vector: RObject) -> str:
    return next(iter(_strings(_attributes(vector).get("label"))), "")


def _strings(vector: RObject | None) -> list[str]:
    return [_string(cell) for cell in vector.value] if vector is not None and vector.info.type is RObjectType.STR else []


def _string(cell: RObject) -> str:
    if cell.value is None:
        return ""
    if cell.info.gp & CharFlags.LATIN1:
        return str(cell.value.decode("latin-1"))
    try:
        return str(cell.value.decode("utf-8"))
    except UnicodeDecodeError:
        return str(cell.value.decode("cp1252", errors="replace"))


def _column(vector: RObject) -> pa.Array:
    if vector.info.type is RObjectType.STR:
        return pa.array(_strings(vector), pa.string())
    numbers = _numbers(vector)
    levels = _strings(_attributes(vector).get("levels"))
    if levels:
        return pa.array([levels[int(code) - 1] if code >= 1 else "" for code in numbers], pa.string())
    return texts(numbers)


def _numbers(vector: RObject) -> npt.NDArray[np.float64]:
    """R's NA is nothing here."""
    if vector.info.type not in (RObjectType.REAL, RObjectType.INT, RObjectType.LGL):
        raise TypeError(f"a column of R type {vector.info.type.name}")
    return np.ma.filled(np.ma.asarray(vector.value, dtype=np.float64), np.nan)


def _bounded(name: bytes) -> Any:
    """R writes the sequence 1:n as its ends: a few bytes must not become a memory full of numbers."""

    def expand(state: RObject) -> Any:
        if name.startswith(b"compact_") and float(state.value[0]) > LONGEST_SEQUENCE:
            raise ValueError("a sequence longer than any survey")
        return DEFAULT_ALTREP_MAP[name](state)

    return expand


_BOUNDED: Mapping[bytes, Any] = MappingProxyType({name: _bounded(name) for name in DEFAULT_ALTREP_MAP})
