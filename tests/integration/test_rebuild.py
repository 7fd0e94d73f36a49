"""The tables against their topics: made anew, and held against each other."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import msgspec
import pytest
from clickhouse_connect.driver import Client
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.warehouse.daily import reconcile_if_due
from consumers.warehouse.sink import GROUP
from infra.clickhouse import Role, connect
from infra.clock import utc_now
from infra.kafka import consumer
from infra.provision import apply_topics
from infra.settings import Settings
from schemas.errors import EXIT_SETUP
from schemas.topics import REPORTS
from tests.conftest import eventually
from tests.rebuilding import check_rebuild, command
from tests.warehouse import hashes


@pytest.fixture
def writer(stack: Settings) -> Iterator[Client]:
    """Who may change tables."""
    with closing(connect(stack, Role.WRITER)) as client:
        yield client


def test_a_rebuild_shows_every_view_as_it_was(stack: Settings) -> None:
    """Repeats, late old versions, records that are no row, and a kill of the sink are behind it."""
    assert check_rebuild(stack, 4_000, patience_s=60) > 13_000


def test_a_row_that_is_gone_is_found_missing_and_a_rebuild_brings_it_back(stack: Settings, writer: Client) -> None:
    """The daily look keeps what it found, once a day."""
    whole = hashes(writer)
    writer.command("DELETE FROM reports WHERE ce_id = {id:String}", {"id": "load-77"})
    now = utc_now()

    assert command(stack, "reconcile").returncode == 1
    assert reconcile_if_due(stack, GROUP, lambda: now)
    assert not reconcile_if_due(stack, GROUP, lambda: now + timedelta(hours=23))
    kept = writer.query("SELECT `table`, missing, twice FROM v_reconciliations WHERE missing > 0").result_rows
    assert kept == [("reports", 1, 0)]
    assert command(stack, "rebuild").returncode == 0
    assert command(stack, "reconcile").returncode == 0
    assert hashes(writer) == whole


def test_rows_whose_records_retention_took_are_not_let_go_unasked(stack: Settings, writer: Client) -> None:
    """It says how many of which table, and changes nothing; asked to, it keeps them, or drops them."""
    whole = hashes(writer)
    _delete_first_half(stack)

    refused = command(stack, "rebuild")
    assert refused.returncode == EXIT_SETUP
    assert "rows of reports" in refused.stderr
    assert hashes(writer) == whole

    kept = command(stack, "rebuild", "--unheld", "keep", "--json")
    assert kept.returncode == 0, kept.stderr
    assert hashes(writer) == whole

    dropped = command(stack, "rebuild", "--unheld", "drop", "--json")
    [reports] = [table for table in msgspec.json.decode(dropped.stdout) if table["table"] == "reports"]
    assert 0 < reports["rows"] == 4_000 - reports["unheld"] < 4_000
    assert writer.query("SELECT count() FROM v_reports").result_rows == [(reports["rows"],)]


def test_a_topic_that_was_made_anew_empties_no_table(stack: Settings, writer: Client) -> None:
    """Its ends say nothing of what it held before."""
    whole = hashes(writer)
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    admin.delete_topics([REPORTS.name])[REPORTS.name].result(10)
    eventually(lambda: REPORTS.name in apply_topics(stack, timeout_s=10), within_s=20, what="the topic is made anew")

    refused = command(stack, "rebuild")

    assert refused.returncode == EXIT_SETUP
    assert "rows of reports" in refused.stderr
    assert hashes(writer) == whole


def _delete_first_half(settings: Settings) -> None:
    """Delete the first half of each partition of `reports`, as retention would."""
    with closing(consumer(settings, "test-retention")) as reader:
        places = [TopicPartition(REPORTS.name, p) for p in range(settings.partitions)]
        ends = [reader.get_watermark_offsets(place)[1] for place in places]
    halves = [TopicPartition(at.topic, at.partition, end // 2) for at, end in zip(places, ends, strict=True)]
    admin = AdminClient({"bootstrap.servers": settings.kafka})  # by name: its futures end only while it lives
    for done in admin.delete_records(halves).values():
        done.result(10)
