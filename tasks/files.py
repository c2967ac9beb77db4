"""Files that appear whole or not at all, and the record of which files a step made."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from tasks.errors import InputError, StepError

CHUNK_BYTES = 1 << 20


class FileSet(BaseModel):
    """What a step left behind: names, hashes and row counts; small enough to be stored as its result.

    `files` maps a path relative to `folder` to the SHA-256 of its content; `rows` maps a table to its row count.
    """

    model_config = ConfigDict(frozen=True)

    folder: str
    files: dict[str, str]
    rows: dict[str, int] = {}

    @property
    def content_key(self) -> str:
        """Hash of names and contents, wherever the folder is."""
        return hash_of(sorted(self.files.items()))

    def path(self, name: str) -> Path:
        return Path(self.folder) / name

    def only(self) -> Path:
        """The one file of a set of one."""
        (name,) = self.files
        return self.path(name)

    def with_files(self, names: list[str]) -> "FileSet":
        """This, and other files of its folder."""
        return file_set(Path(self.folder), [*self.files, *names], rows=self.rows) if names else self

    def table(self) -> pd.DataFrame:
        """The one table of the set, whatever is beside it."""
        (name,) = (name for name in self.files if name.endswith(".parquet"))
        return pd.read_parquet(self.path(name))

    def read(self, table: str, *, under: str = "tables") -> pd.DataFrame:
        """A table of the set as a frame."""
        return pd.read_parquet(self.path(f"{under}/{table}.parquet"))

    def holds(self) -> bool:
        """True when every file still exists with the recorded content."""
        return all(self.path(name).is_file() and sha256_of(self.path(name)) == sha for name, sha in self.files.items())

    def adopted_into(self, folder: Path) -> "FileSet":
        """The same files in another run's folder (hard links where the file system allows, else copies)."""
        if Path(self.folder) == folder:
            return self
        for name in self.files:
            link_or_copy(self.path(name), folder / name)
        return self.model_copy(update={"folder": str(folder)})


def file_set(folder: Path, names: list[str], *, rows: dict[str, int] | None = None) -> FileSet:
    """The record of `names` (files, or folders taken with all they hold) under `folder`."""
    found = sorted(path for name in names for path in _files_under(folder / name))
    hashes = {str(path.relative_to(folder)): sha256_of(path) for path in found}
    return FileSet(folder=str(folder), files=hashes, rows=rows or {})


def _files_under(path: Path) -> list[Path]:
    return [inner for inner in path.rglob("*") if inner.is_file()] if path.is_dir() else [path]


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def hash_of(value: Any) -> str:
    """SHA-256 of a JSON-serialisable value, key order aside."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises StepError when the disk does not take what the block writes: full, read-only, gone."""
    try:
        yield
    except OSError as error:
        raise StepError(
            f"cannot write {path}: {error.strerror or error}. Nothing was left under that name, and what was done before is kept. "
            "Make room or take another --workspace, then repeat the command."
        ) from error


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it is flushed to disk and renamed to `path`, on failure removed. Raises StepError as `writing` does."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # One left by a process that was killed may be a link to another run's file: never write into it.
            temporary.unlink(missing_ok=True)
            yield temporary
            _flush(temporary)
            temporary.replace(path)
    finally:
        with suppress(OSError):  # no folder, no disk: the first error is the one to raise
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    with write_atomically(path) as temporary:
        frame.to_parquet(temporary, index=False)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same content as `source`, replacing what is there in one step."""
    with write_atomically(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, temporary)


@contextmanager
def held_alone(lock: Path, *, refusal: str) -> Iterator[None]:
    """Hold a lock file, which the system frees when the process ends, however it ends. Raises StepError with `refusal` when another holds it."""
    with _locked(lock, refusal=refusal):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # while it is still held: whoever comes next makes one of their own


def _locked(lock: Path, *, refusal: str) -> IO[bytes]:
    """The lock's file, locked until it is closed."""
    with writing(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise StepError(refusal) from error
    if lock.exists() and lock.stat().st_ino == os.fstat(file.fileno()).st_ino:
        return file
    file.close()  # its holder took it away between our opening and locking it
    return _locked(lock, refusal=refusal)


def is_held(lock: Path) -> bool:
    """True while a process is within `held_alone`."""
    if not lock.exists():
        return False
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def make_workspace(workspace: Path) -> None:
    """The workspace for this user alone: it holds survey rows. Raises InputError when it cannot be written."""
    try:
        workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in ("surveys", "runs", "training", "landed"):  # a workspace that was there before may be open to others
            (workspace / folder).mkdir(exist_ok=True)
            (workspace / folder).chmod(0o700)
        probe = workspace / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"workspace {workspace} cannot be written: {error.strerror}. Choose a folder of yours with --workspace") from error


def _flush(path: Path) -> None:
    with path.open("rb+") as written:
        os.fsync(written.fileno())


def flush_folder(folder: Path) -> None:
    """Flush every file of a folder to disk, before the folder is renamed."""
    for path in _files_under(folder):
        _flush(path)
