"""`alerts`: from the moment a camera event is due to its alert on Kafka, at half of what a worker can take.

The worker is the product's case engine; feed, broker, worker and reader share the machine, and what
they carry together, found first, is the whole load. Every event raises an alert; one in ten also opens a
case, with its ledger line, its `cases` record and its state. The floor is a bare produce and
consume through the same clients at the same rate, by turns with ours.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any

from msgspec import Struct

from infra.clock import utc_now
from infra.kafka import headers, read_to_end
from schemas import codec
from schemas.cameras import Phase
from schemas.topics import ALERTS_SAFETY, CAMERA_EVENTS, CASES
from tests.bench.latency import Course, Sent, course, quantile
from tests.bench.report import Report, note, rounded
from tests.bench.stage import Stage, topic
from tests.bench.worker import calm, case_engine
from tests.builders import REGISTRY, an_activity

BARE = topic("bench.bare.v1")
GOALS = {"vs_floor": 0.1, "vs_target": 1.0}
TARGET_MS = 100.0
LOAD = 0.5  # of the capacity found first
ROUND_S = 8.0
_AT_ONCE = 1e9  # records/s
_OPEN = f":{Phase.OPEN}"  # what an event's id and its alert's differ by
_SCORES = (0.9, *[0.3] * 9)  # from 0.6 on, the policy opens a case


class Percentiles(Struct, frozen=True):
    """Latency in ms."""

    p50: float
    p99: float
    worst: float


def events(prefix: str, count: int) -> list[Sent]:
    """Return *count* camera events of every camera of the district in turn."""
    cameras = sorted(REGISTRY.cameras.values(), key=lambda camera: camera.id)
    now = utc_now()
    made = []
    for n in range(count):
        camera = cameras[n % len(cameras)]
        event = an_activity(f"{prefix}-{n}", camera, now, score=_SCORES[n % len(_SCORES)])
        made.append(Sent(camera.grid_id, event.event_id, codec.encode(event)))
    return made


def capacity(track: Course, records: Sequence[Sent]) -> float:
    """Return how many events/s this machine carries with feed, broker, worker and reader sharing its cores."""
    took = track.latencies_ms(CAMERA_EVENTS.name, ALERTS_SAFETY.name, _OPEN, records, _AT_ONCE)
    return len(records) * 1000 / took[-1]


def bench(stage: Stage, *, rounds: int, capacity_events: int) -> Report:
    """Take turns between the floor and ours, *rounds* times."""
    stage.create(BARE)
    turns: dict[str, list[Percentiles]] = {"bare": [], "ours": []}
    sent: set[str] = set()
    with case_engine(calm(stage)), course(stage.settings) as track:
        for prefix in ("warm", "capacity"):
            records = events(prefix, capacity_events)
            per_s = LOAD * capacity(track, records)
            sent.update(record.ce_id for record in records)
        note(f"capacity {per_s / LOAD:,.0f} events/s; load {per_s:,.0f} events/s")
        for number in range(rounds):
            for name, into, out, suffix in (
                ("bare", BARE.name, BARE.name, ""),
                ("ours", CAMERA_EVENTS.name, ALERTS_SAFETY.name, _OPEN),
            ):
                records = events(f"{name}-{number}", int(per_s * ROUND_S))
                took = track.latencies_ms(into, out, suffix, records, per_s)
                found = Percentiles(*(quantile(took, share) for share in (0.5, 0.99, 1.0)))
                note(f"{number + 1}/{rounds} {name} p50 {found.p50:.1f} p99 {found.p99:.1f} max {found.worst:.1f} ms")
                turns[name].append(found)
                if name == "ours":
                    sent.update(record.ce_id for record in records)
    return _report(turns, per_s, is_exact=_is_exact(stage, sent))


def _is_exact(stage: Stage, sent: set[str]) -> bool:
    """Tell whether each event has one alert, each id one content, and one in ten a case."""
    contents: dict[str, set[bytes]] = {}
    for message in read_to_end(stage.settings, ALERTS_SAFETY):
        ident = codec.header(headers(message), "ce_id") or ""
        contents.setdefault(ident, set()).add(message.value() or b"")
    opening = sum(_SCORES[int(ident.rpartition("-")[2]) % len(_SCORES)] > 0.5 for ident in sent)
    cases = {message.key() for message in read_to_end(stage.settings, CASES)}
    return (
        contents.keys() == {f"{ident}{_OPEN}" for ident in sent}
        and all(len(found) == 1 for found in contents.values())
        and len(cases) == opening
    )


def _report(turns: dict[str, list[Percentiles]], per_s: float, *, is_exact: bool) -> Report:
    p99 = {name: rounded(median(turn.p99 for turn in of)) for name, of in turns.items()}
    details: dict[str, Any] = {
        "load_per_s": rounded(per_s),
        "p50_ms": {name: rounded(median(turn.p50 for turn in of)) for name, of in turns.items()},
        "worst_ms": {name: rounded(max(turn.worst for turn in of)) for name, of in turns.items()},
        "p99_ms_by_turn": {name: [rounded(turn.p99) for turn in of] for name, of in turns.items()},
    }
    return Report(
        bench="alerts",
        unit="ms from due to read, p99",
        ours=p99["ours"],
        peers={},
        floor={"bare produce and consume": p99["bare"]},
        ratios={"vs_floor": rounded(p99["bare"] / p99["ours"]), "vs_target": rounded(TARGET_MS / p99["ours"])},
        goals=GOALS,
        exact=is_exact,
        details=details,
    )
