"""A month of a district: people act on cases, in time, late or never, and a journal notes what they did and when.

The journal knows people, acts and times; it knows no deadline, no stage and no ledger. What the rules make
of it is in the outcomes.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from pipelines.domain import cases, ids
from pipelines.domain.cases import Cause, Outcome
from pipelines.domain.opening import Opening, open_case
from pipelines.domain.refusals import Refusal, substep
from schemas.cases import Case, Clock, Closure, Command, Move, Satisfaction, Substep, TaskState
from schemas.grid import Role
from schemas.policy import Policy, policy_hash
from schemas.registry import Registry
from schemas.reports import Channel, Urgency
from tests.builders import GRID, NINE, POLICY, REGISTRY, seconds

MONTH = timedelta(days=30)
ITEMS = ("01001", "01011", "05001", "03001")
_NEGLECTED = 0.05  # of all next steps nobody takes this share


class Entry(Struct, frozen=True, kw_only=True):
    """One line of the journal: a report (`move` is None), or something done about it."""

    number: int
    at: datetime
    grid_id: str
    item_code: str
    by: str | None
    move: Move | None = None
    seen_at: datetime | None = None
    urgent: bool = False
    settled: bool = False
    assignee: str | None = None
    extend: timedelta = timedelta()
    closure: Closure | None = None
    satisfaction: Satisfaction | None = None


class Month(Struct, frozen=True, kw_only=True):
    """What people did, and the cases that it made."""

    journal: list[Entry]
    outcomes: list[Outcome]
    until: datetime


class Scene(Struct, frozen=True, kw_only=True):
    """Where and when a month plays."""

    policy: Policy = POLICY
    registry: Registry = REGISTRY
    grids: Sequence[str] = (GRID,)
    items: Sequence[str] = ITEMS
    since: datetime = NINE
    until: datetime = NINE + MONTH


def a_month(seed: int, size: int, scene: Scene | None = None) -> Month:
    """Return *size* cases of *scene*, by default of one grid under the demo's limits of seconds."""
    scene, rng = scene or Scene(), Random(seed)
    month = Month(journal=[], outcomes=[], until=scene.until)
    for number in range(size):
        _Story(rng, scene, number).tell(month)
    return month


def slowed(policy: Policy, factor: int) -> Policy:
    """Return *policy* with every limit *factor* times as long: the demo's seconds become a district's hours."""
    file = policy.file
    classes = [
        replace(sla, budgets_ms={clock: ms * factor for clock, ms in sla.budgets_ms.items()}) for sla in file.classes
    ]
    rungs = [replace(rung, budget_ms=rung.budget_ms * factor) for rung in file.ladder.rungs]
    limits = replace(
        file.limits, pause_ms=file.limits.pause_ms * factor, extension_ms=file.limits.extension_ms * factor
    )
    slow = replace(file, classes=classes, ladder=replace(file.ladder, rungs=rungs), limits=limits)
    return Policy(file=slow, items=policy.items, groups=policy.groups, calendar=policy.calendar)


class _Act(Struct, frozen=True, kw_only=True):
    """What somebody is about to ask."""

    move: Move
    by: str
    assignee: str | None = None
    extend: timedelta = timedelta()
    closure: Closure | None = None
    satisfaction: Satisfaction | None = None


# What may come next in each sub-step, and how often.
_HABITS: dict[Substep, dict[Move, float]] = {
    Substep.AWAITING_ACCEPTANCE: {Move.ACCEPT: 5, Move.DISPATCH: 4, Move.VOID: 0.5},
    Substep.AWAITING_DISPATCH: {Move.DISPATCH: 9, Move.CLOSE: 0.5, Move.VOID: 0.3},
    Substep.AWAITING_ACKNOWLEDGEMENT: {
        Move.ACKNOWLEDGE: 9,
        Move.RETURN: 0.8,
        Move.DISPATCH: 0.6,
        Move.CLOSE: 0.2,
        Move.VOID: 0.2,
    },
    Substep.EN_ROUTE: {Move.ARRIVE: 6, Move.HANDLE: 3, Move.RETURN: 0.3},
    Substep.IN_HAND: {
        Move.HANDLE: 9,
        Move.PAUSE: 0.8,
        Move.EXTEND: 0.8,
        Move.ASSIGN: 0.6,
        Move.RETURN: 0.3,
        Move.CLOSE: 0.3,
    },
    Substep.COORDINATED: {Move.COMPLETE: 8, Move.ASSIGN: 2},
    Substep.PAUSED: {Move.RESUME: 1},
    Substep.AWAITING_VERIFICATION: {Move.VERIFY: 8, Move.REWORK: 1.5},
    Substep.CLOSED: {Move.FEEDBACK: 3, Move.REOPEN: 0.2},
}

_CLOSURES = (Closure.NO_ACTION, Closure.NOT_RESPONSIBLE, Closure.CANCELLED, Closure.DUPLICATE)
_OFFICE = (Role.VILLAGE_CENTRE, Role.GRID_HEAD)
_CHECKERS = (Role.GUIDE, Role.POLICE, *_OFFICE)
_OFFICES: dict[Move, tuple[Role, ...]] = {
    Move.ACCEPT: _OFFICE,
    Move.DISPATCH: _OFFICE,
    Move.CLOSE: _OFFICE,
    Move.VOID: _OFFICE,
    Move.FEEDBACK: _OFFICE,
    Move.EXTEND: (Role.STREET_CENTRE,),
    Move.ASSIGN: (Role.DISTRICT_CENTRE,),
    Move.VERIFY: _CHECKERS,
    Move.REWORK: _CHECKERS,
    Move.REOPEN: _CHECKERS,
}


class _Story:
    """One case from its report to the end of the month."""

    def __init__(self, rng: Random, scene: Scene, number: int) -> None:
        self._rng, self._scene, self._number = rng, scene, number
        self._grid, self._item = rng.choice(list(scene.grids)), rng.choice(list(scene.items))
        self._at = _whole(scene.since + rng.random() * (scene.until - scene.since))
        self._acts = 0

    def tell(self, month: Month) -> None:
        scene = self._scene
        outcome = self._report(month.journal)
        case, events = outcome.case, list(outcome.events)
        while (act := self._next(case)) is not None:
            fired = cases.fire(case, self._at, scene.policy)
            self._acts += 1
            moved = cases.apply(
                fired.case,
                self._command(case, act),
                Cause(id=f"{self._number}-{self._acts}", at=self._at),
                scene.policy,
                scene.registry,
            )
            case, events = fired.case, [*events, *fired.events]
            if isinstance(moved, Refusal):
                continue  # they are told why, and do something else
            case, events = moved.case, [*events, *moved.events]
            month.journal.append(self._entry(act))
        last = cases.fire(case, scene.until, scene.policy)
        month.outcomes.append(Outcome(case=last.case, events=[*events, *last.events]))

    def _report(self, journal: list[Entry]) -> Outcome:
        rng, scene = self._rng, self._scene
        workers = scene.registry.people_for(self._grid, Role.PART_TIME)
        reporter = rng.choice(workers).id if workers and rng.random() < 0.7 else None
        settled = reporter is not None and rng.random() < 0.08
        opening = Opening(
            grid_id=self._grid,
            item_code=self._item,
            channel=Channel.RESIDENT if reporter is None else Channel.WORKER,
            origin_id=f"month-{self._number}",
            summary="演示",
            occurred_at=_whole(self._at - seconds(rng.expovariate(1 / 300))),
            urgency=Urgency.URGENT if rng.random() < 0.3 else Urgency.NORMAL,
            reported_by=reporter,
            settled="当场调解" if settled else None,
        )
        journal.append(
            Entry(
                number=self._number,
                at=self._at,
                grid_id=self._grid,
                item_code=self._item,
                by=reporter,
                seen_at=opening.occurred_at,
                urgent=opening.urgency is Urgency.URGENT,
                settled=settled,
            )
        )
        cause = Cause(id=opening.origin_id, at=self._at)
        return open_case(opening, cause, scene.policy, policy_hash(scene.policy), scene.registry)

    def _next(self, case: Case) -> _Act | None:
        """Draw what is done next and let the time until then pass; None when nobody does anything more."""
        rng, at = self._rng, substep(case)
        habits = _HABITS[at]
        neglected = {Substep.CLOSED: 0.5, Substep.PAUSED: 0.0}.get(at, _NEGLECTED)
        if rng.random() < neglected:
            return None
        act = self._act(case, rng.choices(list(habits), list(habits.values()))[0])
        self._at = _whole(self._at + self._delay(case))
        return act if self._at < self._scene.until else None

    def _delay(self, case: Case) -> timedelta:
        """Return how long it takes: of the clock's budget, as a rule less, at times more."""
        if substep(case) is Substep.PAUSED:  # somebody resumes it before it would run again by itself
            left = self._scene.policy.file.limits.pause_ms - case.paused_ms
            return self._rng.uniform(0, 0.9) * timedelta(milliseconds=left)
        clock = case.timer.clock if case.timer is not None else Clock.VERIFY
        return self._rng.expovariate(1 / 0.6) * self._scene.policy.terms(case.item_code, clock).budget

    def _act(self, case: Case, move: Move) -> _Act:
        rng, act = self._rng, _Act(move=move, by=self._who(case, move))
        if move is Move.DISPATCH:
            to = self._one_of(Role.FULL_TIME, Role.PART_TIME, Role.GRID_HEAD, Role.GUIDE)
            return replace(act, assignee=to)
        if move is Move.ASSIGN:
            return replace(act, assignee=self._one_of(Role.DEPARTMENT))
        if move is Move.EXTEND:
            longest = self._scene.policy.file.limits.extension_ms // 1000
            return replace(act, extend=seconds(rng.randint(1, longest)))
        if move is Move.CLOSE:
            return replace(act, closure=rng.choice(_CLOSURES))
        return replace(act, satisfaction=rng.choice(list(Satisfaction))) if move is Move.FEEDBACK else act

    def _who(self, case: Case, move: Move) -> str:
        """Return who does it: an office as the workflow has it, or else who has the case."""
        if move is Move.COMPLETE:
            return self._rng.choice([who for who, at in case.tasks.items() if at is TaskState.OPEN])
        if move in _OFFICES:
            return self._one_of(*_OFFICES[move])
        return case.owner or case.assignee or self._one_of(*_OFFICE)

    def _one_of(self, *roles: Role) -> str:
        people = [person.id for role in roles for person in self._scene.registry.people_for(self._grid, role)]
        return self._rng.choice(people)

    def _command(self, case: Case, act: _Act) -> Command:
        return Command(
            command_id=f"{self._number}-{self._acts}",
            case_id=case.case_id,
            move=act.move,
            by=act.by,
            requested_at=self._at,
            assignee=act.assignee,
            note="演示",
            closure=act.closure,
            duplicate_of=ids.case_id(self._grid, "month-0") if act.closure is Closure.DUPLICATE else None,
            extend_ms=act.extend // timedelta(milliseconds=1) or None,
            satisfaction=act.satisfaction,
        )

    def _entry(self, act: _Act) -> Entry:
        return Entry(
            number=self._number,
            at=self._at,
            grid_id=self._grid,
            item_code=self._item,
            by=act.by,
            move=act.move,
            assignee=act.assignee,
            extend=act.extend,
            closure=act.closure,
            satisfaction=act.satisfaction,
        )


def _whole(at: datetime) -> datetime:
    """Return *at* without a fraction of a second: the journal is kept to the second."""
    return at.replace(microsecond=0)
