"""`gridwatch bench queries`: the dashboards' queries on a large lake, by four clients, while the sink inserts.

The lake is made inside the warehouse. Then the roll-ups' process and the sink run, 2,000 camera seconds a second come
by Kafka, and four clients ask the Grafana dashboards' queries one after the other. At the end every answer is held
against the same question asked of every row.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import cycle
from statistics import median, quantiles
from threading import Event, Thread
from typing import Any, Final

from clickhouse_connect.driver import Client

from consumers.warehouse.rollups import refresh
from infra.clickhouse import Role, connect
from infra.clock import monotonic_s, utc_now
from infra.local.ports import free_port
from infra.migrate import migrate_warehouse
from infra.settings import Settings
from schemas import codec
from schemas.cameras import CameraStatus, CameraTelemetry
from schemas.topics import CAMERA_TELEMETRY
from tests.bench import lake
from tests.bench.report import Report, note, rounded
from tests.bench.stage import Stage
from tests.conftest import eventually, process
from tests.grafana import Panel, panels
from tests.warehouse import running_warehouse

_CLIENTS: Final = 4
_SECONDS: Final = 15.0  # of each round
_PER_S: Final = 2_000
_GOAL_MS: Final = 50.0
_FILL_S: Final = 600.0

Asked = list[tuple[str, float]]  # panel, milliseconds


def bench(on: Stage, *, rows: int, rounds: int) -> Report:
    """Measure *rounds* times 15 s on a lake of *rows* rows."""
    settings = on.settings.model_copy(update={"clickhouse_port": free_port()})
    until = utc_now()
    with running_warehouse(settings):
        migrate_warehouse(settings)
        filled_s, rolled_s = _filled(settings, rows, f"{until:%Y-%m-%d %H:%M:%S.%f}")
        asked = list(panels(until + timedelta(minutes=1)))
        with _inserting(on, settings) as inserted:
            measured = [_round(settings, asked) for _ in range(rounds)]
            age_s = _oldest_s(settings)
            count = inserted()
        details = {"filled_s": filled_s, "rolled_up_s": rolled_s, "inserted": count, "oldest_roll_up_s": age_s}
        return _report(settings, asked, measured, details)


def _oldest_s(settings: Settings) -> float:
    with closing(connect(settings, Role.READER)) as reader:
        return float(reader.query("SELECT max(age_s) FROM v_rollups").result_rows[0][0])


def _filled(settings: Settings, rows: int, until: str) -> tuple[float, float]:
    """Fill the lake and its roll-ups; return how long each took."""
    with closing(connect(settings, Role.WRITER, timeout_s=_FILL_S)) as writer:
        began_s = monotonic_s()
        lake.fill(writer.command, lake.parameters(rows, until))
        filled_s = monotonic_s() - began_s
        note(f"lake filled in {filled_s:.0f} s")
        refresh(writer)
        return filled_s, monotonic_s() - began_s - filled_s


@contextmanager
def _inserting(on: Stage, settings: Settings) -> Iterator[Any]:
    """Run the sink, the roll-ups and the cameras' seconds; yields how to stop the latter and count what arrived."""
    log, stopped, sent = settings.data_dir / "queries.log", Event(), [0]

    def record(_: int) -> tuple[bytes, bytes]:
        sent[0] += 1
        return _second(sent[0])

    def feed() -> None:
        while not stopped.is_set():
            on.fill(CAMERA_TELEMETRY.name, _PER_S, record, per_s=_PER_S)

    def count() -> int:
        stopped.set()
        feeder.join()
        with closing(connect(settings, Role.READER)) as reader:
            query = "SELECT count() FROM v_camera_telemetry WHERE startsWith(ce_id, 'camera.telemetry.v1/')"
            eventually(
                lambda: reader.query(query).result_rows[0][0] == sent[0], within_s=60, what="the sink has caught up"
            )
        return sent[0]

    feeder = Thread(target=feed, daemon=True)
    with (
        process("consumers.warehouse", settings, log=log),
        process("consumers.warehouse.rollups", settings, log=log),
    ):
        feeder.start()
        try:
            yield count
        finally:
            stopped.set()
            feeder.join()


def _second(number: int) -> tuple[bytes, bytes]:
    """Return one second of one of 40 cameras."""
    grid = f"61011700100100{number % 4 + 1}"
    telemetry = CameraTelemetry(
        camera_id=f"live-{number % 40}",
        grid_id=grid,
        observed_at=utc_now(),
        status=CameraStatus.LIVE,
        fps=25.0,
        bitrate_bps=2_000_000,
        lost_packets=0,
        reconnects=0,
        frame_age_ms=20,
    )
    return grid.encode(), codec.encode(telemetry)


def _round(settings: Settings, asked: list[Panel]) -> Asked:
    """Let the clients ask for 15 s, each from another panel on."""
    with ThreadPoolExecutor(_CLIENTS) as clients:
        ends_s = monotonic_s() + _SECONDS
        starts = [asked[n * len(asked) // _CLIENTS :] + asked[: n * len(asked) // _CLIENTS] for n in range(_CLIENTS)]
        found = list(clients.map(lambda mine: _ask(settings, mine, ends_s), starts))
    taken = [one for each in found for one in each]
    note(f"{len(taken)} queries, p95 {_p95(taken):.1f} ms")
    return taken


def _ask(settings: Settings, asked: list[Panel], ends_s: float) -> Asked:
    taken: Asked = []
    with closing(connect(settings, Role.READER)) as reader:
        for panel in cycle(asked):
            if monotonic_s() > ends_s:
                return taken
            taken.append((panel.name, _ms(reader, panel.sql)))
    return taken


def _ms(reader: Client, sql: str) -> float:
    began_s = monotonic_s()
    reader.query(sql)
    return (monotonic_s() - began_s) * 1000


def _p95(taken: Asked) -> float:
    return quantiles([ms for _, ms in taken], n=20)[-1]


def _report(settings: Settings, asked: list[Panel], measured: list[Asked], details: dict[str, Any]) -> Report:
    """Compare every answer with a scan of all rows, nothing else running."""
    with closing(connect(settings, Role.WRITER, timeout_s=_FILL_S)) as writer:
        refresh(writer)
        rolled_up = [panel for panel in asked if panel.is_rolled_up]
        differ = [
            panel.name
            for panel in rolled_up
            if writer.query(panel.sql).result_rows != writer.query(panel.raw).result_rows
        ]
        alone_ms = median(_ms(writer, panel.sql) for panel in rolled_up)
        scan_ms = median(_ms(writer, panel.raw) for panel in rolled_up)
        floor_ms = median(_ms(writer, "SELECT 1") for _ in range(50))
        took = writer.query("SELECT name, took_ms FROM v_rollups").result_rows
        rows = writer.query("SELECT sum(total_rows) FROM system.tables WHERE database = currentDatabase()").result_rows
    everything = [one for taken in measured for one in taken]
    p95_ms = median(_p95(taken) for taken in measured)
    by_panel = {
        panel.name: rounded(quantiles([ms for name, ms in everything if name == panel.name], n=20)[-1])
        for panel in asked
    }
    return Report(
        bench="queries",
        unit="ms, p95 of a dashboard's query; lower is better",
        ours=rounded(p95_ms),
        peers={"scan of all rows, median": rounded(scan_ms)},
        floor={"SELECT 1, median": rounded(floor_ms)},
        ratios={
            "vs_raw": rounded(scan_ms / alone_ms),
            "vs_floor": rounded(floor_ms / alone_ms),
            "vs_target": rounded(_GOAL_MS / p95_ms),
        },
        goals={"vs_target": 1},
        exact=not differ,
        details={
            "rows": rows[0][0],
            "queries": len(everything),
            "p50_ms": rounded(median(ms for _, ms in everything)),
            "greatest_ms": rounded(max(ms for _, ms in everything)),
            "alone_ms": rounded(alone_ms),
            "p95_ms_by_panel": by_panel,
            "refresh_ms": dict(took),
            "differ": ", ".join(differ) or "none",
            **{name: rounded(value) for name, value in details.items()},
        },
    )
