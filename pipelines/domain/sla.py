"""The SLA ladder: when a running clock acts, and what it does then. Pure.

    started_at ── warn ──── due_at ──────── + rung 1 ──── + rung 2 ── … + rung n, again and again
                  step 0    step 1          step 2        step 3         repeats
                            breach, and     next rung     next rung      top rung told again
                            first rung

The ladder climbs only the rungs above the level the case had when the clock started.
Every instant follows from `started_at`, the pauses, what was granted, and the policy alone: a
worker that was away fires late, but with the true due time. An item's clocks and rungs count
either natural time or the working time of the policy's calendar.

A pause moves all that has not happened yet by what the clock would have counted meanwhile. An
extension does the same by what was granted. Neither undoes a breach: `due_at` then stays, and
the next rung waits that much longer.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from pipelines.domain.calendar import add_working_time, working_time
from schemas.calendar import Calendar
from schemas.cases import Case, Clock, LedgerEvent, Level, Timer
from schemas.errors import SetupError
from schemas.policy import Ladder, Policy, Rung, TimeBase

WARN, BREACH = 0, 1
_ORDER = {level: rank for rank, level in enumerate(Level)}
_MILLISECOND = timedelta(milliseconds=1)


def rungs_above(ladder: Ladder, level: Level) -> Sequence[Rung]:
    """Return the rungs a case at *level* can still climb, lowest first."""
    return [rung for rung in ladder.rungs if _ORDER[rung.level] > _ORDER[level]]


def start(case: Case | LedgerEvent, clock: Clock, *, armed: int, at: datetime, policy: Policy) -> Timer:
    """Return *clock* started at *at* by ledger event number *armed*.

    *case* is as that event left it; the event says all that counts of it.
    """
    terms = policy.terms(case.item_code, clock)
    if terms.time_base is TimeBase.NATURAL:
        due_at, next_at = at + terms.budget, at + terms.warn
    else:
        due_at, next_at = _after(at, terms.budget, policy), _after(at, terms.warn, policy)
    return Timer(
        clock=clock, armed=armed, started_at=at, due_at=due_at, from_level=case.level, step=WARN, next_at=next_at
    )


def pause(timer: Timer, at: datetime) -> Timer:
    """Return *timer* standing still from *at*; nothing happens until it is resumed."""
    return replace(timer, paused_at=at, next_at=None)


def resume(timer: Timer, at: datetime, policy: Policy, item_code: str) -> Timer:
    """Return a paused *timer* running again from *at*; what the clock would have counted meanwhile is not counted."""
    if timer.paused_at is None:
        return timer
    is_natural = policy.terms(item_code, timer.clock).time_base is TimeBase.NATURAL
    counted = at - timer.paused_at if is_natural else working_time(_calendar(policy), timer.paused_at, at)
    # Rounded up: by less than a millisecond late, never early.
    paused_ms = timer.paused_ms - (-counted // _MILLISECOND)
    return _rescheduled(replace(timer, paused_at=None, paused_ms=paused_ms), policy, item_code)


def extend(timer: Timer, by_ms: int, policy: Policy, item_code: str) -> Timer:
    """Return *timer* with *by_ms* more, in the clock's own time; a paused one stays paused."""
    return _rescheduled(replace(timer, extended_ms=timer.extended_ms + by_ms), policy, item_code)


def _rescheduled(timer: Timer, policy: Policy, item_code: str) -> Timer:
    if timer.step <= BREACH:
        timer = replace(timer, due_at=_counted(timer, _budget(timer, policy, item_code), policy, item_code))
    return (
        timer if timer.paused_at is not None else replace(timer, next_at=step_at(timer, timer.step, policy, item_code))
    )


def step_at(timer: Timer, step: int, policy: Policy, item_code: str) -> datetime | None:
    """Return when *step* of *timer* happens if it runs on, or None when the ladder ends before it."""
    budget = _budget(timer, policy, item_code)
    if step == WARN:
        return _counted(timer, budget * policy.sla(item_code).warn_share, policy, item_code)
    ladder = policy.file.ladder
    rungs = rungs_above(ladder, timer.from_level)
    climbed, repeats = rungs[: step - BREACH], step - BREACH - max(len(rungs) - 1, 0)
    if repeats > ladder.repeats:
        return None
    pause_ms = ladder.rungs[-1].budget_ms
    waited = sum(rung.budget_ms for rung in climbed[: max(len(rungs) - 1, 0)]) + pause_ms * max(repeats, 0)
    return _counted(timer, budget + waited * _MILLISECOND, policy, item_code)


def _budget(timer: Timer, policy: Policy, item_code: str) -> timedelta:
    return policy.terms(item_code, timer.clock).budget + timer.extended_ms * _MILLISECOND


def _counted(timer: Timer, counted: timedelta, policy: Policy, item_code: str) -> datetime:
    """Return when *timer* has counted so much, if nothing else happens to it."""
    total = counted + timer.paused_ms * _MILLISECOND
    if policy.terms(item_code, timer.clock).time_base is TimeBase.NATURAL:
        return timer.started_at + total
    return _after(timer.started_at, total, policy)


def _after(at: datetime, working: timedelta, policy: Policy) -> datetime:
    return add_working_time(_calendar(policy), at, working)


def _calendar(policy: Policy) -> Calendar:
    if policy.calendar is None:
        raise SetupError("policy", "counts working time but holds no calendar")
    return policy.calendar


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
    return replace(timer, step=step, next_at=step_at(timer, step, policy, item_code))


def is_breached(case: Case) -> bool:
    """Tell whether the clock that runs on *case* is past its deadline."""
    return case.timer is not None and case.timer.step > BREACH
