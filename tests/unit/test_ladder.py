"""A whole ladder under an accelerated clock: ten minutes a tick, through the program that a worker runs."""

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from pipelines.agents.case_program import CaseProgram
from pipelines.domain import ids
from schemas import codec
from schemas.alerts import Alert, AlertStatus
from schemas.cases import Clock, Command, Level, Move
from schemas.policy import Policy, Rung, TimeBase, policy_hash
from schemas.topics import ALERTS_SLA, CASE_COMMANDS, REPORTS
from tests.builders import GRID, NINE, POLICY, REGISTRY, WORKER, a_report

FRIDAY = datetime(2026, 3, 6, 16, tzinfo=ZoneInfo("Asia/Shanghai"))
MONDAY = datetime(2026, 3, 9, tzinfo=ZoneInfo("Asia/Shanghai"))
HOUR, HOUR_MS = timedelta(hours=1), 3_600_000
CASE = ids.case_id(GRID, "r-1")


def a_policy(base: TimeBase) -> Policy:
    """Return the demo policy with hours for its seconds: 4 to acknowledge, rungs of 2, 2 and 1, two repeats."""
    classes = [replace(c, budgets_ms=dict.fromkeys(Clock, 4 * HOUR_MS)) for c in POLICY.file.classes]
    rungs = [
        Rung(level=level, budget_ms=hours * HOUR_MS)
        for level, hours in ((Level.STREET, 2), (Level.DISTRICT, 2), (Level.DEPARTMENT, 1))
    ]
    file = replace(POLICY.file, classes=classes, ladder=replace(POLICY.file.ladder, rungs=rungs))
    items = {"01001": replace(POLICY.items["01001"], time_base=base)}
    return Policy(file=file, items=items, groups=POLICY.groups, calendar=POLICY.calendar)


def record(offset: int, at: datetime, value: Any) -> Any:
    stamp = int(at.timestamp() * 1000)
    return SimpleNamespace(offset=offset, timestamp=stamp, key=b"", value=codec.encode(value), headers=[])


def alerts_of(base: TimeBase, *, acknowledged_at: datetime | None = None) -> list[Alert]:
    """Return what subscribers of a case that is reported on Friday at four get in the week that follows."""
    policy = a_policy(base)
    policy_id = policy_hash(policy)
    program = CaseProgram(codec.partition_of(GRID, 4), 4, REGISTRY, {policy_id: policy}, policy_id)
    outputs = list(program.take(REPORTS.name, record(0, FRIDAY, a_report("r-1"))))
    for n in range(1, 7 * 24 * 6):
        at = FRIDAY + n * timedelta(minutes=10)
        if acknowledged_at is not None and acknowledged_at <= at < acknowledged_at + timedelta(minutes=10):
            asked = Command(command_id="c-1", case_id=CASE, move=Move.ACKNOWLEDGE, by=WORKER, requested_at=NINE)
            outputs += program.take(CASE_COMMANDS.name, record(0, acknowledged_at, asked))
        outputs += program.tick(at)
    return [codec.decode(ALERTS_SLA, o.value) for o in outputs if o.topic == ALERTS_SLA.name]


LADDER = [
    ("sla_warning", Level.VILLAGE, 0),
    ("sla_breach", Level.VILLAGE, 0),
    ("sla_escalation", Level.STREET, 0),
    ("sla_escalation", Level.DISTRICT, 0),
    ("sla_escalation", Level.DEPARTMENT, 0),
    ("sla_escalation", Level.DEPARTMENT, 1),
    ("sla_escalation", Level.DEPARTMENT, 2),
]
INSTANTS = {
    TimeBase.NATURAL: [FRIDAY + n * HOUR for n in (3, 4, 4, 6, 8, 9, 10)],
    # Two hours of Friday are left; lunch on Monday is from twelve to two; six is the end of a day.
    TimeBase.WORKING: [MONDAY + n * HOUR for n in (10, 11, 11, 15, 17, 18, 24 + 10)],
}


@pytest.mark.parametrize("base", TimeBase)
def test_a_case_that_nobody_takes_climbs_the_whole_ladder(base: TimeBase) -> None:
    """Warning, breach, three rungs, two repeats, then silence for the rest of the week; each id once."""
    found = alerts_of(base)

    assert [(a.kind, a.level, a.repeat) for a in found] == LADDER
    assert [a.at for a in found] == INSTANTS[base]
    assert len({a.alert_id for a in found}) == len(found)
    assert {a.group_key for a in found} == {f"{CASE}:acknowledge:2"}


@pytest.mark.parametrize("base", TimeBase)
@pytest.mark.parametrize("steps", range(1, len(LADDER)))
def test_an_acknowledgement_stops_the_ladder_where_it_stands(base: TimeBase, steps: int) -> None:
    """What came before stays, nothing of that clock comes after, and a breach is resolved once."""
    if INSTANTS[base][steps - 1] == INSTANTS[base][steps]:
        steps += 1  # breach and first rung are one instant
    taken = INSTANTS[base][steps - 1] + timedelta(minutes=15)
    found = [a for a in alerts_of(base, acknowledged_at=taken) if a.clock is Clock.ACKNOWLEDGE]

    firing = [a for a in found if a.status is AlertStatus.FIRING]
    assert [(a.kind, a.level, a.repeat) for a in firing] == LADDER[:steps]
    resolved = [a for a in found if a.status is AlertStatus.RESOLVED]
    assert [a.at for a in resolved] == ([taken] if steps > 1 else [])
    assert len({a.alert_id for a in found}) == len(found)
