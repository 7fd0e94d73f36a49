"""The spool: reports on disk before they are acknowledged, until Kafka has them.

Entries are numbered and appended to segments, `<number of its first>.seg`; `append` returns when
its group is on disk (`fdatasync`). What Kafka has gets a receipt, in `receipts`: number, id and
digest, so that neither a restart sends everything again nor another body passes under an id
taken. A segment that Kafka has wholly is deleted: names and phones leave the disk with it.

    segments   [ 0 ……… 811 ][ 812 ……… 1640 ][ 1641 ………… 2007 ]
                 deleted       ^ 1203: next to send       ^ end: a torn tail is cut at start

A receipt is not synced: one that a power cut takes costs a repeat, which the engine drops by its id.
Every method may be called from any thread; one writes, one sends.
"""

import fcntl
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from infra.kafka import Outgoing
from producers.reports.domain.frames import frame, framed_bytes, whole_frames
from schemas.errors import OverloadedError, SetupError, UnavailableError

REMEMBERED = 100_000  # ids whose reports Kafka has; about 20 MB
_SEGMENT_BYTES = 4 << 20
_SUFFIX = ".seg"
_DAMAGED = "bytes that were on disk are damaged; docs/operations.md says what to do"


class Entry(Struct, frozen=True, array_like=True):
    """One report: its id, what tells it from another under that id, the records it becomes."""

    report_id: str
    digest: str
    records: list[Outgoing]


class Receipt(Struct, frozen=True, array_like=True):
    """Kafka has entry *number*; the id's hash and the digest stay to tell a repeat from a conflict."""

    number: int
    ident: bytes
    digest: str


class Limits(Struct, frozen=True, kw_only=True):
    """When the spool refuses."""

    entries: int
    size_bytes: int
    free_bytes: int  # of the disk, to be left alone


_encoder = msgspec.msgpack.Encoder()
_entry, _receipt = msgspec.msgpack.Decoder(Entry), msgspec.msgpack.Decoder(Receipt)


class _Segment:
    """A file of entries; `size` is how much of it is on disk for certain."""

    def __init__(self, path: Path, count: int = 0, size: int = 0) -> None:
        self.path, self.count, self.size = path, count, size
        self.first = int(path.stem)

    @property
    def end(self) -> int:
        return self.first + self.count


class Spool:
    """The spool of one intake process, which alone owns the directory."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        """Open *directory*: cut a torn tail, find what is still to be sent.

        Raises:
            SetupError: another process has it, or bytes that were on disk are damaged.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory, self._limits = directory, limits
        self._writing = threading.Lock()  # the last segment's file
        self._lock = threading.Lock()  # what is known about files; taken after `_writing`
        self._known: OrderedDict[bytes, str] = OrderedDict()  # digests by id, in order of their entries
        self._receipts_path = directory / "receipts"
        self.cut_bytes = 0  # of a group that a kill left half written: nobody was told that it is stored
        self._lock_file = _locked(directory / "lock")
        try:
            self._load()
        except BaseException:
            os.close(self._lock_file)
            raise

    def _load(self) -> None:
        receipts = self._compact_receipts()
        self._known.update({receipt.ident: receipt.digest for receipt in receipts})
        self._next = receipts[-1].number + 1 if receipts else 0
        self._segments = self._load_segments()
        self._next = max(self._next, self._segments[0].first)
        self._offset = 0  # in the oldest segment, at or before where entry `_next` starts
        self._skipped_to = self._segments[0].first  # the entry that starts there
        self._file = os.open(self._segments[-1].path, os.O_WRONLY | os.O_APPEND)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pending(self) -> int:
        """Return how many entries Kafka does not have."""
        return sum(segment.count for segment in self._segments) - (self._next - self._segments[0].first)

    @property
    def end(self) -> int:
        """Return the number that the next entry gets."""
        return self._segments[-1].end

    @property
    def sent(self) -> int:
        """Return the number below which Kafka has everything."""
        return self._next if self.pending else self.end

    def digest_of(self, report_id: str) -> str | None:
        """Return the digest under an id: of those pending and of the last 100,000 that Kafka has."""
        return self._known.get(_ident(report_id))

    def check_room(self, until: int) -> None:
        """Refuse when entries up to number *until*, itself left out, are too many.

        Raises:
            OverloadedError: the entries or their bytes are at their limits.
        """
        with self._lock:
            waiting = self.pending + until - self.end
        if waiting > self._limits.entries:
            raise OverloadedError("spool", f"{self.pending} reports wait for Kafka")
        if sum(segment.size for segment in self._segments) > self._limits.size_bytes:
            raise OverloadedError("spool", f"{self._limits.size_bytes} bytes wait for Kafka")

    def check_disk(self) -> None:
        """Refuse when the disk is nearly full.

        Raises:
            OverloadedError: less is free than is to be left alone.
        """
        if shutil.disk_usage(self._directory).free < self._limits.free_bytes:
            raise OverloadedError("disk", f"less than {self._limits.free_bytes} bytes are free")

    def append(self, entries: Sequence[Entry]) -> None:
        """Put a group on disk; when this returns, no kill loses it.

        Raises:
            OverloadedError: the disk is nearly full; none of the group is in the spool.
            UnavailableError: the disk refused; the same.
        """
        self.check_disk()
        content = b"".join(frame(_encoder.encode(entry)) for entry in entries)
        with self._writing:
            try:
                segment = self._ready_segment()
                _write_whole(self._file, content)
                os.fdatasync(self._file)
            except OSError as error:
                raise UnavailableError("disk", os.strerror(error.errno or 0)) from error
            with self._lock:
                segment.count += len(entries)
                segment.size += len(content)
                self._known.update({_ident(entry.report_id): entry.digest for entry in entries})

    def read(self, limit: int) -> list[Entry]:
        """Return up to *limit* of the oldest entries that Kafka does not have, all of one segment.

        Raises:
            SetupError: bytes that were on disk are damaged.
        """
        with self._lock:
            self._drop_sent()
            segment = self._segments[0]
            size, end = segment.size, segment.end
        with segment.path.open("rb") as file:
            file.seek(self._offset)
            content = file.read(size - self._offset)
        found: list[Entry] = []
        for payload in whole_frames(content):
            if self._skipped_to < self._next:
                self._skipped_to += 1
                self._offset += framed_bytes(payload)
            else:
                found.append(_entry.decode(payload))
            if len(found) == limit:
                break
        if not found and self._next < end:
            raise SetupError(str(segment.path), _DAMAGED)
        return found

    def release(self, entries: Sequence[Entry]) -> None:
        """Note that Kafka has the oldest *entries*, as `read` returned them; delete segments it has wholly."""
        self._write_receipts([Receipt(self._next + n, _ident(e.report_id), e.digest) for n, e in enumerate(entries)])
        with self._lock:
            self._next += len(entries)
            self._drop_sent()
            while len(self._known) - self.pending > REMEMBERED:
                self._known.popitem(last=False)

    def tidy(self) -> None:
        """Delete what Kafka has, when that is all there is."""
        with self._writing, self._lock:
            if not self.pending and self._segments[-1].count:
                self._start_segment()
                self._drop_oldest()

    def close(self) -> None:
        """Leave the directory to the next process."""
        self.tidy()
        for file in (self._file, self._receipts, self._lock_file):
            os.close(file)

    # -- files -----------------------------------------------------------------------------

    def _compact_receipts(self) -> list[Receipt]:
        """Keep the last 100,000 receipts and return them; from now on they are appended to."""
        content = self._receipts_path.read_bytes() if self._receipts_path.exists() else b""
        kept = list(whole_frames(content))[-REMEMBERED:]
        fresh = self._receipts_path.with_suffix(".new")
        self._receipts = os.open(fresh, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
        _write_whole(self._receipts, b"".join(map(frame, kept)))
        os.fsync(self._receipts)
        fresh.replace(self._receipts_path)
        self._receipts_written = len(kept)
        return list(map(_receipt.decode, kept))

    def _write_receipts(self, receipts: Sequence[Receipt]) -> None:
        size = os.fstat(self._receipts).st_size
        try:
            _write_whole(self._receipts, b"".join(frame(_encoder.encode(receipt)) for receipt in receipts))
        except OSError:  # a full disk, say: to go on deletes segments, and a repeat is dropped by its id
            os.ftruncate(self._receipts, size)
        self._receipts_written += len(receipts)
        if self._receipts_written > 2 * REMEMBERED:
            os.close(self._receipts)
            self._compact_receipts()

    def _load_segments(self) -> list[_Segment]:
        paths = sorted(self._directory.glob(f"*{_SUFFIX}"))
        found = [self._load_segment(path) for path in paths]
        for segment in found[:-1]:
            if segment.path.stat().st_size != segment.size:
                raise SetupError(str(segment.path), _DAMAGED)
        if found:
            self._cut(found[-1])
        for segment in found:
            if segment.end <= self._next:
                segment.path.unlink()
        left = [segment for segment in found if segment.end > self._next]
        return left or [self._new_segment(self._next)]

    def _load_segment(self, path: Path) -> _Segment:
        segment = _Segment(path)
        for payload in whole_frames(path.read_bytes()):
            entry = _entry.decode(payload)
            self._known[_ident(entry.report_id)] = entry.digest
            segment.count += 1
            segment.size += framed_bytes(payload)
        return segment

    def _cut(self, last: _Segment) -> None:
        self.cut_bytes = last.path.stat().st_size - last.size
        os.truncate(last.path, last.size)
        _sync(last.path)

    def _new_segment(self, first: int) -> _Segment:
        path = self._directory / f"{first:020}{_SUFFIX}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _sync(self._directory)
        return _Segment(path)

    def _ready_segment(self) -> _Segment:
        """Return the segment to write to, without the half frame that a refused write left."""
        segment = self._segments[-1]
        if os.fstat(self._file).st_size != segment.size:
            os.ftruncate(self._file, segment.size)
        if segment.size >= _SEGMENT_BYTES:
            with self._lock:
                self._start_segment()
        return self._segments[-1]

    def _start_segment(self) -> None:
        segment = self._new_segment(self.end)
        os.close(self._file)
        self._file = os.open(segment.path, os.O_WRONLY | os.O_APPEND)
        self._segments.append(segment)

    def _drop_sent(self) -> None:
        # Also before reading: the oldest was the last when all of it was sent, and is not any more.
        while len(self._segments) > 1 and self._segments[0].end <= self._next:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._segments.pop(0).path.unlink()
        self._next = self._skipped_to = self._segments[0].first
        self._offset = 0


def _ident(report_id: str) -> bytes:
    return sha256(report_id.encode()).digest()[:16]


def _locked(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise SetupError(str(path.parent), "another intake has this spool") from error
    return file


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _write_whole(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
