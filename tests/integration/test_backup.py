"""Backup and restore between real stores: everything is deleted in between, everything is there again."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread
from typing import Any

import obstore
import pytest
from confluent_kafka import TopicPartition

from infra.clickhouse import Role, connect
from infra.clock import utc_now
from infra.kafka import Producer, bounds, committed, headers, read_to_end
from infra.migrate import migrate_warehouse
from infra.photos import photo_store
from infra.provision import admin, check_topics
from infra.reference import publish
from infra.settings import Settings
from schemas.cases import CommandResult, Move, Verdict
from schemas.errors import EXIT_SETUP, UnavailableError
from schemas.topics import CASE_EVENTS, CASE_RESULTS, CLOCK_TICKS, TOPICS, Cleanup
from tests.builders import GRID, WORKER, a_report
from tests.conftest import ROOT, environment, eventually, process, running_broker
from tests.district import District
from tests.warehouse import running_warehouse

BY_OFFSET = [topic.name for topic in TOPICS if topic.cleanup is Cleanup.DELETE]
BY_KEY = [topic.name for topic in TOPICS if topic.cleanup is Cleanup.COMPACT]
VIEWS = ("v_reports", "v_case_events", "v_cases", "v_grid_counts", "v_kpi")
PHOTO = b"a picture, drawn again"


@contextmanager
def stores(settings: Settings) -> Iterator[None]:
    """Broker and warehouse of *settings*, and nothing else."""
    with running_broker(settings), running_warehouse(settings):
        yield


@contextmanager
def at_work(settings: Settings) -> Iterator[None]:
    """A worker and a sink."""
    worker = process("pipelines", settings, log=settings.data_dir / "worker.out")
    sink = process("consumers.warehouse", settings, log=settings.data_dir / "sink.out")
    with worker, sink:
        yield


def seen(settings: Settings) -> dict[str, Any]:
    """Everything a reader of topics can tell: where topics are kept by offset, places too."""
    found: dict[str, Any] = {}
    for topic in TOPICS:
        hashed, count = sha256(), 0
        by_partition: dict[int, list[tuple[Any, ...]]] = {p: [] for p in range(settings.partitions)}
        for message in read_to_end(settings, topic):
            place = message.offset() if topic.name in BY_OFFSET else None
            row = (place, message.timestamp()[1], message.key(), message.value(), headers(message))
            by_partition[message.partition() or 0].append(row)
            count += 1
        hashed.update(repr(by_partition).encode())
        found[topic.name] = (count, hashed.hexdigest())
    return found


def rows(settings: Settings) -> dict[str, Any]:
    """What analysts see."""
    with closing(connect(settings, Role.READER)) as client:
        return {view: sorted(map(repr, client.query(f"SELECT * FROM {view}").result_rows)) for view in VIEWS}  # noqa: S608


def gridwatch(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).with_name("gridwatch"), *arguments],
        env=environment(settings), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def verdict(district: District, command_id: str) -> CommandResult | None:
    found = {result.command_id: result for result in district.values(CASE_RESULTS)}
    return found.get(command_id)


def answered(district: District, command_id: str) -> CommandResult:
    found = eventually(lambda: verdict(district, command_id), within_s=60, what=f"{command_id} is answered")
    assert isinstance(found, CommandResult)
    return found


def caught_up(settings: Settings) -> None:
    def behind() -> int:
        places = [*committed(settings, "gridwatch-sink"), *committed(settings, "gridwatch-cases")]
        topics = {at.topic for at in places} - {CLOCK_TICKS.name}
        ends = {topic: bounds(settings, topic) for topic in topics}
        return sum(ends[at.topic][at.partition][1] - at.offset for at in places if at.topic in topics) + (not places)

    eventually(lambda: behind() == 0, within_s=60, what="worker and sink have committed everything")


@contextmanager
def reporting(district: District) -> Iterator[list[str]]:
    """A stream of reports while the block runs; yields the ids that the broker has acknowledged."""
    sent: list[str] = []
    stop = Event()

    def report() -> None:
        while not stop.wait(0.01):  # the pace of the load
            number = len(sent)
            district.report(a_report(f"live-{number}", grid_id=GRID[:-1] + str(number % 4 + 1)))
            sent.append(f"live-{number}")

    thread = Thread(target=report)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def lived(settings: Settings) -> str:
    """Let a case be opened and acknowledged, lose the head of a topic; return the case."""
    publish(settings, utc_now())
    migrate_warehouse(settings)
    with Producer(settings, "test") as producer, at_work(settings):
        district = District(settings, producer)
        case_id = district.report(a_report("r-1"))
        for number in range(2, 30):
            district.report(a_report(f"r-{number}", grid_id=GRID[:-1] + str(number % 3 + 1)))
        district.ask(case_id, Move.ACKNOWLEDGE, WORKER, utc_now(), "c-1")
        assert answered(district, "c-1").verdict is Verdict.ACCEPTED
        caught_up(settings)
        ticked = lambda: max(end for _, end in bounds(settings, CLOCK_TICKS.name).values()) > 0  # noqa: E731
        eventually(ticked, within_s=30, what="a tick is written")
    first, end = max(bounds(settings, CLOCK_TICKS.name).items(), key=lambda found: found[1][1])[0], 1
    client = admin(settings)
    for deleted in client.delete_records([TopicPartition(CLOCK_TICKS.name, first, end)]).values():
        assert deleted.result(10).low_watermark == end
    obstore.put(photo_store(settings), "ab/ab.jpg", PHOTO)
    (settings.data_dir / "follow.key").write_bytes(b"secret")
    return case_id


@pytest.fixture(scope="module")
def saved(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A stack that lived, was backed up and deleted."""
    target = tmp_path_factory.mktemp("safe") / "backup"
    with stores(settings):
        case_id = lived(settings)
        before = {"topics": seen(settings), "rows": rows(settings), "groups": places(settings)}
        made = gridwatch(settings, "backup", str(target), "--json")
        assert made.returncode == 0, made.stderr
    for kept in settings.data_dir.iterdir():
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
    return {"case": case_id, "target": target, "before": before, "made": json.loads(made.stdout)}


def places(settings: Settings) -> dict[str, int]:
    """The committed offsets that mean a place, not a key; a broker that was just started may not know them yet."""

    def found() -> dict[str, int] | None:
        try:
            groups = {group: committed(settings, group) for group in ("gridwatch-cases", "gridwatch-sink")}
        except UnavailableError:
            return None
        return {
            f"{group} {at.topic} {at.partition}": at.offset
            for group, committed_places in groups.items()
            for at in committed_places
            if at.topic in BY_OFFSET
        }

    known = eventually(found, within_s=30, what="groups have committed offsets")
    assert isinstance(known, dict)
    return known


def test_what_was_deleted_is_there_again(settings: Settings, saved: dict[str, Any]) -> None:
    """Records with key, value, headers, append time and offset; committed offsets; rows; photos; secrets.

    The command starts the stores itself. A worker goes on with the case, and what it writes meets what is there.
    """
    restored = gridwatch(settings, "restore", str(saved["target"]), "--json")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout) == saved["made"]

    with stores(settings):
        assert {"topics": seen(settings), "rows": rows(settings), "groups": places(settings)} == saved["before"]
        check_topics(settings)
        assert obstore.get(photo_store(settings), "ab/ab.jpg").bytes() == PHOTO
        assert (settings.data_dir / "follow.key").read_bytes() == b"secret"

        ledger = saved["before"]["topics"][CASE_EVENTS.name][0]
        with Producer(settings, "test") as producer, at_work(settings):
            district = District(settings, producer)
            district.ask(saved["case"], Move.HANDLE, WORKER, utc_now(), "c-2")
            assert answered(district, "c-2").verdict is Verdict.ACCEPTED
            caught_up(settings)
        assert all(len(values) == 1 for values in district.by_id(CASE_EVENTS).values())
        assert len(district.by_id(CASE_EVENTS)) > ledger
        assert len(rows(settings)["v_reports"]) == len(saved["before"]["rows"]["v_reports"])

        refused = gridwatch(settings, "restore", str(saved["target"]))
        assert refused.returncode == EXIT_SETUP
        assert "--replace" in refused.stderr

        replaced = gridwatch(settings, "restore", str(saved["target"]), "--replace")
        assert replaced.returncode == 0, replaced.stderr
        assert {"topics": seen(settings), "rows": rows(settings), "groups": places(settings)} == saved["before"]


def test_a_backup_taken_at_work_is_whole(settings: Settings, tmp_path: Path) -> None:
    """While reports come, cases open and rows land: what the broker had acknowledged by then is in it.

    A table that somebody made by hand is named and left out: no restore would know where it belongs.
    """
    target = tmp_path / "backup"
    with stores(settings), Producer(settings, "test") as producer:
        apply(settings)
        district = District(settings, producer)
        with at_work(settings), reporting(district) as sent:
            eventually(lambda: len(sent) > 200, within_s=60, what="200 reports are in")
            before = list(sent)
            made = gridwatch(settings, "backup", str(target))
            assert made.returncode == 0, made.stderr
            assert len(sent) > len(before), "nothing came meanwhile"
        assert "handmade" in made.stderr

        restored = gridwatch(settings, "restore", str(target), "--replace")
        assert restored.returncode == 0, restored.stderr
        with at_work(settings):
            caught_up(settings)
            reconciled = gridwatch(settings, "warehouse", "reconcile")
            assert reconciled.returncode == 0, reconciled.stdout
        events = district.by_id(CASE_EVENTS)
        assert all(len(values) == 1 for values in events.values())
        with closing(connect(settings, Role.READER)) as reader:
            known = {row[0] for row in reader.query("SELECT report_id FROM v_reports").result_rows}
            cases = {row[0] for row in reader.query("SELECT origin_id FROM v_cases").result_rows}
        assert set(before) <= known
        assert set(before) <= cases


def apply(settings: Settings) -> None:
    """Make the schema and a table that no migration knows."""
    migrate_warehouse(settings)
    publish(settings, utc_now())
    with closing(connect(settings, Role.WRITER)) as client:
        client.command("CREATE TABLE IF NOT EXISTS handmade (n UInt8) ENGINE = MergeTree ORDER BY n")
