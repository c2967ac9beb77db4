"""The landing zone: a folder, or any address that fsspec knows, into which survey files are dropped.

    with Landings(workspace) as landings:
        seen = look("s3://bucket/wvs", landings, workspace=workspace, settle_seconds=10)
        landings.files(seen.present)

A file is taken once its size and its stamp (time of change, ETag) have stood still, and is known from then on by the hash of its content: renamed,
dropped again or found by two watchers at once it is the same file. What is studied is a copy in the workspace, which nobody renames or overwrites.
A file that cannot be studied is kept on record with the reason, and is judged again when it changes, or
the codebooks and the code that judge it do.
"""

import hashlib
import json
import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb
import fsspec

from tasks.errors import InputError, StepError
from tasks.files import CHUNK_BYTES, writing
from tasks.intake.inspection import inspect_survey
from tasks.intake.landings import HASH_DIGITS, READY, UNKNOWN, UNREADABLE, Landed, Landings, Place

# What tells a file from what it was before; each file system has some of these.
STAMPS = ("mtime", "created", "ino", "ETag", "etag", "LastModified", "last_modified", "updated")
ARRIVING = (".part", ".partial", ".crdownload", ".download", ".tmp", ".filepart")  # how programs name what they have not finished
logger = logging.getLogger("valuescape")


class Seen(NamedTuple):
    """`present`: the contents that are in the zone and on record, by SHA-256; `failed`: what could not be taken, each with the reason."""

    present: list[str]
    failed: list[str]

    def refuse_failed(self, zone: str) -> None:
        """Raises StepError when something could not be taken: for when all else is done."""
        if self.failed:
            raise StepError(f"could not take {', '.join(self.failed)} from the landing zone {zone}. The next look tries again")


def look(zone: str, landings: Landings, *, workspace: Path, settle_seconds: float) -> Seen:
    """Put on record what has landed and settled. Raises InputError for a zone that is not there, StepError for one that does not answer."""
    listed = _settled(zone, known=landings.known(zone), seconds=settle_seconds)
    failed: list[str] = []
    present: dict[str, None] = {}
    for name, place in listed.items():
        try:
            present[_take(zone, name, place, landings=landings, workspace=workspace)] = None
        except FileNotFoundError:
            logger.info("%s went away before it was taken", name)
        except _StillChangingError:
            logger.info("%s is still changing; it is left for the next look", name)
        except Exception as error:  # one that cannot be copied must not keep the others from being taken
            failed.append(f"{name} ({_told(error)})")
    return Seen(list(present), failed)


def _told(error: Exception) -> str:
    """An error without the words of a library, which might quote a respondent's answer; and without a line, which moves from version to version."""
    if isinstance(error, StepError):
        return str(error)
    return f"{type(error).__name__} in {Path(traceback.extract_tb(error.__traceback__)[-1].filename).name}"


class _StillChangingError(Exception):
    pass


def _settled(zone: str, *, known: dict[str, tuple[Place, str]], seconds: float) -> dict[str, Place]:
    """What the zone holds, without files that are new to us and have changed within `seconds`."""
    first = _listing(zone)
    if all(name in known and known[name][0] == place for name, place in first.items()):
        return first
    time.sleep(seconds)
    return {name: place for name, place in _listing(zone).items() if first.get(name) == place}


def _listing(zone: str) -> dict[str, Place]:
    """Name within the zone -> size and stamp; without hidden files and those that a program says it is still writing."""
    with _reachable(zone) as (system, root):
        system.invalidate_cache()
        found = system.find(root, detail=True)
        # An empty place of an object store is no place at all; its bucket is.
        if not found and not (system.isdir(root) if "file" in system.protocol else system.exists(root.split("/")[0])):
            raise FileNotFoundError(zone)
    names = {path.removeprefix(root).lstrip("/"): info for path, info in found.items()}
    return {
        name: Place(int(info.get("size") or 0), json.dumps([str(info[key]) for key in STAMPS if key in info]))
        for name, info in sorted(names.items())
        if not any(part.startswith((".", "~$")) for part in name.split("/")) and not name.lower().endswith(ARRIVING)
    }


@contextmanager
def _reachable(zone: str) -> Iterator[tuple[Any, str]]:
    """The zone's file system, and its root in it."""
    try:
        system, root = fsspec.core.url_to_fs(zone)
    except ImportError as error:
        raise InputError(f"the landing zone {zone} needs a package: {error}. For S3: pip install 'valuescape[s3]'") from error
    except ValueError as error:
        raise InputError(f"the landing zone {zone} cannot be understood: {error}. Give a folder, or an address such as s3://bucket/folder") from error
    try:
        yield system, root.rstrip("/")
    except PermissionError as error:
        raise InputError(f"the landing zone {zone} may not be read: {error.strerror or error}. Check permissions and credentials") from error
    except FileNotFoundError as error:
        raise InputError(f"the landing zone {zone} is not there. Make it, or name another with the parameter landing") from error
    except Exception as error:  # each file system has its own
        raise StepError(f"the landing zone {zone} does not answer: {type(error).__name__}") from error


def _take(zone: str, name: str, place: Place, *, landings: Landings, workspace: Path) -> str:
    """The content of a file, which is on record when this returns."""
    before, sha256 = landings.known(zone).get(name, (None, ""))
    if before == place and landings.holds(sha256):
        return sha256
    folder = workspace / "landed"
    with TemporaryDirectory(prefix=".arriving-", dir=folder) as arriving:
        path = Path(arriving) / Path(name).name
        sha256 = _copy(zone, name, path)
        if _listing(zone).get(name) != place:
            raise _StillChangingError
        if not landings.holds(sha256):
            landings.register(_kept(path, sha256=sha256, folder=folder))
    landings.place(zone, name, place, sha256)
    return sha256


def _copy(zone: str, name: str, target: Path) -> str:
    """Copy a file out of the zone; returns its SHA-256."""
    digest = hashlib.sha256()
    system, root = fsspec.core.url_to_fs(zone)
    with system.open(f"{root.rstrip('/')}/{name}", "rb") as source:
        with writing(target):
            copy = target.open("wb")
        with copy:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                with writing(target):
                    copy.write(chunk)
    return digest.hexdigest()


def _kept(path: Path, *, sha256: str, folder: Path) -> Landed:
    """Judge a copy; that of a file that can be studied is put where it stays."""
    final = folder / sha256[:HASH_DIGITS] / path.name
    landed = _judged(path, sha256=sha256, copy=str(final))
    if landed.status == READY:
        with writing(final):
            final.parent.mkdir(exist_ok=True)
            path.replace(final)
    return landed


def _judged(path: Path, *, sha256: str, copy: str) -> Landed:
    known: dict[str, Any] = {"sha256": sha256, "name": path.name, "bytes": path.stat().st_size}
    try:
        found = inspect_survey(path)
    except InputError as error:
        if path.name not in str(error):  # of this machine, not of the file
            raise StepError(str(error)) from error
        return Landed(**known, status=UNREADABLE, reason=str(error))
    except (OSError, MemoryError, duckdb.OperationalError, StepError):
        raise  # the machine's: the next look may have more luck
    except Exception as error:  # a reader that is not up to this file would fail at every look
        return Landed(
            **known, status=UNREADABLE, reason=f"{path.name} could not be read: a case that the project's readers do not know ({_told(error)})"
        )
    known |= {"version": found.version, "respondents": found.respondents}
    if not found.can_be_studied:
        return Landed(**known, status=UNKNOWN, reason="; ".join(found.reasons))
    waves = {wave for country in found.countries.values() for wave in country.get("waves", {})} or {found.wave}
    return Landed(**known, status=READY, copy=copy, waves=tuple(sorted(map(int, waves))), countries=tuple(sorted(found.countries)))
