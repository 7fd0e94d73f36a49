"""`sink`: rows/s from topic to table, one process, and how fresh they are at 20,000 a second.

Beside it, by turns: a consumer that looks at nothing, and the same loop with rows instead of columns.
The topic is `camera.telemetry.v1` with the headers that the product writes; the tables are the product's.
"""

from collections import defaultdict
from contextlib import ExitStack
from statistics import median
from typing import Any
from zlib import crc32

import msgspec
from clickhouse_connect.driver import Client
from msgspec import Struct

from infra.clickhouse import Role, connect
from infra.clock import utc_now
from infra.kafka import headers, read_to_end
from infra.local.ports import free_port
from infra.migrate import migrate_warehouse
from schemas import codec
from schemas.cameras import CameraTelemetry
from schemas.topics import CAMERA_TELEMETRY
from tests.bench.report import Report, note, rounded
from tests.bench.stage import PATIENCE_S, Stage
from tests.warehouse import running_warehouse

TARGET_PER_S, TARGET_MS = 100_000, 1_500.0
PACE_PER_S, PACE_S = 20_000, 15
WARM = 1_000  # records by which the sink is known to run
GOALS = {"vs_floor": 0.4, "vs_rows": 5.0, "vs_target": 1.0, "freshness_vs_target": 1.0}
CAMERAS = 2_000
_DIGEST = (
    "SELECT count(), sum(CRC32(concat(ce_id, '/', camera_id, '/', toString(bitrate_bps), '/', toString(offset))))"
    " FROM v_camera_telemetry"
)


class Contestant(Struct, frozen=True):
    """Who runs, with which arguments, and which share of the topic it reads."""

    module: str
    share: float
    arguments: tuple[str, ...] = ()


CONTESTANTS = {
    "ours": Contestant("sink", 1.0, ("0",)),
    "confluent": Contestant("floor", 1.0),
    "rows": Contestant("sink_rows", 0.3, ("50000",)),
    "a row at a time": Contestant("sink_rows", 0.0005, ("1",)),
}


class Run(Struct, frozen=True, kw_only=True):
    """One contestant's run."""

    rate: float  # rows/s
    cpu_s: float  # per million rows
    is_exact: bool
    freshness_ms: dict[str, float] = {}


class Feed:
    """Makes the records of the topic: a second of one of 2,000 cameras each, with the headers of the product."""

    def __init__(self) -> None:
        self._at = utc_now()

    def record(self, n: int) -> tuple[bytes, bytes]:
        """Return key and value of the *n*-th."""
        seen = b'{"camera_id":"cam-%05d","grid_id":"%b","observed_at":"%b","status":"live","fps":24.%d,' % (
            n % CAMERAS,
            _grid(n),
            codec.encode(self._at)[1:-1],
            n % 10,
        )
        return _grid(n), seen + b'"bitrate_bps":%d,"lost_packets":%d,"reconnects":1,"frame_age_ms":40}' % (n, n % 7)

    def headers(self, n: int) -> codec.Headers:
        """Return the headers of the *n*-th."""
        return codec.headers(CAMERA_TELEMETRY, f"cam-{n % CAMERAS:05}/{n}", self._at, "cameras")


def _grid(n: int) -> bytes:
    return b"610117%09d" % (n % CAMERAS // 2)


def digest_of_topic(stage: Stage) -> tuple[int, int]:
    """Return number and digest of the records, read with a plain consumer."""
    count, total = 0, 0
    for message in read_to_end(stage.settings, CAMERA_TELEMETRY):
        seen = msgspec.json.decode(message.value() or b"", type=CameraTelemetry)
        ident = codec.header(headers(message), "ce_id")
        total += crc32(f"{ident}/{seen.camera_id}/{seen.bitrate_bps}/{message.offset()}".encode())
        count += 1
    return count, total


class Course:
    """One topic, one warehouse, and the contestants on them."""

    def __init__(self, stage: Stage, client: Client, expected: tuple[int, int]) -> None:
        self._stage, self._client, self._expected = stage, client, expected

    def compete(self, name: str, number: int, records: int) -> Run:
        """Let *name* move *records* records into an empty table, or read them; check what is there."""
        who, group = CONTESTANTS[name], f"bench-{name.replace(' ', '-')}-{number}"
        self._client.command("TRUNCATE TABLE camera_telemetry")
        reader = (self._stage.settings.kafka, CAMERA_TELEMETRY.name) if who.module == "floor" else ()
        with self._stage.contender(who.module, *reader, group, str(records), *who.arguments) as running:
            first, last = running.await_said("first"), running.await_said("last")
        counted = last.fields["records"] - first.fields["records"]
        return Run(
            rate=counted * 1000 / (last.at_ms - first.at_ms),
            cpu_s=(last.own_cpu_s - first.own_cpu_s) * 1_000_000 / counted,
            is_exact=name == "confluent" or self._is_exact(last.fields["records"], whole=who.share == 1.0),
        )

    def freshness_ms(self, feed: Feed, filled: int) -> tuple[dict[str, float], bool]:
        """Sink what is there, then 20,000 a second for 15 s; return how old the latter were, and whether all are in."""
        self._client.command("TRUNCATE TABLE camera_telemetry")
        records = PACE_PER_S * PACE_S
        with self._stage.contender("sink", "bench-paced", str(filled), "0") as running:
            running.await_said("last")
            running.child.wait(PATIENCE_S)  # it commits before it goes; the next one must not read them again
        with self._stage.contender("sink", "bench-paced", str(WARM + records), str(WARM)) as running:
            self._feed(feed, filled, WARM)
            running.await_said("first")
            self._feed(feed, filled + WARM, records)
            last = running.await_said("last")
        self._expected = digest_of_topic(self._stage)
        return last.fields["freshness_ms"], self._is_exact(filled + WARM + records, whole=True)

    def _feed(self, feed: Feed, first: int, count: int) -> None:
        self._stage.fill(
            CAMERA_TELEMETRY.name,
            count,
            lambda n: feed.record(first + n),
            per_s=PACE_PER_S,
            headers=lambda n: feed.headers(first + n),
        )

    def _is_exact(self, records: int, *, whole: bool) -> bool:
        """Tell whether the view has what the topic has; who read a part must have as many as it says."""
        [found] = self._client.query(_DIGEST).result_rows
        return tuple(found) == self._expected if whole else found[0] == records


def bench(stage: Stage, *, rows: int, rounds: int) -> Report:
    """Run every contestant *rounds* times, taking turns, over one topic of *rows* records; then the paced course."""
    stage.settings = stage.settings.model_copy(update={"clickhouse_port": free_port()})
    feed = Feed()
    stage.fill(CAMERA_TELEMETRY.name, rows, feed.record, headers=feed.headers)
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    with ExitStack() as opened:
        opened.enter_context(running_warehouse(stage.settings))
        migrate_warehouse(stage.settings)
        client = connect(stage.settings, Role.WRITER)
        opened.callback(client.close)
        course = Course(stage, client, digest_of_topic(stage))
        for number in range(rounds):
            for name, who in CONTESTANTS.items():
                run = course.compete(name, number, max(100, int(rows * who.share)))
                runs[name].append(run)
                note(f"{number + 1}/{rounds} {name}: {run.rate:,.0f} rows/s{'' if run.is_exact else ' NOT EXACT'}")
        freshness_ms, is_exact = course.freshness_ms(feed, rows)
    return _report(runs, freshness_ms, exact=is_exact and all(run.is_exact for of in runs.values() for run in of))


def _report(runs: dict[str, list[Run]], freshness_ms: dict[str, float], *, exact: bool) -> Report:
    rates = {name: rounded(median(run.rate for run in of)) for name, of in runs.items()}
    ours, floor = rates.pop("ours"), {"confluent": rates.pop("confluent")}
    details: dict[str, Any] = {
        "freshness_ms_at_20000_a_second": {name: rounded(ms) for name, ms in freshness_ms.items()},
        "cpu_s_per_million_rows": {name: rounded(median(run.cpu_s for run in of)) for name, of in runs.items()},
        "rates": {name: [rounded(run.rate) for run in of] for name, of in runs.items()},
    }
    return Report(
        bench="sink",
        unit="rows/s",
        ours=ours,
        peers=rates,
        floor=floor,
        ratios={
            "vs_floor": rounded(ours / floor["confluent"]),
            "vs_rows": rounded(ours / rates["rows"]),
            "vs_a_row_at_a_time": rounded(ours / rates["a row at a time"]),
            "vs_target": rounded(ours / TARGET_PER_S),
            "freshness_vs_target": rounded(TARGET_MS / freshness_ms["p99"]),
        },
        goals=GOALS,
        exact=exact,
        details=details,
    )
