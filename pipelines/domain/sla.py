"""The SLA ladder: when a running clock acts, and what it does then. Pure.

    started_at ── warn ──── due_at ──────── + rung 1 ──── + rung 2 ── … + rung n, again and again
                  step 0    step 1          step 2        step 3         repeats
                            breach, and     next rung     next rung      top rung told again
                            first rung

The ladder climbs only the rungs above the level the case had when the clock started.
Every instant follows from `started_at` and the policy alone: a worker that was away
fires late, but with the true due time.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from schemas.cases import Case, Clock, Level, Timer
from schemas.policy import Ladder, Policy, Rung, SlaClass

WARN, BREACH = 0, 1
_ORDER = {level: rank for rank, level in enumerate(Level)}


def rungs_above(ladder: Ladder, level: Level) -> Sequence[Rung]:
    """Return the rungs a case at *level* can still climb, lowest first."""
    return [rung for rung in ladder.rungs if _ORDER[rung.level] > _ORDER[level]]


def start(case: Case, clock: Clock, *, armed: int, at: datetime, policy: Policy) -> Timer:
    """Return *clock* started at *at* by ledger event number *armed*."""
    sla = policy.sla(case.item_code)
    timer = Timer(
        clock=clock,
        armed=armed,
        started_at=at,
        due_at=at + timedelta(milliseconds=sla.budgets_ms[clock]),
        from_level=case.level,
        step=WARN,
        next_at=None,
    )
    return replace(timer, next_at=step_at(timer, WARN, sla, policy.file.ladder))


def step_at(timer: Timer, step: int, sla: SlaClass, ladder: Ladder) -> datetime | None:
    """Return when *step* of *timer* happens, or None when the ladder ends before it."""
    if step == WARN:
        return timer.started_at + (timer.due_at - timer.started_at) * sla.warn_share
    rungs = rungs_above(ladder, timer.from_level)
    climbed, repeats = rungs[: step - BREACH], step - BREACH - max(len(rungs) - 1, 0)
    if repeats > ladder.repeats:
        return None
    pause = ladder.rungs[-1].budget_ms
    waited = sum(rung.budget_ms for rung in climbed[: max(len(rungs) - 1, 0)]) + pause * max(repeats, 0)
    return timer.due_at + timedelta(milliseconds=waited)


def rung_of(timer: Timer, step: int, ladder: Ladder) -> Level | None:
    """Return the level that *step* climbs to, or None for a warning or a repeat."""
    rungs = rungs_above(ladder, timer.from_level)
    index = step - BREACH
    return rungs[index].level if 0 <= index < len(rungs) else None


def repeat_of(timer: Timer, step: int, ladder: Ladder) -> int:
    """Return which repeat at the top rung *step* is, counted from 1; 0 for other steps."""
    return max(step - BREACH - max(len(rungs_above(ladder, timer.from_level)) - 1, 0), 0)


def advance(timer: Timer, policy: Policy, item_code: str) -> Timer:
    """Return *timer* with its current step done."""
    step = timer.step + 1
    return replace(timer, step=step, next_at=step_at(timer, step, policy.sla(item_code), policy.file.ladder))


def is_breached(case: Case) -> bool:
    """Tell whether the clock that runs on *case* is past its deadline."""
    return case.timer is not None and case.timer.step > BREACH
