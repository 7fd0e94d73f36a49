"""The spool on a real disk: what it holds, what it refuses, what a restart finds."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from infra.kafka import Outgoing
from producers.reports import spool as module
from producers.reports.spool import Entry, Limits, Spool
from schemas.errors import OverloadedError, SetupError, UnavailableError
from tests.conftest import ROOT

AMPLE = Limits(entries=1_000_000, size_bytes=1 << 30, free_bytes=0)


def entry(number: int, size: int = 20) -> Entry:
    record = Outgoing("reports.v1", b"grid", b"x" * size, [("ce_id", b"r")])
    return Entry(f"r-{number}", f"{number:016x}", [record])


def entries(count: int, start: int = 0) -> list[Entry]:
    return [entry(number) for number in range(start, start + count)]


def drained(spool: Spool, limit: int = 100) -> list[Entry]:
    """Read and release everything."""
    found: list[Entry] = []
    while batch := spool.read(limit):
        spool.release(batch)
        found += batch
    return found


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.seg"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_what_was_appended_comes_out_in_order_once(directory: Path) -> None:
    """Over several segments, in batches that do not match the groups."""
    wanted = [entry(n, size=50_000) for n in range(250)]
    with Spool(directory, AMPLE) as spool:
        for start in range(0, 250, 10):
            spool.append(wanted[start : start + 10])
        assert len(segments(directory)) > 2

        assert drained(spool, limit=7) == wanted
        assert (spool.pending, len(segments(directory))) == (0, 1)


@pytest.mark.parametrize("released", [0, 3, 10])
def test_a_restart_finds_what_kafka_does_not_have(directory: Path, released: int) -> None:
    """Receipts say how far it came; the ids of both parts are known."""
    with Spool(directory, AMPLE) as spool:
        spool.append(entries(10))
        spool.release(spool.read(10)[:released])

    with Spool(directory, AMPLE) as spool:
        assert spool.pending == 10 - released
        assert [spool.digest_of(f"r-{n}") for n in range(10)] == [e.digest for e in entries(10)]
        assert spool.digest_of("r-10") is None
        assert drained(spool) == entries(10 - released, start=released)


def test_appending_while_reading_loses_nothing(directory: Path) -> None:
    """Reads meet the end of what is there, and go on from it."""
    with Spool(directory, AMPLE) as spool:
        found: list[Entry] = []
        for start in range(0, 300, 3):
            spool.append(entries(3, start))
            batch = spool.read(2 + start % 3)
            spool.release(batch)
            found += batch
            if start % 30 == 0:
                spool.tidy()
        assert found + drained(spool) == entries(300)


def test_a_segment_that_is_sent_before_the_next_begins_is_left_behind(directory: Path) -> None:
    """The reader keeps up with the writer across a segment's end; it once stood there for ever."""
    with Spool(directory, AMPLE) as spool:
        for n in range(300):
            spool.append([entry(n, size=50_000)])
            assert drained(spool) == [entry(n, size=50_000)]
        assert spool.pending == 0


@pytest.mark.parametrize("kept", ["torn", "none", "zeros"])
def test_a_torn_tail_is_cut(directory: Path, kept: str) -> None:
    """The half-written group goes, everything before it stays, and the next group follows it."""
    with Spool(directory, AMPLE) as spool:
        spool.append(entries(5))
    [path] = segments(directory)
    torn = {"torn": module.frame(b"y" * 100)[:50], "none": b"", "zeros": bytes(300)}[kept]
    with path.open("ab") as file:
        file.write(torn)

    with Spool(directory, AMPLE) as spool:
        assert spool.cut_bytes == len(torn)
        spool.append(entries(5, start=5))
    with Spool(directory, AMPLE) as spool:
        assert drained(spool) == entries(10)


def test_damage_before_the_last_segment_stops_the_start(directory: Path) -> None:
    """It was acknowledged: only a person may give it up, by moving the file away; the rest is then sent."""
    with Spool(directory, AMPLE) as spool:
        for n in range(200):
            spool.append([entry(n, size=50_000)])
    first, *others = segments(directory)
    content = bytearray(first.read_bytes())
    content[1000] ^= 1
    first.write_bytes(content)

    with pytest.raises(SetupError, match=first.name):
        Spool(directory, AMPLE)
    first.unlink()
    with Spool(directory, AMPLE) as spool:
        found = drained(spool)
    assert [e.report_id for e in found] == [f"r-{n}" for n in range(int(others[0].stem), 200)]


def test_an_entry_past_the_limit_is_refused_and_room_comes_back(directory: Path) -> None:
    """2,000 entries fit, the next does not; one that Kafka has makes room for one."""
    limits = Limits(entries=2000, size_bytes=1 << 30, free_bytes=0)
    with Spool(directory, limits) as spool:
        spool.check_room(2000)
        with pytest.raises(OverloadedError):
            spool.check_room(2001)
        spool.append(entries(2000))
        with pytest.raises(OverloadedError, match="2000"):
            spool.check_room(2001)
        spool.release(spool.read(1))
        spool.check_room(2001)


@pytest.mark.parametrize(
    "limits",
    [Limits(entries=10, size_bytes=100, free_bytes=0), Limits(entries=10, size_bytes=1 << 30, free_bytes=1 << 60)],
)
def test_bytes_and_the_disk_have_limits_too(directory: Path, limits: Limits) -> None:
    """Long reports fill a disk sooner than their number says."""

    def fill(spool: Spool) -> None:
        spool.append([entry(1, size=1000)])  # the disk's limit
        spool.check_room(2)  # that of bytes

    with Spool(directory, limits) as spool, pytest.raises(OverloadedError):
        fill(spool)


def test_a_directory_has_one_owner(directory: Path) -> None:
    """A second intake on the same spool would write between the first one's frames."""
    with Spool(directory, AMPLE), pytest.raises(SetupError, match="another intake"):
        Spool(directory, AMPLE)


def test_names_leave_the_disk_when_kafka_has_them(directory: Path) -> None:
    """What stays is a hash of the id and the digest."""
    with Spool(directory, AMPLE) as spool:
        spool.append([Entry("r-1", "0" * 16, [Outgoing("reporters.v1", b"r-1", "演示居民甲".encode(), [])])])
        drained(spool)
        spool.tidy()
        content = b"".join(path.read_bytes() for path in directory.iterdir())
        assert "演示居民甲".encode() not in content
        assert spool.digest_of("r-1") == "0" * 16


def test_receipts_stay_few(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last ones are remembered across restarts, the file does not grow for ever."""
    monkeypatch.setattr(module, "REMEMBERED", 10)
    with Spool(directory, AMPLE) as spool:
        for start in range(0, 200, 5):
            spool.append(entries(5, start))
            drained(spool)
        size = (directory / "receipts").stat().st_size
    with Spool(directory, AMPLE) as spool:
        assert size < 2500
        assert (spool.digest_of("r-199"), spool.digest_of("r-100")) == (f"{199:016x}", None)
        spool.append(entries(1, 200))
        assert drained(spool) == entries(1, 200)


def test_a_full_disk_refuses_the_group_and_takes_the_next_when_there_is_room(directory: Path) -> None:
    """Half a frame on the disk is not in the way of what follows."""
    with Spool(directory, AMPLE) as spool:
        spool.append(entries(5))
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
            with pytest.raises(UnavailableError, match="disk"):
                spool.append([entry(99, size=5000)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, ignored)
        assert spool.digest_of("r-99") is None
        spool.append(entries(5, start=5))
    with Spool(directory, AMPLE) as spool:
        assert spool.cut_bytes == 0
        assert drained(spool) == entries(10)


# -- kill -9 -----------------------------------------------------------------------------------

_WRITER = """
import sys
from pathlib import Path
from tests.integration.test_spool import AMPLE, Spool, entry
start, size = int(sys.argv[2]), int(sys.argv[3])
with Spool(Path(sys.argv[1]), AMPLE) as spool:
    while True:
        group = [entry(n, size) for n in range(start, start + 7)]
        spool.append(group)
        start += 7
        print(start, flush=True)
        batch = spool.read(5)
        print(*("sent", *(e.report_id for e in batch)), flush=True)
        spool.release(batch)
"""


def killed_after(directory: Path, start: int, lines: int, size: int) -> Sequence[str]:
    """Run a writer from entry *start*, kill it after *lines* lines; return what it said."""
    command = [sys.executable, "-c", _WRITER, str(directory), str(start), str(size)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        return said + child.stdout.readlines()


def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(directory: Path) -> None:
    """Ten kills: every acknowledged entry is sent or still there, in order; what is not acknowledged may be."""
    rng, acknowledged, start = Random(7), 0, 0
    sent: list[int] = []
    for _ in range(10):
        for line in killed_after(directory, start, rng.randrange(1, 60), size=rng.choice([20, 20_000])):
            if line.startswith("sent"):
                sent += [int(ident[2:]) for ident in line.split()[1:]]
            elif line.strip():
                acknowledged = int(line)
        with Spool(directory, AMPLE) as spool:
            start = max(acknowledged, *(int(e.report_id[2:]) + 1 for e in _peeked(spool)), 0)
    with Spool(directory, AMPLE) as spool:
        left = [int(e.report_id[2:]) for e in drained(spool)]
    everything = sent + left
    assert set(range(acknowledged)) <= set(everything)
    assert sorted(set(everything)) == list(dict.fromkeys(everything)), "a repeat is of something earlier, never a skip"


def _peeked(spool: Spool) -> list[Entry]:
    """Return what is pending, without releasing it."""
    return spool.read(1_000_000)


def test_no_file_is_readable_by_others(directory: Path) -> None:
    """It holds names and phones."""
    with Spool(directory, AMPLE) as spool:
        spool.append(entries(1))
        assert all(os.stat(path).st_mode & 0o077 == 0 for path in [directory, *directory.iterdir()])
