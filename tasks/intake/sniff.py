"""What a file is, by its content: names lie.

sniff(path)   # 'csv', 'xlsx', 'sav', 'dta', 'r', 'zip', or in words what else it is
"""

import bz2
import codecs
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tasks.errors import InputError

SNIFFED_BYTES = 1 << 16
CSV, XLSX, SPSS, STATA, R, ZIP = "csv", "xlsx", "sav", "dta", "r", "zip"
WORKBOOK = "xl/workbook.xml"

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"$FL2", SPSS),
    (b"$FL3", SPSS),
    (b"<stata_dta>", STATA),
    *((bytes((release, order)), STATA) for release in range(104, 116) for order in (1, 2)),
    (b"RDX2\n", R),
    (b"RDX3\n", R),
    (b"RDA2\n", R),
    (b"RDA3\n", R),
    (b"X\n\0\0", R),
    (b"A\n2\n", R),
    (b"A\n3\n", R),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"PAR1", "a Parquet file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (.xls)"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\xff\xfe", "a UTF-16 text"),
    (b"\xfe\xff", "a UTF-16 text"),
)
# R compresses what it saves.
DECOMPRESSORS: dict[str, Callable[[Path], IO[bytes]]] = {"a gzip file": gzip.open, "a bzip2 file": bz2.open, "an xz file": lzma.open}  # type: ignore[dict-item]
DAMAGED_STREAM: tuple[Any, ...] = (OSError, EOFError, zlib.error, lzma.LZMAError)


def sniff(path: Path) -> str:
    """One of the kinds that a reader takes, else what the file is, in words. Raises InputError for a file that cannot be looked at."""
    start = _first_bytes(path)
    found = kind_of(start)
    if found == ZIP:
        return _sniff_zip(path)
    return R if found in DECOMPRESSORS and kind_of(_decompressed_start(path, found)) == R else found


def kind_of(start: bytes) -> str:
    """The same by the first bytes alone: a workbook is still a zip, and R's files are still compressed."""
    for signature, found in SIGNATURES:
        if start.startswith(signature):
            return found
    if start.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<":
        return "an HTML or XML page"
    # Texts in another encoding than UTF-8 pass here: their reader knows more.
    return "a binary file of an unknown kind" if b"\0" in start else CSV


def decompressed(path: Path) -> IO[bytes]:
    """The bytes of a file that R may have compressed."""
    with path.open("rb") as source:
        found = kind_of(source.read(SNIFFED_BYTES))
    return DECOMPRESSORS[found](path) if found in DECOMPRESSORS else path.open("rb")


def _decompressed_start(path: Path, found: str) -> bytes:
    try:
        with DECOMPRESSORS[found](path) as source:
            return source.read(8)
    except DAMAGED_STREAM as error:
        raise InputError(f"{path.name}: found {found} that is cut or damaged. Download or copy the file again") from error


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is a directory, expected one survey file. Give the path of the file in it")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a device or a pipe, expected a survey file. Save the survey as a file first")
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
            return XLSX if WORKBOOK in archive.namelist() else ZIP
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path.name} is a truncated or corrupt xlsx or zip ({error}). Download or copy the file again") from error
