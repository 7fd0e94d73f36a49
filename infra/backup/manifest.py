"""What a backup is: a directory of files, and `manifest.json` that says what they hold and hashes each of them.

It is written beside its place, synced and then renamed, so a directory of that name is a whole backup or none.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from schemas.errors import SetupError

FORMAT: Final = 1
_NAME: Final = "manifest.json"


class Kept(Struct, frozen=True, kw_only=True):
    """One file, by its path inside the backup."""

    path: str
    bytes: int
    sha256: str


class PartitionCopy(Struct, frozen=True, kw_only=True):
    """The records of a partition from offset *start* up to *end*; compaction may have left fewer than that."""

    number: int
    start: int
    end: int
    records: int


class TopicCopy(Struct, frozen=True, kw_only=True):
    """One topic."""

    name: str
    partitions: list[PartitionCopy]


class TableCopy(Struct, frozen=True, kw_only=True):
    """One table; *rows* as they are stored, those that a merge will replace included."""

    name: str
    columns: list[str]
    rows: int


class Manifest(Struct, frozen=True, kw_only=True):
    """All of a backup."""

    format: int
    taken_at: str
    topics: list[TopicCopy]
    groups: dict[str, dict[str, dict[int, int]]]  # group, topic, partition: next offset
    tables: list[TableCopy]
    migrations: dict[int, str]  # number: checksum
    files: list[Kept]


class Draft:
    """A backup that is being written."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.files: list[Kept] = []

    @contextmanager
    def new(self, name: str) -> Iterator[Path]:
        """Give the path of a new file; after the block it is synced, hashed and listed."""
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        with path.open("rb") as file:
            os.fsync(file.fileno())
            digest = file_digest(file, "sha256").hexdigest()
        self.files.append(Kept(path=name, bytes=path.stat().st_size, sha256=digest))

    def seal(self, manifest: Manifest) -> None:
        """Write the manifest, the last file, and sync every directory."""
        path = self._directory / _NAME
        path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        for written in (path, *(p for p in self._directory.rglob("*") if p.is_dir()), self._directory):
            _sync(written)


@contextmanager
def draft(target: Path) -> Iterator[Draft]:
    """Write a backup beside *target* for the block, and put it there at the block's end; an error leaves nothing.

    Raises:
        SetupError: *target* is there already, or another backup to it is running.
    """
    target = target.resolve()
    beside = target.with_name(f"{target.name}.part")
    if target.exists():
        raise SetupError(str(target), "is there already; a backup goes into a directory of its own")
    beside.mkdir(parents=True, exist_ok=True)
    with _held(beside):
        for left in beside.iterdir():  # by a backup that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            beside.chmod(0o700)  # it holds names, phones and the secret of follow codes
            yield Draft(beside)
            beside.rename(target)
            _sync(target.parent)
        except BaseException:
            shutil.rmtree(beside)
            raise


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise SetupError(str(directory), "another backup is writing it") from error
    finally:
        os.close(lock)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def load(directory: Path) -> Manifest:
    """Read the backup in *directory* and check every byte of it.

    Raises:
        SetupError: it is no backup, of another format, or a file is missing or damaged.
    """
    try:
        manifest = msgspec.json.decode((directory / _NAME).read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise SetupError(str(directory), "holds no backup: it has no manifest.json") from error
    except msgspec.MsgspecError as error:
        raise SetupError(str(directory / _NAME), f"cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise SetupError(str(directory), f"has format {manifest.format}; this release reads {FORMAT}")
    for kept in manifest.files:
        _check(directory, kept)
    return manifest


def _check(directory: Path, kept: Kept) -> None:
    path = directory / kept.path
    if not path.resolve().is_relative_to(directory.resolve()):
        raise SetupError(kept.path, "is outside of the backup")
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise SetupError(str(path), "is missing from the backup") from error
    if digest != kept.sha256:
        raise SetupError(str(path), "is damaged: it has another hash than when it was written")
