"""A survey file out of its zip, and nothing else out of it.

survey = unpack(path, folder)    # the one survey file in the zip, written into `folder` under the zip's own name

A name in a zip never becomes a path here, and yet one that tries to is refused: nobody means well with it. Sizes are those of the zip's
directory, which Python's zipfile holds every member to.
"""

import lzma
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from tasks.errors import InputError, StepError
from tasks.intake.headers import WHAT_TO_DO, is_header
from tasks.intake.sniff import CSV, SNIFFED_BYTES, SPSS, STATA, ZIP, R, kind_of

LARGEST = 8 << 30
# A sheet of codes shrinks thirtyfold, a bomb a thousandfold; what is small may shrink as it likes.
RATIO, SMALL = 200, 16 << 20
MOST_MEMBERS = 1000
CHUNK_BYTES = 1 << 20
SURVEYS = frozenset({R, SPSS, STATA, ZIP, "a gzip file", "a bzip2 file", "an xz file"})
# What zipfile raises on a damaged archive: a wrong offset, for one, is an OSError.
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


def unpack(path: Path, folder: Path) -> Path:
    """Raises InputError for a zip that is damaged, unsafe, or without exactly one survey file."""
    target = folder / path.name
    with zipfile.ZipFile(path) as archive:
        member = _survey_member(archive, path)
        with _opened(archive, member, path=path) as source, target.open("xb") as written:
            while chunk := _read(source, CHUNK_BYTES, path=path):
                _write(written, chunk, path=path)
    return target


def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, path: Path) -> IO[bytes]:
    try:
        return archive.open(member)
    except UNREADABLE as error:
        raise _damaged(path) from error


def _read(source: IO[bytes], size: int, *, path: Path) -> bytes:
    try:
        return source.read(size)
    except UNREADABLE as error:
        raise _damaged(path) from error


def _write(target: IO[bytes], chunk: bytes, *, path: Path) -> None:
    try:
        target.write(chunk)
    except OSError as error:
        raise StepError(f"cannot unpack {path.name}: {error.strerror}. Make room, or take another --workspace") from error


def check_archive(path: Path) -> None:
    """Raises InputError as `unpack` does, before anything is unpacked."""
    with zipfile.ZipFile(path) as archive:
        _survey_member(archive, path)


def check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Raises InputError for an archive that would fill a disk or a memory."""
    members = archive.infolist()
    unpacked, packed = sum(member.file_size for member in members), path.stat().st_size
    if len(members) > MOST_MEMBERS or unpacked > LARGEST or unpacked > max(SMALL, RATIO * packed):
        raise InputError(
            f"{path.name}: {packed:,} bytes would unpack to {unpacked:,} in {len(members)} files, which no survey does "
            f"(at most {LARGEST >> 30} GB, {RATIO} times the archive). It is damaged or hostile: download it again from the survey's own site"
        )


def _survey_member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    check_sizes(archive, path)
    members = [member for member in archive.infolist() if not member.filename.endswith("/")]
    for member in members:
        _check_member(member, path)
    surveys = [member for member in members if not _is_litter(member) and _is_survey(archive, member, path=path)]
    if len(surveys) != 1:
        names = ", ".join(repr(member.filename[:60]) for member in (surveys or members)[:5]) or "nothing"
        raise InputError(f"{path.name}: found {len(surveys)} survey files in the zip ({names}), expected one. Unpack it and give the file you mean")
    return surveys[0]


def _check_member(member: zipfile.ZipInfo, path: Path) -> None:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or not name.parts or ":" in name.parts[0]:
        raise _unsafe(path, f"{member.filename[:60]!r}, a path that leaves the zip's own folder")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _unsafe(path, f"{member.filename[:60]!r}, a link to another file")
    if member.flag_bits & 1:
        raise InputError(f"{path.name}: it is encrypted, expected a zip without a password. Unpack it and give the file in it")


def _unsafe(path: Path, problem: str) -> InputError:
    return InputError(f"{path.name}: it holds {problem}. No survey does: nothing was unpacked. Download it again from the survey's own site")


def _is_litter(member: zipfile.ZipInfo) -> bool:
    """What file managers leave in zips."""
    parts = PurePosixPath(member.filename).parts
    return "__MACOSX" in parts or parts[-1].startswith(".")


def _is_survey(archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, path: Path) -> bool:
    """A text is one when its first line names questions: official zips may carry a note."""
    with _opened(archive, member, path=path) as source:
        start = _read(source, SNIFFED_BYTES, path=path)
    if kind_of(start) != CSV:
        return kind_of(start) in SURVEYS
    lines = start.decode("utf-8-sig", errors="replace").splitlines()
    return bool(lines) and is_header(lines[0])


def _damaged(path: Path) -> InputError:
    return InputError(f"{path.name}: a file in the zip is cut or damaged, or packed in a way that is not known. {WHAT_TO_DO}, downloaded again")
