"""The SLA ladder: when a running clock acts, and what it does then. Pure.

    started_at ── warn ──── due_at ──────── + rung 1 ──── + rung 2 ── … + rung n, again and again
                  step 0    step 1          step 2        step 3         repeats
                            breach, and     next rung     next rung      top rung told again
                            first rung

The ladder climbs only the rungs above the level the case had when the clock started.
Every instant follows from `started_at`, the pauses, what was granted, and the policy alone: a
worker that was away fires late, but with the true due time.

A pause moves all that has not happened yet by what the clock would have counted meanwhile. An
extension does the same by what was granted. Neither undoes a breach: `due_at` then stays, and
the next rung waits that much longer.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from schemas.cases import Case, Clock, Level, Timer
from schemas.policy import Ladder, Policy, Rung, SlaClass

WARN, BREACH = 0, 1
_ORDER = {level: rank for rank, level in enumerate(Level)}
_MILLISECOND = timedelta(milliseconds=1)


def rungs_above(ladder: Ladder, level: Level) -> Sequence[Rung]:
    """Return the rungs a case at *level* can still climb, lowest first."""
    return [rung for rung in ladder.rungs if _ORDER[rung.level] > _ORDER[level]]


def start(case: Case, clock: Clock, *, armed: int, at: datetime, policy: Policy) -> Timer:
    """Return *clock* started at *at* by ledger event number *armed*."""
    warn, budget = policy.spans(case.item_code, clock)
    return Timer(
        clock=clock,
        armed=armed,
        started_at=at,
        due_at=at + budget,
        from_level=case.level,
        step=WARN,
        next_at=at + warn,
    )


def pause(timer: Timer, at: datetime) -> Timer:
    """Return *timer* standing still from *at*; nothing happens until it is resumed."""
    return replace(timer, paused_at=at, next_at=None)


def resume(timer: Timer, at: datetime, policy: Policy, item_code: str) -> Timer:
    """Return a paused *timer* running again from *at*; what the clock would have counted meanwhile is not counted."""
    if timer.paused_at is None:
        return timer
    paused_ms = timer.paused_ms + (at - timer.paused_at) // _MILLISECOND
    return _rescheduled(replace(timer, paused_at=None, paused_ms=paused_ms), policy, item_code)


def extend(timer: Timer, by_ms: int, policy: Policy, item_code: str) -> Timer:
    """Return *timer* with *by_ms* more, in the clock's own time; a paused one stays paused."""
    return _rescheduled(replace(timer, extended_ms=timer.extended_ms + by_ms), policy, item_code)


def _rescheduled(timer: Timer, policy: Policy, item_code: str) -> Timer:
    sla, ladder = policy.sla(item_code), policy.file.ladder
    if timer.step <= BREACH:
        timer = replace(timer, due_at=_instant(timer, _budget_ms(timer, sla)))
    return timer if timer.paused_at is not None else replace(timer, next_at=step_at(timer, timer.step, sla, ladder))


def step_at(timer: Timer, step: int, sla: SlaClass, ladder: Ladder) -> datetime | None:
    """Return when *step* of *timer* happens, or None when the ladder ends before it."""
    if step == WARN:
        return _instant(timer, int(_budget_ms(timer, sla) * sla.warn_share))
    rungs = rungs_above(ladder, timer.from_level)
    climbed, repeats = rungs[: step - BREACH], step - BREACH - max(len(rungs) - 1, 0)
    if repeats > ladder.repeats:
        return None
    pause_ms = ladder.rungs[-1].budget_ms
    waited = sum(rung.budget_ms for rung in climbed[: max(len(rungs) - 1, 0)]) + pause_ms * max(repeats, 0)
    return _instant(timer, _budget_ms(timer, sla) + waited)


def _budget_ms(timer: Timer, sla: SlaClass) -> int:
    return sla.budgets_ms[timer.clock] + timer.extended_ms


def _instant(timer: Timer, counted_ms: int) -> datetime:
    """Return when *timer* has counted *counted_ms*, if nothing else happens to it."""
    return timer.started_at + timedelta(milliseconds=counted_ms + timer.paused_ms)


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
