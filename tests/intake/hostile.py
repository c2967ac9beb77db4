"""Files that are cut, damaged, made in bad faith or simply something else, each with what its refusal must say.

HOSTILE["csv cut in a row"].make(folder)   # the path of such a file, made of invented respondents
"""

import bz2
import gzip
import io
import lzma
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openpyxl
import pandas as pd
import pyreadstat
import rdata

from tests.intake.conftest import NUMERIC, Rows
from tests.intake.writers import numbers, of_objects

SECRET = "Ms-Secret-Respondent"
ROWS: Rows = [row | {"H_NOTE": SECRET} for row in NUMERIC] * 4
TABLE = pd.DataFrame(ROWS)


class Hostile(NamedTuple):
    make: Callable[[Path], Path]
    says: str


def csv(rows: Rows = ROWS, delimiter: str = ";") -> bytes:
    return "\r\n".join(delimiter.join(line) for line in (rows[0], *(row.values() for row in rows))).encode() + b"\r\n"


def file(content: bytes | Callable[[Path], bytes], name: str = "WVS_Wave_7_Nowhere_Csv_v5_0.csv") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content(folder))
        return path

    return make


def changed(**cells: str) -> Callable[[Path], Path]:
    return file(csv([row | cells for row in ROWS]))


def without(*codes: str) -> Callable[[Path], Path]:
    return file(csv([{code: cell for code, cell in row.items() if code not in codes} for row in ROWS]))


def saved(suffix: str) -> Callable[[Path], bytes]:
    """The little survey as another program writes it."""

    def content(folder: Path) -> bytes:
        path = folder.parent / f"whole{suffix}"
        table = numbers_with_note()
        if suffix in (".sav", ".zsav"):
            pyreadstat.write_sav(table, path, compress=suffix == ".zsav")
        elif suffix == ".dta":
            pyreadstat.write_dta(table, path)
        else:
            rdata.write_rds(path, of_objects(table), compression=None if suffix == ".rds" else "gzip")
        return path.read_bytes()

    return content


def numbers_with_note() -> pd.DataFrame:
    codes = numbers(TABLE.drop(columns="H_NOTE"))
    return codes.assign(H_NOTE=TABLE["H_NOTE"])


def cut(content: Callable[[Path], bytes], share: float) -> Callable[[Path], bytes]:
    return lambda folder: (whole := content(folder))[: int(len(whole) * share)]


def workbook(lines: list[list[object]]) -> bytes:
    book, written = openpyxl.Workbook(), io.BytesIO()
    for line in lines:
        book.active.append(line)
    book.save(written)
    return written.getvalue()


SHEET: list[list[object]] = [[f"{code}: x" for code in ROWS[0]], *(list(row.values()) for row in ROWS)]


def patched(part: str, old: bytes, new: bytes) -> bytes:
    """The workbook with one of its parts changed."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook(SHEET))) as source, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            assert name != part or old in content
            target.writestr(name, content.replace(old, new, 1) if name == part else content)
    return written.getvalue()


LAUGHS = (
    b'<!DOCTYPE s [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (letter, b"&%c;" % (letter - 1) * 10) for letter in range(ord("b"), ord("k")))
    + b"]>"
)


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return written.getvalue()


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member, target.encode()


def flagged(content: bytes, *, offset: int, value: int) -> bytes:
    """The zip with one byte of its local and central headers changed, at the local header's offset."""
    altered = bytearray(content)
    altered[offset] = value
    altered[altered.index(b"PK\x01\x02") + offset + 2] = value
    return bytes(altered)


def broken_data(content: bytes) -> bytes:
    altered = bytearray(content)
    altered[60:70] = bytes(10)
    return bytes(altered)


def rds(folder: Path, values: list[float]) -> Path:
    rdata.write_rds(folder / "numbers.rds", np.array(values))
    return folder / "numbers.rds"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.csv")
    return folder / "pipe.csv"


def dangling(folder: Path) -> Path:
    (folder / "link.csv").symlink_to(folder / "nowhere.csv")
    return folder / "link.csv"


def loop(folder: Path) -> Path:
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    return folder / "loop.csv"


def directory(folder: Path) -> Path:
    (folder / "survey.csv").mkdir()
    return folder / "survey.csv"


QUOTED = csv().replace(SECRET.encode(), b'"' + SECRET.encode() + b'"')
ONE = ("WVS_Wave_7/survey.csv", csv())
UNSAFE = "a path that leaves the zip's own folder"
NO_WEIGHT = "none of the 12 weights in W_WEIGHT is a positive number"
SHORT_HEADER = dict.fromkeys(("V2", "V240", "V262"), "1")

TEXTS = {
    "csv cut in the header": Hostile(file(csv()[:30]), "is not a survey"),
    "csv cut in a row": Hostile(file(csv()[:-40]), "line 13: found"),
    "csv cut in a quoted cell": Hostile(file(QUOTED[: QUOTED.rindex(b"Respondent")]), "the cells cannot be told apart"),
    "csv cut in a letter": Hostile(file(b"\xef\xbb\xbf" + csv() + "é".encode()[:1]), "it ends within a letter"),
    "csv with a quote that opens early": Hostile(file(csv().replace(b"SYNTHETIC 1", b'"SYNTHETIC 1', 1)), "the cells cannot be told apart"),
    "csv with bars": Hostile(file(csv(delimiter="|")), "is not a survey"),
    "csv with spaces": Hostile(file(csv(delimiter=" ")), "is not a survey"),
    "csv with another delimiter below the header": Hostile(
        file(csv().replace(b";", b",").replace(b",", b";", 12)), "line 2: found 1 cells, expected 13"
    ),
    "csv with a cell too many": Hostile(
        file(csv().replace(b"\r\n", b";9\r\n").replace(b";9\r\n", b"\r\n", 1)), "line 2: found 14 cells, expected 13"
    ),
    "duplicate column": Hostile(file(csv().replace(b"Q262", b"Q260")), "duplicate columns Q260"),
    "duplicate column in another case": Hostile(file(csv().replace(b"Q262", b"q260")), "duplicate columns Q260, q260"),
    "a column that is ours": Hostile(file(csv().replace(b"H_NOTE", b"respondent_id")), "found a column respondent_id"),
    "no country": Hostile(without("B_COUNTRY_ALPHA", "B_COUNTRY"), "no B_COUNTRY_ALPHA or B_COUNTRY"),
    "no year": Hostile(without("A_YEAR"), "no column holds the year of the survey"),
    "no weight": Hostile(without("W_WEIGHT"), "has no weight column W_WEIGHT"),
    "no dimension": Hostile(without("Q289"), "has no column Q289, which the dimension 'religion' needs"),
    "no background": Hostile(without("Q260", "Q262", "Q289", "Q290"), "no Q260 (sex) and no Q262 (age)"),
    "no values": Hostile(without("Q1", "Q2", "Q48"), "none of the 4 items of the codebook of wave 7"),
    "inverted twin": Hostile(file(csv().replace(b"Q48", b"Q48P")), "the inverted twin"),
    "another wave with the right name": Hostile(file(csv([SHORT_HEADER | {"V262": "2012"}])), "not wave 6: V2 holds '1'"),
    "time series with the right name": Hostile(file(csv([{"S003": "702", "S020": "2020", "A001": "1"}])), "not the time series: no X001 (sex)"),
    "wave 8 with the right name": Hostile(changed(A_YEAR="2025"), "A_YEAR holds '2025'"),
    "year in words": Hostile(changed(A_YEAR="last year"), "A_YEAR holds 'last year'"),
    "wave column of another wave": Hostile(changed(A_WAVE="6"), "A_WAVE holds '6'"),
    "country that is none": Hostile(changed(B_COUNTRY_ALPHA="99999"), "B_COUNTRY_ALPHA holds '99999'"),
    "country with an invisible space": Hostile(changed(B_COUNTRY_ALPHA="SGP\u00a0"), "expected codes such as SGP"),
    **{f"weights {cell or 'empty'}": Hostile(changed(W_WEIGHT=cell), NO_WEIGHT) for cell in ("0", "-1", "nan", "inf", "-inf", "", "heavy", "1e999")},
    "NUL bytes in a row": Hostile(file(csv()[:-20] + b"\0\0" + csv()[-20:]), "found a binary file"),
    "NUL bytes far down": Hostile(file(csv(ROWS * 900) + b"\0"), "found a NUL byte"),
    "NUL byte in the header": Hostile(file(b"Q1\0;Q2\n1;1\n"), "found a binary file"),
    "header of 10 MB": Hostile(file(b"Q1;" + b"x" * 10_000_000 + b"\n1;1\n"), "its first line is no header"),
    "header of 10 MB in many cells": Hostile(
        file(b";".join(b"Q%d" % number for number in range(1_400_000)) + b"\n1;1\n"), "its header is longer than 1 MB"
    ),
    "very many columns": Hostile(file(b"Q1;Q260;" + b";".join(b"N%d" % number for number in range(99_999)) + b"\n"), "found 100,001 columns"),
    "line of 10 MB": Hostile(file(csv() + b"x" * 10_000_000), "line 14"),
    "empty": Hostile(file(b""), "is empty"),
    "only a BOM": Hostile(file(b"\xef\xbb\xbf"), "is empty"),
    "only blank lines": Hostile(file(b"\r\n\r\n  \r\n"), "is empty"),
    "only a header": Hostile(file(csv().splitlines()[0]), "no respondent"),
    "blank header": Hostile(file(b";;;\n" + csv()), "its first line is blank"),
    "UTF-16": Hostile(file(csv().decode().encode("utf-16")), "found a UTF-16 text"),
    "UTF-16 without a BOM": Hostile(file(csv().decode().encode("utf-16-le")), "found a binary file"),
    "UTF-32": Hostile(file(csv().decode().encode("utf-32")), "found a UTF-16 text"),
    "HTML error page": Hostile(file(b"<!DOCTYPE html><html><body>403 Forbidden</body></html>"), "found an HTML or XML page"),
    "JSON error": Hostile(file(b'{"error": "403, Forbidden"}'), "is not a survey"),
}
OTHER_KINDS = {
    "PDF": Hostile(file(b"%PDF-1.7 Q1;Q2"), "found a PDF"),
    "old Excel": Hostile(file(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)), "found an old Excel file"),
    "noise": Hostile(file(bytes(range(256)) * 40), "found a binary file"),
    "csv.gz": Hostile(file(gzip.compress(csv())), "found a gzip file"),
    "7z": Hostile(file(b"7z\xbc\xaf\x27\x1c" + bytes(50)), "found a 7z archive"),
    "directory": Hostile(directory, "is a directory"),
    "pipe": Hostile(pipe, "is a device or a pipe"),
    "missing": Hostile(lambda folder: folder / "nowhere.csv", "does not exist"),
    "dangling link": Hostile(dangling, "does not exist"),
    "link to itself": Hostile(loop, "cannot be read"),
}
WORKBOOKS = {
    **{f"xlsx cut at {share:.0%}": Hostile(file(cut(lambda _: workbook(SHEET), share)), "truncated or corrupt xlsx") for share in (0.1, 0.5, 0.99)},
    "xlsx without a row": Hostile(file(workbook([])), "its sheet is empty"),
    "xlsx with a header only": Hostile(file(workbook(SHEET[:1])), "no respondent"),
    "xlsx of only a workbook": Hostile(file(zipped(("xl/workbook.xml", b"<workbook"))), "truncated or corrupt xlsx"),
    "xlsx with billion laughs": Hostile(file(patched("xl/workbook.xml", b"<workbook", LAUGHS + b"<workbook")), "defines entities"),
    "xlsx with laughs in the sheet": Hostile(file(patched("xl/worksheets/sheet1.xml", b"<worksheet", LAUGHS + b"<worksheet")), "defines entities"),
    "xlsx with a cell far away": Hostile(
        file(patched("xl/worksheets/sheet1.xml", b"</row>", b'<c r="XFD1048576"><v>1</v></c></row>')),
        "its sheet spans 1,048,576 rows x 16,384 columns",
    ),
    "xlsx that is a bomb": Hostile(file(patched("xl/worksheets/sheet1.xml", b"<sheetData>", b" " * 40_000_000 + b"<sheetData>")), "would unpack to"),
    "xlsx of a formula for a header": Hostile(file(workbook([["=1+1", "=cmd|' /C calc'!A0"], ["1", "2"]])), "is not a survey"),
}
PROGRAMS = {
    **{
        f"{suffix[1:]} cut at {share:.0%}": Hostile(file(cut(saved(suffix), share), f"survey{suffix}"), "cut or damaged")
        for suffix in (".sav", ".zsav", ".dta", ".rds", ".rdata")
        for share in (0.1, 0.5, 0.9)
    },
    "sav of noise": Hostile(file(b"$FL2@(#)" + bytes(range(256)) * 9), "the Spss file cannot be read"),
    "dta of noise": Hostile(file(b"\x73\x01\x01\x00" + bytes(range(256)) * 9), "the Stata file cannot be read"),
    "sav with a damaged dictionary": Hostile(
        file(lambda folder: saved(".sav")(folder).replace(b"Q48", b"Q1 "), "survey.sav"), "the Spss file cannot be read"
    ),
    "dta by its first words": Hostile(file(b"<stata_dta><header><release>118"), "the Stata file cannot be read"),
    "rds of noise": Hostile(file(b"RDX3\nX\n" + bytes(range(256)) * 9), "the R file is cut or damaged"),
    "rds of xz that is cut": Hostile(file(lzma.compress(csv())[:-30]), "xz file"),
    "rds of one number": Hostile(
        file(bytes.fromhex("580a0000000300040200000305000000000555 54462d38".replace(" ", "")) + b"\0\0\0\x0d\0\0\0\1\0\0\0\7"), "found 0 data frames"
    ),
    "bz2 of nothing": Hostile(file(bz2.compress(b"")), "found a bzip2 file"),
}
ZIPS = {
    "zip that is cut": Hostile(file(zipped(ONE)[:-30]), "truncated or corrupt xlsx or zip"),
    "zip with bad bytes": Hostile(file(broken_data(zipped(ONE))), "cut or damaged"),
    "empty zip": Hostile(file(zipped()), "found 0 survey files"),
    "zip of a folder": Hostile(file(zipped(("folder/", b""))), "found 0 survey files"),
    "zip of a note": Hostile(file(zipped(("README.txt", b"Q1 is a question.\n"))), "found 0 survey files"),
    "zip of two surveys": Hostile(file(zipped(ONE, ("again.csv", csv()))), "found 2 survey files"),
    "zip in a zip": Hostile(file(zipped(("inner.zip", zipped(ONE)))), "found another zip in the zip"),
    "zip of an html page": Hostile(file(zipped(("survey.csv", b"<html></html>"))), "found 0 survey files"),
    "zip that climbs": Hostile(file(zipped(("../survey.csv", csv()))), UNSAFE),
    "zip that climbs by backslashes": Hostile(file(zipped(("..\\survey.csv", csv()))), UNSAFE),
    "zip that climbs beside a survey": Hostile(file(zipped(ONE, ("a/../../../escaped.txt", b"x"))), UNSAFE),
    "zip with an absolute path": Hostile(file(zipped(("/etc/survey.csv", csv()))), UNSAFE),
    "zip with a drive": Hostile(file(zipped(("C:/survey.csv", csv()))), UNSAFE),
    "zip with a link": Hostile(file(zipped(ONE, link("other.csv", "../../secret"))), "a link to another file"),
    "zip bomb": Hostile(file(zipped(("survey.csv", csv() + b"1;" * 20_000_000))), "would unpack to"),
    "zip of very many files": Hostile(file(zipped(*((f"{number}.csv", b"") for number in range(1_001)))), "in 1001 files"),
    "zip with a password": Hostile(file(flagged(zipped(ONE), offset=6, value=1)), "it is encrypted"),
    "zip of an unknown method": Hostile(file(flagged(zipped(ONE), offset=8, value=77)), "cut or damaged"),
    "zip of a csv that is cut": Hostile(file(zipped(("survey.csv", csv()[:-40]))), "line 13: found"),
}
HOSTILE = TEXTS | OTHER_KINDS | WORKBOOKS | PROGRAMS | ZIPS
