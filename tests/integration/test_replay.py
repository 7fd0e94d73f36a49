"""Replay against a real broker and a real worker: what was mended becomes a case, once; nothing else changes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.clock import utc_now
from infra.deadletters import Origin, dead_letter_headers
from infra.kafka import headers, read_to_end
from infra.reference import publish
from infra.replay import letters as dead_letters
from infra.replay.letters import Finding, Selection, State
from infra.settings import Settings
from schemas import codec
from schemas.cases import LedgerKind
from schemas.errors import RecordError
from schemas.topics import CASE_EVENTS, CASES, CLOCK_TICKS, DEAD_LETTERS, REPORTS, Topic
from tests.builders import DISTRICT, GRID, a_report, with_policy
from tests.conftest import environment, eventually, process
from tests.district import District

PHONE = "13800138000"
MENDED_FIRST, MENDED_LAST = "01002", "01003"  # items that the catalogue holds from the second, the third worker on


@contextmanager
def worker(settings: Settings, directory: Path, *unknown: str) -> Iterator[None]:
    """Run a worker whose catalogue lacks the items *unknown*; return when its lanes are open."""
    policy = (DISTRICT / "policy.toml").read_text(encoding="utf-8")
    settings = with_policy(settings, directory, policy)
    items = (directory / "items.toml").read_text(encoding="utf-8")
    for code in unknown:
        items = items.replace(f'code = "{code}"', f'code = "{code[:2]}9{code[3:]}"')
    (directory / "items.toml").write_text(items, encoding="utf-8")
    publish(settings, utc_now())
    log = directory / "worker.log"
    with process("pipelines", settings, log=log):
        eventually(lambda: "lanes_open" in log.read_text(), within_s=40, what="lanes open")
        yield


def letters(district: District) -> int:
    return len(district.by_id(DEAD_LETTERS))


def cases(district: District) -> set[str]:
    return {case.case_id for case in district.values(CASES)}


def records(settings: Settings, topic: Topic) -> list[Any]:
    return list(read_to_end(settings, topic))


def found(settings: Settings, attempts: int = 1, limit: int = 100, **selection: Any) -> list[Finding]:
    return dead_letters.find(settings, Selection(**selection), attempts=attempts, limit=limit)


def states(settings: Settings, **selection: Any) -> list[State]:
    return [finding.state for finding in found(settings, **selection)]


def put_back(settings: Settings, *findings: Finding) -> list[Origin]:
    return list(dead_letters.put_back(settings, findings, rate_per_s=1000, sleep=lambda _: None))


def command(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `gridwatch replay` as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", "replay", *arguments],
        env=environment(settings), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_what_is_mended_becomes_one_case_and_what_is_not_a_letter_that_waits(
    district: District, tmp_path: Path
) -> None:
    """Two bad reports; one is mended, both are replayed, twice; then the other is mended, and asked for again."""
    settings = district.settings
    with worker(settings, tmp_path / "1", MENDED_FIRST, MENDED_LAST):
        first = district.report(a_report("mended-first", item_code=MENDED_FIRST))
        last = district.report(a_report("mended-last", item_code=MENDED_LAST))
        eventually(lambda: letters(district) == 2, within_s=20, what="two dead letters")
        assert not {first, last} & cases(district)

    with worker(settings, tmp_path / "2", MENDED_LAST):
        assert len(put_back(settings, *found(settings, reasons=frozenset({"unknown_item"})))) == 2
        eventually(lambda: first in cases(district), within_s=20, what="the mended report is a case")
        eventually(lambda: letters(district) == 3, within_s=20, what="the other one is a dead letter again")

        assert put_back(settings, *found(settings)) == []
        assert states(settings) == [State.REPLAYED, State.REPLAYED, State.TRIED]
        assert len(records(settings, REPORTS)) == 4
        assert last not in cases(district)

    with worker(settings, tmp_path / "3"):
        assert len(put_back(settings, *found(settings, attempts=2))) == 1
        eventually(lambda: last in cases(district), within_s=20, what="the other report is a case at last")
        # A copy that nothing held back: as if two people had replayed at once.
        again = [m for m in records(settings, REPORTS) if codec.header(headers(m), "ce_id") == "mended-first"][-1]
        district.producer.send_raw(REPORTS.name, key=again.key(), value=again.value(), headers=headers(again)).result(
            10
        )
        marker = district.report(a_report("after-all"))
        eventually(lambda: marker in cases(district), within_s=20, what="everything has been read")

    opened = [e.case_id for e in district.values(CASE_EVENTS) if e.kind is LedgerKind.OPENED]
    assert sorted(opened) == sorted({first, last, marker})
    assert letters(district) == 3


def dead(
    district: District,
    value: bytes,
    reason: str,
    topic: Topic = REPORTS,
    *,
    ce_id: str | None = None,
    lettered: bytes = b"",
) -> Origin:
    """Put a bad record on *topic* and its letter on the dead letters; return where the record is."""
    sent = [("ce_id", ce_id.encode()), ("traceparent", b"00-1")] if ce_id else []
    district.producer.send_raw(topic.name, key=GRID.encode(), value=value, headers=sent).result(10)
    [there] = [message for message in records(district.settings, topic) if message.value() == value]
    origin = Origin(topic=topic.name, partition=there.partition(), offset=there.offset())
    letter = dead_letter_headers(origin, RecordError(reason, PHONE), process="worker", value=lettered or value)
    for _ in range(2):  # a letter may be repeated after a crash
        district.producer.send_raw(DEAD_LETTERS.name, key=None, value=value, headers=letter).result(10)
    return origin


def test_a_copy_is_the_record_to_the_byte_in_the_same_partition(district: District) -> None:
    """Key, value of any size, headers; `ce_id` too, and a record without one is known by its first place for ever."""
    settings, large = district.settings, b"{" + b"x" * 3_000_000  # as lz4 lets it onto the topic
    places = {b"{named": dead(district, b"{named", "bytes", ce_id="r-bytes")}
    places |= {value: dead(district, value, "bytes") for value in (b"{nameless", large)}

    assert put_back(settings, *found(settings, reasons=frozenset({"bytes"}))) == list(places.values())

    for value, place in places.items():
        original, copied = (m for m in records(settings, REPORTS) if m.value() == value)
        kept, added = headers(copied)[: len(headers(original))], headers(copied)[len(headers(original)) :]
        assert (copied.key(), copied.partition()) == (original.key(), original.partition())
        assert kept == headers(original)
        assert dict(added)["replay_of"] == place.place.encode()
        assert dict(headers(copied))["ce_id"] == (b"r-bytes" if value == b"{named" else place.place.encode())


def test_a_run_that_is_cut_short_goes_on_where_it_stopped(district: District) -> None:
    """Nothing is remembered but on the topic; every record has one copy in the end."""
    settings = district.settings
    places = [dead(district, f"{{cut {n}".encode(), "cut") for n in range(5)]
    run = dead_letters.put_back(
        settings, found(settings, reasons=frozenset({"cut"})), rate_per_s=1000, sleep=lambda _: None
    )
    assert [next(run), next(run)] == places[:2]
    run.close()

    left = found(settings, limit=2, reasons=frozenset({"cut"}))
    assert [f.state for f in left] == [State.REPLAYED] * 2 + [State.READY] * 2 + [State.LATER]
    put_back(settings, *left)
    put_back(settings, *found(settings, reasons=frozenset({"cut"})))

    copied = [codec.header(headers(m), "replay_of") for m in records(settings, REPORTS) if b"{cut" in m.value()]
    assert copied[5:] == [origin.place for origin in places]
    assert set(states(settings, reasons=frozenset({"cut"}))) == {State.REPLAYED}


def test_records_go_back_no_faster_than_they_may(district: District) -> None:
    """The first at once, each next one after its share of a second."""
    settings, waited = district.settings, []
    for n in range(3):
        dead(district, f"{{rate {n}".encode(), "rate")
    ready = found(settings, reasons=frozenset({"rate"}))

    assert len(list(dead_letters.put_back(settings, ready, rate_per_s=0.01, sleep=waited.append))) == 3
    assert waited[0] == 0
    assert all(90 < seconds <= 100 for seconds in waited[1:])


def test_what_would_do_harm_stays_where_it_is(district: District) -> None:
    """Ticks and compacted topics take no copies; a record that is not the letter's is not touched."""
    settings = district.settings
    dead(district, b"{tick", "harm", CLOCK_TICKS)
    dead(district, b"{case", "harm", CASES)
    dead(district, b"{other", "harm", lettered=b"{what was there before")
    judged = found(settings, reasons=frozenset({"harm"}))

    assert [finding.state for finding in judged] == [State.BARRED, State.BARRED, State.GONE]
    assert put_back(settings, *judged) == []


def test_the_command_writes_only_when_told_to_and_never_shows_content(district: District) -> None:
    """Neither the record nor `detail`, for people or for scripts; the second time there is nothing to do."""
    settings = district.settings
    origin = dead(district, f'{{"phone": "{PHONE}"'.encode(), "shown")
    dry, real, again = (command(settings, "--reason", "shown", *more) for more in (["--json"], ["--yes"], ["--json"]))

    for shown in (dry, real, again):
        assert shown.returncode == 0, shown.stderr
        assert PHONE not in shown.stdout + shown.stderr
    asked, settled = json.loads(dry.stdout), json.loads(again.stdout)
    assert (asked["topic"], asked["partition"], asked["offset"]) == (origin.topic, origin.partition, origin.offset)
    assert (asked["state"], settled["state"]) == ("ready", "replayed")
    assert (dry.stderr.strip(), real.stderr.strip()) == ("1 ready", "1 replayed")
    assert len([m for m in records(settings, REPORTS) if PHONE.encode() in m.value()]) == 2
