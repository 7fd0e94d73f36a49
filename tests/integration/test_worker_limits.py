"""What a worker does with records that nobody could have meant: too large, or too many."""

import os
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from infra.clock import utc_now
from infra.deadletters import MOST
from infra.kafka import group_lag, headers, read_to_end
from infra.local.summary import time_reached
from infra.replay.letters import Selection, find, put_back
from pipelines.app import APP_ID
from schemas import codec
from schemas.topics import CASES, DEAD_LETTERS, REPORTS
from tests.builders import GRID, a_report
from tests.conftest import eventually, process
from tests.district import District


@pytest.fixture(scope="module")
def raw(district: District) -> Producer:
    """A producer with no mercy."""
    return Producer({"bootstrap.servers": district.settings.kafka, "message.max.bytes": 64 << 20})


def send(raw: Producer, value: bytes, count: int = 1) -> None:
    for _ in range(count):
        raw.produce(REPORTS.name, key=GRID.encode(), value=value, partition=codec.partition_of(GRID, 4))
    assert raw.flush(10) == 0


def letters(district: District) -> list[dict[str, str | None]]:
    return [
        {"size": codec.header(headers(message), "size_bytes"), "held": str(len(message.value() or b""))}
        for message in read_to_end(district.settings, DEAD_LETTERS)
    ]


def test_a_record_as_large_as_a_topic_takes_is_a_letter(district: District, raw: Producer) -> None:
    """The largest batch of noise is kept whole; of what only compression lets in, size and hash are."""
    noise, air = os.urandom(1_040_000), 20 << 20
    send(raw, noise)
    compressing = Producer(
        {"bootstrap.servers": district.settings.kafka, "message.max.bytes": 64 << 20, "compression.type": "zstd"}
    )
    send(compressing, bytes(air))

    with process("pipelines", district.settings, log=district.settings.data_dir / "worker.log") as worker:
        eventually(lambda: worker.poll() is not None or len(letters(district)) == 2, within_s=60, what="two letters")

    assert letters(district) == [
        {"size": str(len(noise)), "held": str(len(noise))},
        {"size": str(air), "held": "0"},
    ]


def test_after_a_bad_deploy_the_next_one_reads_on_and_letters_are_put_back(district: District) -> None:
    """R9: a release that takes no report keeps what it did not try; nothing is lost."""
    reports = [a_report(f"deploy-{n}") for n in range(300)]
    cases = {district.report(report) for report in reports}
    with process("tests.faults.mutants", district.settings, "bad_deploy", log=_log(district)):
        eventually(lambda: '"input_stopped"' in _log(district).read_text(), within_s=60, what="the input is stopped")

    with process("pipelines", district.settings, log=_log(district)):
        eventually(lambda: len(_opened(district) & cases) == 300 - MOST - 1, within_s=60, what="the rest are cases")
        meant = Selection(reasons=frozenset({"internal_error"}))
        found = find(district.settings, meant, attempts=1, limit=1000)
        assert len(list(put_back(district.settings, found, rate_per_s=1000.0, sleep=time.sleep))) == MOST + 1
        eventually(lambda: cases <= _opened(district), within_s=60, what="every report is a case")


def test_a_bad_deploy_stops_its_input_and_drains_nothing(district: District, raw: Producer) -> None:
    """After too many letters the partition's reports stand still; other grids and time itself go on."""
    before = len(letters(district))
    send(raw, b"{", 300)
    elsewhere = next(g for g in ("610117001001002", "610117001001003", "610117001001004") if _differs(g))

    with process("pipelines", district.settings, log=district.settings.data_dir / "worker.log"):
        eventually(lambda: len(letters(district)) > before + MOST, within_s=60, what="the limit is reached")
        began = utc_now()
        district.report(a_report("elsewhere", grid_id=elsewhere))
        eventually(lambda: [c for c in district.values(CASES) if c.grid_id == elsewhere], within_s=20, what="a case")
        eventually(lambda: min(time_reached(district.settings).values()) > began, within_s=20, what="time goes on")

    assert len(letters(district)) == before + MOST + 1
    assert group_lag(district.settings, APP_ID)[REPORTS.name] >= 300 - MOST


def _opened(district: District) -> set[str]:
    return {case.case_id for case in district.values(CASES)}


def _log(district: District) -> Path:
    return district.settings.data_dir / "deploy.log"


def _differs(grid: str) -> bool:
    return codec.partition_of(grid, 4) != codec.partition_of(GRID, 4)
