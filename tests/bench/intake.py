"""`intake`: reports acknowledged a second, and how long one takes at 1,000 a second, with Kafka beside it.

Acknowledged means on disk: every 201 comes after the `fdatasync` of its group. The load is a process
of its own over keep-alive connections; the second course is an open loop, a report that leaves late
counts from when it was due. The floor is the same server with nothing behind it, under the same load: what
the load itself can do. The oracle is the topic: each id that got 201 is there, once.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_context
from typing import Any

import httpx
import psutil
import uvloop
from msgspec import Struct

from infra.clock import monotonic_s
from infra.kafka import headers, read_to_end
from infra.local.ports import free_port
from infra.settings import Settings
from schemas import codec
from schemas.topics import REPORTS
from tests.bench.latency import quantile
from tests.bench.report import Report, note, rounded
from tests.bench.stage import Stage, cpu_s
from tests.builders import REGISTRY
from tests.conftest import eventually, process

TARGET_PER_S, TARGET_MS = 2_000, 50.0
PACE_PER_S, PACE_S = 1_000, 15
GOALS = {"rate_vs_target": 1.0, "p99_vs_target": 1.0}
_CONNECTIONS = 64
_WARM = 2_000
_SETTLE_S = 0.5


class Course(Struct, frozen=True, kw_only=True):
    """What one load saw."""

    seconds: float
    refused: int
    late_ms: list[float]  # in order


def bench(stage: Stage, *, reports: int, rounds: int) -> Report:
    """Send *reports* as fast as they are acknowledged, *rounds* times; then 1,000 a second for 15 s."""
    settings = stage.settings.model_copy(update={"intake_port": free_port(), "spool_free_mib": 0})
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with _no_intake(settings) as port:
            pool.submit(load, settings.host, port, 0, _WARM, None).result()
            floor = pool.submit(load, settings.host, port, 0, reports, None).result()
        note(f"{reports / floor.seconds:,.0f} answers/s with nothing done")
        return _measured(settings, pool, reports=reports, rounds=rounds, floor_per_s=reports / floor.seconds)


def _measured(
    settings: Settings, pool: ProcessPoolExecutor, *, reports: int, rounds: int, floor_per_s: float
) -> Report:
    courses: list[Course] = []
    with _intake(settings) as child:

        def run(first: int, count: int, per_s: float | None) -> Course:
            return pool.submit(load, settings.host, settings.intake_port, first, count, per_s).result()

        run(0, _WARM, None)
        sent, before_s = _WARM, cpu_s(child)
        for _ in range(rounds):
            courses.append(run(sent, reports, None))
            sent += reports
            note(f"{reports / courses[-1].seconds:,.0f} reports/s acknowledged")
        busy_s = cpu_s(child) - before_s
        paced = run(sent, PACE_PER_S * PACE_S, PACE_PER_S)
        sent += PACE_PER_S * PACE_S
        ended_s = monotonic_s()
        eventually(lambda: _waiting(settings) == 0, within_s=60, what="the spool is drained")
        drained_s = monotonic_s() - ended_s
    found = [codec.header(headers(message), "ce_id") for message in read_to_end(settings, REPORTS)]
    verdict = judge(found, sent, sum(course.refused for course in [*courses, paced]))
    rates = sorted(reports / course.seconds for course in courses)
    details: dict[str, Any] = {
        "reports_a_round": reports,
        "rates": ", ".join(f"{rate:,.0f}" for rate in rates),
        "busy_cores_of_the_intake": rounded(busy_s / sum(course.seconds for course in courses)),
        "ms_at_1000_a_second": {
            name: rounded(quantile(paced.late_ms, q)) for name, q in (("p50", 0.5), ("p99", 0.99), ("worst", 1.0))
        },
        "drained_after_s": rounded(drained_s),
        "found": verdict,
    }
    return _report(quantile(rates, 0.5), quantile(paced.late_ms, 0.99), floor_per_s, details)


def judge(found: Sequence[str | None], sent: int, refused: int) -> dict[str, int]:
    """Compare the ids on the topic with the *sent* reports, all of which should have been acknowledged."""
    wanted = {f"b-{number}" for number in range(sent)}
    return {"refused": refused, "lost": len(wanted - {*found}), "twice": len(found) - len({*found})}


def _report(per_s: float, p99_ms: float, floor_per_s: float, details: dict[str, Any]) -> Report:
    return Report(
        bench="intake",
        unit="acknowledged reports/s",
        ours=rounded(per_s),
        peers={},
        floor={"nothing done": rounded(floor_per_s)},
        ratios={
            "vs_floor": rounded(per_s / floor_per_s),
            "rate_vs_target": rounded(per_s / TARGET_PER_S),
            "p99_vs_target": rounded(TARGET_MS / p99_ms),
        },
        goals=GOALS,
        exact=not any(details["found"].values()),
        details=details,
    )


@contextmanager
def _no_intake(settings: Settings) -> Iterator[int]:
    port = free_port()
    args = (settings.host, str(port))
    with process("tests.bench.contenders.no_intake", settings, *args, log=settings.data_dir / "no_intake.out"):
        eventually(lambda: _answers(f"http://{settings.host}:{port}"), within_s=30, what="the floor answers")
        yield port


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@contextmanager
def _intake(settings: Settings) -> Iterator[psutil.Process]:
    with process("producers.reports", settings, log=settings.data_dir / "intake.out") as child:
        eventually(lambda: _waiting(settings) == 0, within_s=30, what="the intake takes reports")
        yield psutil.Process(child.pid)


def _waiting(settings: Settings) -> int | None:
    """Return how many reports Kafka does not have, or None when the intake does not answer."""
    try:
        return int(httpx.get(f"{settings.intake_url}/healthz").text.split()[0])
    except httpx.TransportError:
        return None


# -- the load, in a process of its own ---------------------------------------------------------


def load(host: str, port: int, first: int, count: int, per_s: float | None) -> Course:
    """Send *count* reports from number *first* on: at *per_s*, or each connection as soon as it is answered."""
    return uvloop.run(_load(host, port, [_request(number) for number in range(first, first + count)], per_s))


async def _load(host: str, port: int, requests: list[bytes], per_s: float | None) -> Course:
    start_s = monotonic_s() + _SETTLE_S  # uvloop's own clock counts whole milliseconds
    due = (lambda n: start_s + n / per_s) if per_s else (lambda _: start_s)
    numbered = iter(enumerate(requests))
    seen: list[tuple[float, bool]] = []
    await asyncio.gather(*(_connection(host, port, numbered, due, seen) for _ in range(_CONNECTIONS)))
    return Course(
        seconds=monotonic_s() - start_s,
        refused=sum(not taken for _, taken in seen),
        late_ms=sorted(ms for ms, _ in seen),
    )


async def _connection(
    host: str,
    port: int,
    numbered: Iterator[tuple[int, bytes]],
    due: Callable[[int], float],
    seen: list[tuple[float, bool]],
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    with closing(writer):
        for number, request in numbered:
            due_s = due(number)
            await asyncio.sleep(max(0.0, due_s - monotonic_s()))
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            seen.append(((monotonic_s() - due_s) * 1000, head.startswith(b"HTTP/1.1 201")))


def _request(number: int) -> bytes:
    grids = list(REGISTRY.grids)
    body = {
        "report_id": f"b-{number}",
        "grid_id": grids[number % len(grids)],
        "item_code": "01001",
        "channel": "resident",
        "occurred_at": "2026-03-09T17:00:00+08:00",
        "description": "村口有人乱倒垃圾,影响通行,请派人查看。" * 4,
        "location": {"lat": 34.54, "long": 109.05},
        "reporter": {"name": "演示居民", "phone": "13900001234"},
    }
    content = json.dumps(body, ensure_ascii=False).encode()
    head = (
        f"POST /reports HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
