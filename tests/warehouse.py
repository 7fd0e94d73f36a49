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
from schemas.cameras import CameraStatus, CameraTelemetry
from schemas.errors import UnavailableError
from schemas.topics import ALERTS_SLA, CAMERA_TELEMETRY, CASES, REPORTS
from tests.builders import NINE, a_case, a_report, seconds
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
    """Records of four tables by number: some sent twice, old versions of cases late, some that are no row."""

    def __init__(self, producer: Producer) -> None:
        self._producer, self._at = producer, utc_now()  # telemetry is kept for 90 days only
        self.sent, self.reports, self.seconds, self.cases = 0, 0, 0, 0

    def send(self, count: int) -> None:
        """Send the next *count* steps, about 3.3 records each, and wait for the broker."""
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
            if n % 1000 == 0:
                self._send(ALERTS_SLA, grid, f"bad-{n}", {"alert_id": n})
                assert self._producer.flush(60) == 0  # the send queue holds 100,000
        self.reports += count
        self.seconds, self.cases = self.reports, min(self.reports, _CASES)
        assert self._producer.flush(60) == 0

    def _send(self, topic: object, key: str, ce_id: str, value: object) -> None:
        self._producer.send(topic, key=key, ce_id=ce_id, at=NINE, value=value)  # type: ignore[arg-type]
        self.sent += 1


_REPORT, _CASE = a_report("load"), a_case()


def _grid(n: int) -> str:
    return f"610117001001{n % 400 + 1:03}"


def _case_id(n: int) -> str:
    return f"{_grid(n)}-{''.join(chr(97 + int(digit)) for digit in f'{n:010}')}"


def hashes(client: Client) -> dict[str, int]:
    """Return a hash over all rows of every view that depends neither on a parameter nor on the time it is asked at."""
    views = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
        " AND NOT match(as_select, '\\\\b(now|now64|today|yesterday)\\\\(|[{]\\\\w+:') AND name NOT IN"
        " ('v_sink_progress', 'v_reconciliations')"
    ).result_rows
    # As a tuple: of bare columns one null would make the whole hash null.
    sql = "SELECT cityHash64(groupArray(row)) FROM (SELECT cityHash64(tuple(*)) AS row FROM {} ORDER BY row)"
    return {str(view): int(client.query(sql.format(view)).result_rows[0][0]) for [view] in views}
