"""The sink between a real broker and a real warehouse: everything arrives, once, whatever dies."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver import Client
from msgspec.structs import replace

from infra.clickhouse import Role, connect
from infra.clock import utc_now
from infra.kafka import Producer, headers, read_to_end
from infra.local.ports import free_port
from infra.migrate import migrate_warehouse
from infra.settings import Settings
from schemas import codec
from schemas.alerts import Alert, AlertKind, AlertStatus
from schemas.cameras import CameraEvent, CameraEventKind, CameraStatus, CameraTelemetry, Clip, Phase
from schemas.cases import CommandResult, GridState, LedgerKind, Move, Stage, Verdict
from schemas.errors import EXIT_SETUP
from schemas.reports import Visibility
from schemas.topics import (
    ALERTS_SLA,
    CAMERA_EVENTS,
    CAMERA_TELEMETRY,
    CASE_COMMANDS,
    CASE_EVENTS,
    CASE_RESULTS,
    CASES,
    DEAD_LETTERS,
    GRID_STATE,
    REPORTS,
    VISITS,
    Topic,
)
from schemas.visits import Visit, VisitKind
from tests.builders import GRID, NINE, a_case, a_report, asked, opened, seconds
from tests.conftest import eventually
from tests.cut import cutter
from tests.warehouse import caught_up, running_sink, running_warehouse, uncommitted

_OUTAGE_ROWS = "SELECT count(), uniqExact(ce_id) FROM v_reports WHERE startsWith(ce_id, 'out-')"
PHONE = "13800138000"
NOW = utc_now()  # telemetry is kept for 90 days only


@pytest.fixture
def producer(stack: Settings) -> Iterator[Producer]:
    """A producer of test records."""
    with Producer(stack, "test") as opened_producer:
        yield opened_producer


@pytest.fixture
def reader(stack: Settings) -> Iterator[Client]:
    """What an analyst sees."""
    client = connect(stack, Role.READER)
    yield client
    client.close()


def sent(producer: Producer, topic: Topic, ce_id: str, value: Any, key: str = GRID) -> None:
    """Send one record and wait for the broker."""
    producer.send(topic, key=key, ce_id=ce_id, at=NINE, value=value).result(10)


def one(reader: Client, view: str, ce_id: str) -> dict[str, Any]:
    """Return the only row of *view* with this id."""
    [row] = reader.query(f"SELECT * FROM {view} WHERE ce_id = {{id:String}}", {"id": ce_id}).named_results()  # noqa: S608
    return dict(row)


def a_second(number: int) -> CameraTelemetry:
    """Return one second of one camera, the *number*-th."""
    return CameraTelemetry(
        camera_id=f"cam-{number % 40}",
        grid_id=GRID,
        observed_at=NOW + seconds(number),
        status=CameraStatus.LIVE,
        fps=25.0,
        bitrate_bps=number,
        lost_packets=0,
        reconnects=0,
        frame_age_ms=None,
    )


def _dead_letters(settings: Settings) -> list[Any]:
    return list(read_to_end(settings, DEAD_LETTERS))


@pytest.fixture(scope="class")
def running(stack: Settings) -> Iterator[None]:
    """A sink."""
    with running_sink(stack):
        yield


@pytest.mark.usefixtures("running")
class TestWhileItRuns:
    """One sink for all of these."""

    def test_a_record_of_every_topic_is_a_row_with_all_it_said(
        self, stack: Settings, producer: Producer, reader: Client
    ) -> None:
        """Nested values, absences, lists, maps and instants come back from the view as they went in."""
        case = a_case()
        clip = Clip(camera_id="cam-1", start_at=NINE, duration_ms=8000, url="rec/1.mp4")
        event = CameraEvent(
            event_id="e-1", camera_id="cam-1", grid_id=GRID, kind=CameraEventKind.ACTIVITY, phase=Phase.OPEN,
            occurred_at=NINE, started_at=NINE, score=0.5, clip=clip,
        )  # fmt: skip
        alert = Alert(
            alert_id="a-1", group_key="g", status=AlertStatus.FIRING, kind=AlertKind.SLA_BREACH, grid_id=GRID, at=NINE,
            case_id=case.case_id, notify=["pt-1", "ft-1"],
        )  # fmt: skip
        result = CommandResult(
            command_id="c-1", case_id=case.case_id, grid_id=GRID, verdict=Verdict.REFUSED, decided_at=NINE,
            reason="not_now", allowed=[Move.ACKNOWLEDGE],
        )  # fmt: skip
        state = GridState(
            grid_id=GRID, as_of=NINE, reported=3, open=2, archived=1, by_stage={Stage.HANDLING: 2}, overdue=0,
            breaches=0, oldest_open_at=None, cameras=4, cameras_live=3,
        )  # fmt: skip
        sent(producer, REPORTS, "every-report", a_report("every-report"))
        sent(producer, CASE_COMMANDS, "every-command", asked(case, Move.HANDLE, note="好"))
        sent(producer, CAMERA_EVENTS, "every-event", event)
        sent(producer, CAMERA_TELEMETRY, "every-second", a_second(1))
        sent(producer, CASE_RESULTS, "every-result", result)
        sent(producer, CASES, "every-case", case, key=case.case_id)
        sent(producer, ALERTS_SLA, "every-alert", alert)
        sent(producer, GRID_STATE, "every-state", state)
        caught_up(stack)

        assert one(reader, "v_reports", "every-report")["description"] == "演示"
        assert one(reader, "v_case_commands", "every-command")["note"] == "好"
        assert one(reader, "v_camera_events", "every-event")["clip_duration_ms"] == 8000
        assert one(reader, "v_camera_telemetry", "every-second")["frame_age_ms"] is None
        assert one(reader, "v_case_results", "every-result")["allowed"] == ["acknowledge"]
        assert case.timer is not None
        assert one(reader, "v_cases", "every-case")["timer_due_at"] == case.timer.due_at.replace(tzinfo=None)
        assert one(reader, "v_alerts", "every-alert")["notify"] == ["pt-1", "ft-1"]
        assert one(reader, "v_grid_state", "every-state")["by_stage"] == {"handling": 2}

    def test_the_visit_log_is_counted_for_each_grid(self, stack: Settings, producer: Producer, reader: Client) -> None:
        """Home visits and publicity apart, with the homes they reached; a repeated entry counts once."""
        home = Visit(
            visit_id="v-1", grid_id=GRID, kind=VisitKind.HOME_VISIT, worker="pt-1", occurred_at=NINE,
            received_at=NINE, households=3,
        )  # fmt: skip
        flyers = replace(home, visit_id="v-2", kind=VisitKind.PUBLICITY, worker="pt-2", households=40)
        for visit in (home, flyers, replace(home, visit_id="v-3", households=2), home):
            sent(producer, VISITS, visit.visit_id, visit)
        caught_up(stack)

        [row] = reader.query("SELECT * FROM v_grid_visits").named_results()
        row = dict(row)
        assert (row.pop("grid_id"), row.pop("last_at")) == (GRID, NINE.replace(tzinfo=None))
        assert row == {
            "home_visits": 2, "publicity": 1, "households_visited": 5, "households_informed": 40, "workers": 2,
        }  # fmt: skip

    def test_reasons_on_a_private_case_are_in_no_view(
        self, stack: Settings, producer: Producer, reader: Client
    ) -> None:
        """Whoever asks for commands sees that there was one, and why only of public cases."""
        for visibility in Visibility:
            case = a_case(case_id=f"{GRID}-{'secrecy' + visibility[:3]:a<10}", visibility=visibility)
            sent(producer, CASES, f"case-{visibility}", case, key=case.case_id)
            sent(producer, CASE_COMMANDS, f"asked-{visibility}", asked(case, Move.RETURN, note="不在本网格"))
        caught_up(stack)

        assert one(reader, "v_cases", "case-private")["visibility"] == "private"
        assert one(reader, "v_case_commands", "asked-public")["note"] == "不在本网格"
        assert one(reader, "v_case_commands", "asked-private")["note"] is None

    def test_a_repeated_record_is_one_row_and_an_older_version_is_none(
        self, stack: Settings, producer: Producer, reader: Client
    ) -> None:
        """Producers repeat after a crash, byte for byte; a case shows where it stands."""
        case = a_case(case_id=f"{GRID}-repeated22", summary="old")
        newer = a_case(case_id=case.case_id, summary="new", version=case.version + 1)
        for value in (newer, case, newer):  # the old version comes late, in a batch of its own
            sent(producer, CASES, "repeat-case", value, key=case.case_id)
            sent(producer, REPORTS, "repeat-report", a_report("repeat-report"))
            caught_up(stack)

        assert one(reader, "v_cases", "repeat-case")["summary"] == "new"
        assert one(reader, "v_reports", "repeat-report")["report_id"] == "repeat-report"

    def test_a_bad_record_is_a_dead_letter_and_its_content_stays_out_of_the_warehouse(
        self, stack: Settings, producer: Producer, reader: Client
    ) -> None:
        """The bytes go unchanged to the restricted topic; the row says reason, place, size and hash.

        The letters of the case engine's inputs are the engine's to write.
        """
        raw = f'{{"phone": "{PHONE}"'.encode()
        for topic in (REPORTS, ALERTS_SLA):
            producer.send_raw(topic.name, key=GRID.encode(), value=raw, headers=[("ce_id", b"bad")]).result(10)
        sent(producer, REPORTS, "after-bad", a_report("after-bad"))
        eventually(lambda: _dead_letters(stack), within_s=30, what="a dead letter")
        caught_up(stack)

        [letter] = [m for m in _dead_letters(stack) if m.value() == raw]
        row = one(reader, "v_dead_letters", str(codec.header(headers(letter), "ce_id")))
        assert (row["process"], row["reason"], row["origin_topic"]) == ("sink", "not_json", ALERTS_SLA.name)
        assert row["size_bytes"] == len(raw)
        assert PHONE not in str(row)
        assert one(reader, "v_reports", "after-bad")["report_id"] == "after-bad"

    def test_views_fold_the_ledger_per_grid_and_for_the_district(
        self, stack: Settings, producer: Producer, reader: Client
    ) -> None:
        """Open is opened without archived, repeats not counted; of nothing the share is null."""
        grid = "610117001001009"
        first, second = (opened(origin_id=f"fold-{n}").events[0] for n in (1, 2))
        lines = [first, second, msgspec.structs.replace(first, number=9, kind=LedgerKind.ARCHIVED, event_id="fold-end")]
        for line in [*lines, *lines]:
            sent(producer, CASE_EVENTS, line.event_id, msgspec.structs.replace(line, grid_id=grid), key=grid)
        caught_up(stack)

        [counts] = reader.query("SELECT * FROM v_grid_counts WHERE grid_id = {g:String}", {"g": grid}).named_results()
        assert (counts["cases"], counts["archived"], counts["open"], counts["void"]) == (2, 1, 1, 0)
        [kpi] = reader.query(
            "SELECT report, archive, settled_ratio FROM v_kpi_grid WHERE grid_id = {g:String} AND period = 'all'",
            {"g": grid},
        ).named_results()
        assert kpi == {"report": 2, "archive": 1, "settled_ratio": 0.5}


def test_a_sink_killed_between_insert_and_commit_leaves_every_row_once(
    stack: Settings, producer: Producer, reader: Client
) -> None:
    """Kill -9 in mid-batch: rows are in, offsets are not, the next sink writes them again; views show each once."""
    caught, rounds, size = 0, 0, 2000
    while caught < 2 and rounds < 10:  # a kill may come a moment too late: then it proves nothing, once more
        with running_sink(stack) as child:
            _send_batch(producer, f"kill-{rounds}-", size)
            while not any(_stored(reader, f"kill-{rounds}-")):
                assert child.poll() is None
            os.kill(child.pid, signal.SIGKILL)
            child.wait(10)
        rounds += 1
        caught += bool(uncommitted(stack))
    assert caught == 2
    with running_sink(stack):
        caught_up(stack)

    for view in ("v_camera_telemetry", "v_reports", "v_case_commands"):
        found = f"SELECT count(), uniqExact(ce_id) FROM {view} WHERE startsWith(ce_id, 'kill-')"  # noqa: S608
        assert reader.query(found).result_rows == [(rounds * size, rounds * size)], view


def _send_batch(producer: Producer, prefix: str, size: int) -> None:
    command = asked(a_case(), Move.HANDLE)
    for number in range(size):
        ident = f"{prefix}{number}"
        producer.send(CAMERA_TELEMETRY, key=GRID, ce_id=ident, at=NINE, value=a_second(number))
        producer.send(REPORTS, key=GRID, ce_id=ident, at=NINE, value=a_report(ident))
        producer.send(CASE_COMMANDS, key=GRID, ce_id=ident, at=NINE, value=command)
    assert producer.flush(30) == 0


def _stored(reader: Client, prefix: str) -> tuple[int, int, int]:
    """Return how many rows of a batch each table has."""
    counts = "(SELECT count() FROM {} WHERE startsWith(ce_id, {{p:String}}))"
    tables = ", ".join(counts.format(table) for table in ("reports", "camera_telemetry", "case_commands"))
    [row] = reader.query(f"SELECT {tables}", {"p": prefix}).result_rows
    return row  # type: ignore[return-value]


def test_an_outage_of_the_warehouse_loses_nothing_and_leaves_the_group_alone(stack: Settings, tmp_path: Path) -> None:
    """The sink waits with its partitions paused, keeps its place in the group, and goes on."""
    settings = stack.model_copy(update={"data_dir": tmp_path, "clickhouse_port": free_port(), "worker_id": "outage"})
    log, total = tmp_path / "sink.out", 1000
    with running_warehouse(settings):
        migrate_warehouse(settings)
    with Producer(settings, "test") as producer, running_sink(settings) as child:
        _send_reports(producer, range(total // 2))
        eventually(lambda: b"sink_waits" in log.read_bytes(), within_s=30, what="a sink without a warehouse waits")
        with running_warehouse(settings) as warehouse:
            caught_up(settings)
            os.kill(warehouse.pid, signal.SIGKILL)
            warehouse.wait(10)
        waits = log.read_bytes().count(b"sink_waits")
        _send_reports(producer, range(total // 2, total))
        eventually(lambda: log.read_bytes().count(b"sink_waits") > waits, within_s=30, what="the sink waits again")
        with running_warehouse(settings):
            caught_up(settings)
            client = connect(settings, Role.READER)
            assert client.query(_OUTAGE_ROWS).result_rows == [(total, total)]
            client.close()
        assert child.poll() is None
    assert log.read_bytes().count(b"sink_assigned") == 1


def test_an_insert_whose_answer_was_cut_off_leaves_every_row_once(stack: Settings, tmp_path: Path) -> None:
    """The sink cannot know whether the rows are in, and writes them again."""
    settings = stack.model_copy(update={"data_dir": tmp_path, "clickhouse_port": free_port(), "worker_id": "cut"})
    with running_warehouse(settings), cutter((settings.clickhouse_host, settings.clickhouse_port), most=3) as cut:
        migrate_warehouse(settings)
        with Producer(settings, "test") as producer:
            for number in range(500):
                producer.send(REPORTS, key=GRID, ce_id=f"cut-{number}", at=NINE, value=a_report(f"cut-{number}"))
        with running_sink(settings.model_copy(update={"clickhouse_port": cut.port})):
            caught_up(settings)
        client = connect(settings, Role.READER)
        found = client.query("SELECT count(), uniqExact(ce_id) FROM v_reports WHERE startsWith(ce_id, 'cut-')")
        client.close()
    assert cut.cut > 0
    assert found.result_rows == [(500, 500)]


def _send_reports(producer: Producer, numbers: range) -> None:
    for number in numbers:
        producer.send(REPORTS, key=GRID, ce_id=f"out-{number}", at=NINE, value=a_report(f"out-{number}"))
    assert producer.flush(30) == 0


def test_a_sink_on_a_warehouse_without_its_tables_stops_and_says_what_is_missing(
    stack: Settings, producer: Producer, tmp_path: Path
) -> None:
    """A person must run the migrations; restarting cannot help, so the exit code is 78."""
    settings = stack.model_copy(update={"data_dir": tmp_path, "clickhouse_port": free_port()})
    with running_warehouse(settings), running_sink(settings) as child:
        sent(producer, REPORTS, "unmigrated", a_report("unmigrated"))
        assert child.wait(30) == EXIT_SETUP

    assert b"reports" in (tmp_path / "sink.out").read_bytes()
