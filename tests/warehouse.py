"""The embedded warehouse and the sink as processes of a test's own, and a load whose rows are known."""

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from clickhouse_connect.driver import Client
from confluent_kafka import KafkaException, TopicPartition
from msgspec.structs import replace

from consumers.warehouse.domain.rows import SUNK
from consumers.warehouse.sink import GROUP
from infra.clickhouse import Role, connect
from infra.clock import utc_now
from infra.kafka import Producer, consumer
from infra.settings import Settings
from pipelines.domain import cases
from pipelines.domain.cases import Cause, Outcome
from schemas.alerts import Alert, AlertKind, AlertStatus
from schemas.cameras import CameraEvent, CameraEventKind, CameraStatus, CameraTelemetry, Phase
from schemas.cases import CommandResult, GridState, LedgerEvent, LedgerKind, Move, Verdict
from schemas.errors import UnavailableError
from schemas.grid import Role as Duty
from schemas.topics import (
    ALERTS_SLA,
    CAMERA_EVENTS,
    CAMERA_TELEMETRY,
    CASE_COMMANDS,
    CASE_EVENTS,
    CASE_RESULTS,
    CASES,
    GRID_STATE,
    REPORTS,
    VISITS,
)
from schemas.visits import Visit, VisitKind
from tests.builders import GRID, NINE, POLICY, REGISTRY, WORKER, a_case, a_report, asked, opened, seconds
from tests.conftest import eventually, process

_CASES = 997


@contextmanager
def running_warehouse(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run the warehouse of *settings*; it answers when the block begins."""
    log = settings.data_dir / "warehouse.out"
    with process("infra.local.warehouse", settings, log=log) as child:

        def answers() -> bool:
            assert child.poll() is None, log.read_text()
            try:
                connect(settings, Role.WRITER).close()
            except UnavailableError:
                return False
            return True

        eventually(answers, within_s=30, what="the warehouse answers")
        yield child


def sink_log(settings: Settings) -> Path:
    """Return where the sink of *settings* logs."""
    return settings.data_dir / "sink.out"


@contextmanager
def running_sink(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run a sink until the block ends."""
    with process("consumers.warehouse", settings, log=sink_log(settings)) as child:
        yield child


def caught_up(settings: Settings, within_s: float = 60.0) -> None:
    """Wait until the sink has committed everything there is."""
    eventually(lambda: uncommitted(settings) == 0, within_s=within_s, what="the sink has caught up")


def uncommitted(settings: Settings) -> int | None:
    """Return how many records the sink's group has not committed; None while its coordinator is not there yet."""
    places = [TopicPartition(topic.name, p) for topic in SUNK for p in range(settings.partitions)]
    with closing(consumer(settings, GROUP)) as group:
        try:
            found = [(at.offset, *group.get_watermark_offsets(at, timeout=10)) for at in group.committed(places, 10)]
        except KafkaException:
            return None
    return sum(high - max(low, offset) for offset, low, high in found)


class Load:
    """Records of every table by number: some sent twice, old versions of cases late, some that are no row."""

    def __init__(self, producer: Producer) -> None:
        self._producer, self._at = producer, utc_now()  # telemetry is kept for 90 days only
        self.sent, self.reports, self.seconds, self.cases, self.lines, self.lives = 0, 0, 0, 0, 0, 0

    def send(self, count: int) -> None:
        """Send the next *count* steps, about 4 records each, and wait for the broker."""
        for n in range(self.reports, self.reports + count):
            grid, case_id = _grid(n), _case_id(n % _CASES)
            second = CameraTelemetry(
                camera_id=f"cam-{n % 400}", grid_id=grid, observed_at=self._at + seconds(n // 400),
                status=CameraStatus.LIVE, fps=25.0, bitrate_bps=n, lost_packets=0, reconnects=0, frame_age_ms=None,
            )  # fmt: skip
            report = replace(_REPORT, report_id=f"load-{n}", grid_id=grid)
            self._send(CAMERA_TELEMETRY, grid, f"tel-{n}", second)
            self._send(REPORTS, grid, f"load-{n}", report)
            if n % 5 == 0:
                self._send(REPORTS, grid, f"load-{n}", report)
            self._send(CASES, case_id, f"case-{n}", replace(_CASE, case_id=case_id, version=n + 10, summary=str(n)))
            if n % 7 == 0:
                self._send(CASES, case_id, f"late-{n}", replace(_CASE, case_id=case_id, version=1, summary="old"))
            if n % 8 == 0:
                self._life(n, grid)
            if n % 1000 == 0:
                self._send(ALERTS_SLA, grid, f"bad-{n}", {"alert_id": n})
                assert self._producer.flush(60) == 0  # the send queue holds 100,000
        self.reports += count
        self.seconds, self.cases = self.reports, min(self.reports, _CASES)
        assert self._producer.flush(60) == 0

    def _life(self, n: int, grid: str) -> None:
        """Send the ledger of a case that was put right, and a record of every other topic; of some, a second time."""
        case_id = _case_id(n)
        self.lives, self.lines = self.lives + 1, self.lines + len(_LEDGER)
        lines = [replace(e, case_id=case_id, grid_id=grid, event_id=f"{case_id}/{e.number}") for e in _LEDGER]
        for line in [*lines, *(lines if n % 40 == 0 else [])]:
            self._send(CASE_EVENTS, grid, line.event_id, line)
        ids = {"grid_id": grid, "case_id": case_id}
        self._send(CASE_COMMANDS, grid, f"command-{n}", replace(_COMMAND, command_id=f"command-{n}", case_id=case_id))
        self._send(CASE_RESULTS, grid, f"result-{n}", replace(_RESULT, command_id=f"command-{n}", **ids))
        self._send(ALERTS_SLA, grid, f"alert-{n}", replace(_ALERT, alert_id=f"alert-{n}", **ids))
        self._send(CAMERA_EVENTS, grid, f"event-{n}", replace(_EVENT, event_id=f"event-{n}", grid_id=grid))
        self._send(VISITS, grid, f"visit-{n}", replace(_VISIT, visit_id=f"visit-{n}", grid_id=grid))
        self._send(GRID_STATE, grid, f"state-{n}", replace(_STATE, grid_id=grid, as_of=NINE + seconds(n), reported=n))

    def _send(self, topic: object, key: str, ce_id: str, value: object) -> None:
        self._producer.send(topic, key=key, ce_id=ce_id, at=NINE, value=value)  # type: ignore[arg-type]
        self.sent += 1


def _ledger() -> list[LedgerEvent]:
    """Return the lines of a case from its opening to its archive."""
    case, lines = opened().case, list(opened().events)
    for move in (Move.ACKNOWLEDGE, Move.HANDLE, Move.VERIFY):
        by = REGISTRY.people_for(GRID, Duty.FULL_TIME)[0].id if move is Move.VERIFY else WORKER
        outcome = cases.apply(case, asked(case, move, by), Cause(id=f"c-{move}", at=NINE), POLICY, REGISTRY)
        assert isinstance(outcome, Outcome), outcome
        case, lines = outcome.case, [*lines, *outcome.events]
    task = replace(lines[-1], kind=LedgerKind.ASSIGNED, number=lines[-1].number + 1, assignee="dept-1", closure=None)
    return [*lines, task]


_REPORT, _CASE, _LEDGER = a_report("load"), a_case(), _ledger()
_COMMAND = asked(_CASE, Move.HANDLE)
_RESULT = CommandResult(
    command_id="c", case_id=_CASE.case_id, grid_id=GRID, verdict=Verdict.ACCEPTED, decided_at=NINE
)  # fmt: skip
_ALERT = Alert(
    alert_id="a", group_key="g", status=AlertStatus.FIRING, kind=AlertKind.SLA_BREACH, grid_id=GRID, at=NINE
)  # fmt: skip
_EVENT = CameraEvent(
    event_id="e", camera_id="cam-1", grid_id=GRID, kind=CameraEventKind.ACTIVITY, phase=Phase.OPEN, occurred_at=NINE,
    started_at=NINE,
)  # fmt: skip
_VISIT = Visit(
    visit_id="v", grid_id=GRID, kind=VisitKind.HOME_VISIT, worker=WORKER, occurred_at=NINE, received_at=NINE,
    households=3,
)  # fmt: skip
_STATE = GridState(
    grid_id=GRID, as_of=NINE, reported=0, open=0, archived=0, by_stage={}, overdue=0, breaches=0, oldest_open_at=None,
    cameras=0, cameras_live=0,
)  # fmt: skip


def _grid(n: int) -> str:
    return f"610117001001{n % 400 + 1:03}"


def _case_id(n: int) -> str:
    return f"{_grid(n)}-{''.join(chr(97 + int(digit)) for digit in f'{n:010}')}"


def empty_views(found: dict[str, int]) -> set[str]:
    """Return the views of *found* without rows, of which hashes prove nothing; grids are not of the topics."""
    return {view for view, value in found.items() if not value} - {"v_grids"}


_PLACES = {"partition", "offset", "appended_at"}  # where a row's record lay: of a repeated one, either place will do
_VIEWS = """
SELECT t.name, groupArray(c.name)
FROM system.tables AS t INNER JOIN system.columns AS c ON c.database = t.database AND c.table = t.name
WHERE t.database = currentDatabase() AND t.engine = 'View'
    AND NOT match(t.as_select, '\\\\b(now|now64|today|yesterday)\\\\(|[{]\\\\w+:')
    AND t.name NOT IN ('v_sink_progress', 'v_reconciliations')
GROUP BY t.name
"""


def hashes(client: Client, *, places: bool = True) -> dict[str, int]:
    """Return a hash over all rows of every view that depends neither on a parameter nor on the time it is asked at.

    Of a view without rows it is 0. Without *places*, where a row's record lay in its topic does not count, nor what
    is made of when it was appended.
    """
    views = client.query(_VIEWS).result_rows
    shown = {
        str(view): [f"`{column}`" for column in columns if places or column not in _PLACES] for view, columns in views
    }
    return {
        view: int(client.query(_HASH.format(", ".join(columns), view)).result_rows[0][0])
        for view, columns in shown.items()
        if places or view != "v_topic_minutes"
    }


# As a tuple: of bare columns one null would make the whole hash null.
_HASH = (
    "SELECT if(count() = 0, 0, cityHash64(groupArray(row)))"
    " FROM (SELECT cityHash64(tuple({})) AS row FROM {} ORDER BY row)"
)
