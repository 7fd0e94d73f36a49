"""The service catalogue and the SLA policy: data, checked on load, addressed by content."""

from collections.abc import Collection, Iterator
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas.alerts import AlertKind
from schemas.calendar import Calendar, load_calendar
from schemas.cameras import CameraEventKind
from schemas.cases import Clock, Level
from schemas.district_files import Fault, load_toml
from schemas.errors import SetupError
from schemas.fields import ItemCode

ITEMS_FILE, POLICY_FILE = "items.toml", "policy.toml"
ITEM_COUNT = 106  # 「确定了106项服务管理内容」; the article does not list them


class Severity(StrEnum):
    """How much harm waiting does."""

    ROUTINE = "routine"
    IMPORTANT = "important"
    MAJOR = "major"


class TimeBase(StrEnum):
    """Which time a clock counts."""

    NATURAL = "natural"  # 24 hours, 7 days
    WORKING = "working"  # office hours of working days


class Group(Struct, frozen=True, kw_only=True):
    """First level of the catalogue (大类)."""

    code: Annotated[str, Meta(pattern="^[0-9]{2}$")]
    name: str
    name_en: str


class Item(Struct, frozen=True, kw_only=True):
    """Second level (小类): what one can report."""

    code: ItemCode
    name: str
    name_en: str
    severity: Severity
    sla: Annotated[str, Meta(description="name of an SLA class of the policy")]
    department: Annotated[str, Meta(description="职能部门 that owns it at the top rung")]
    time_base: TimeBase = TimeBase.NATURAL
    # Two reports of one item this near in place and time may be one thing; None: never suggested.
    duplicate_radius_m: Annotated[int, Meta(ge=1)] | None = None
    duplicate_window_ms: Annotated[int, Meta(ge=1)] | None = None


class Catalogue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `items.toml`."""

    source: Annotated[str, Meta(min_length=1, description="where the items and their figures come from")]
    groups: list[Group]
    items: list[Item]


class RungAct(StrEnum):
    """What a rung of the ladder does."""

    TRANSFER = "transfer"  # 升级: the case is the level's from now on
    SUPERVISE = "supervise"  # 督办: the level is told, and the case stays where it is


class Rung(Struct, frozen=True, kw_only=True):
    """One step of the ladder and how long it has before the next is climbed."""

    level: Level
    act: RungAct = RungAct.TRANSFER
    budget_ms: Annotated[int, Meta(ge=1)]


class Ladder(Struct, frozen=True, kw_only=True):
    """Who is told when a deadline passes."""

    rungs: Annotated[
        list[Rung], Meta(min_length=1, description="above the village, rising; a notice may precede a transfer")
    ]
    repeats: Annotated[int, Meta(ge=0, le=20, description="times the top rung is told again")]


class SlaClass(Struct, frozen=True, kw_only=True):
    """Budgets of one class of items, in the time base of each item."""

    name: str
    budgets_ms: dict[Clock, Annotated[int, Meta(ge=1)]]
    warn_share: Annotated[float, Meta(gt=0, lt=1, description="of the budget")]


class CaseLimits(Struct, frozen=True, kw_only=True):
    """How often, and how long, people may put a case off."""

    returns: Annotated[int, Meta(ge=1, description="退单 in a round; the last brings supervision")] = 3
    reworks: Annotated[int, Meta(ge=1, description="返工 in a round that brings supervision, and each after it")] = 3
    pause_ms: Annotated[int, Meta(ge=1, description="total of a case; then it runs again by itself")] = 604_800_000
    extensions: Annotated[int, Meta(ge=0, description="延期 in a round")] = 2
    extension_ms: Annotated[int, Meta(ge=1, description="longest single one, in the clock's own time")] = 432_000_000
    rounds: Annotated[int, Meta(ge=1, description="1 and the reopenings allowed")] = 3


class CameraRule(Struct, frozen=True, kw_only=True):
    """Which camera events open a case."""

    kind: CameraEventKind
    min_score: Annotated[float, Meta(ge=0, le=1)]
    item_code: ItemCode


class AlertRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How alerts of some kinds, raised by cameras of one grid, become messages (告警降噪).

    Kinds that no rule names are sent as they are raised. Alerts of deadlines never have one: a
    case's ladder has its own repeats, and each of its steps is sent.
    """

    kinds: Annotated[list[AlertKind], Meta(min_length=1)]
    group_wait_ms: Annotated[int, Meta(ge=0, description="trouble must last this long; what joins is one message")] = 0
    group_interval_ms: Annotated[int, Meta(ge=0, description="until the next message about more cameras")] = 0
    repeat_ms: Annotated[int, Meta(ge=1, description="sent again while it lasts; None: never")] | None = None
    repeats: Annotated[int, Meta(ge=0, le=20, description="times it is sent again at most")] = 0
    quiet_ms: Annotated[int, Meta(ge=0, description="over must last this long; sooner back is the same trouble")] = 0
    cooldown_ms: Annotated[int, Meta(ge=0, description="after its end, until it may fire anew")] = 0
    inhibited_by: Annotated[
        list[ItemCode], Meta(description="items: while a case of one is open in the grid, nothing fires")
    ] = []


class PolicyFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `policy.toml`."""

    source: Annotated[str, Meta(description="where these limits come from")]
    classes: list[SlaClass]
    ladder: Ladder
    camera_rules: list[CameraRule]
    camera_silent_after_ms: Annotated[int, Meta(ge=1000)]
    limits: CaseLimits = CaseLimits()  # policies published before there were any
    alert_rules: list[AlertRule] = []


class Terms(Struct, frozen=True, kw_only=True):
    """What one clock gives one item."""

    warn: timedelta
    budget: timedelta
    time_base: TimeBase


class Policy(Struct, frozen=True, kw_only=True, dict=True):
    """Catalogue, SLA policy and calendar as one value: what travels on `reference` and what cases are opened under.

    Whatever a deadline depends on is in it, so its hash on a case fixes every deadline of that case.
    """

    file: PolicyFile
    items: dict[str, Item]
    groups: dict[str, Group]
    calendar: Annotated[Calendar | None, Meta(description="of working time; null in policies that had none")] = None

    def sla(self, item_code: str) -> SlaClass:
        """Return the SLA class of a known item."""
        return self._classes[self.items[item_code].sla]

    def terms(self, item_code: str, clock: Clock) -> Terms:
        """Return what *clock* gives a known item."""
        return self._terms[item_code, clock]

    @cached_property
    def alert_rules(self) -> dict[AlertKind, AlertRule]:
        """Return the rule of each kind of alert that has one."""
        return {kind: rule for rule in self.file.alert_rules for kind in rule.kinds}

    @cached_property
    def _terms(self) -> dict[tuple[str, Clock], Terms]:
        return {
            (item.code, clock): Terms(
                warn=timedelta(milliseconds=ms) * self.sla(item.code).warn_share,
                budget=timedelta(milliseconds=ms),
                time_base=item.time_base,
            )
            for item in self.items.values()
            for clock, ms in self.sla(item.code).budgets_ms.items()
        }

    @cached_property
    def _classes(self) -> dict[str, SlaClass]:
        return {found.name: found for found in self.file.classes}


def policy_hash(policy: Policy) -> str:
    """Return the content address of *policy*: 16 hex digits of SHA-256 over its canonical JSON."""
    return sha256(msgspec.json.encode(policy, order="sorted")).hexdigest()[:16]


def load_policy(directory: Path) -> Policy:
    """Read `items.toml`, `policy.toml` and the calendar of *directory*.

    Raises:
        SetupError: a file is wrong; the text names file and field.
    """
    catalogue, file = load_toml(directory / ITEMS_FILE, Catalogue), load_toml(directory / POLICY_FILE, PolicyFile)
    found = list(faults(catalogue, file))
    if found:
        raise SetupError("policy data", "; ".join(map(str, found)))
    return assemble(catalogue, file, load_calendar(directory))


def assemble(catalogue: Catalogue, file: PolicyFile, calendar: Calendar) -> Policy:
    """Return the policy that files without faults make."""
    return Policy(
        file=file,
        items={item.code: item for item in catalogue.items},
        groups={group.code: group for group in catalogue.groups},
        calendar=calendar,
    )


def faults(catalogue: Catalogue, file: PolicyFile) -> Iterator[Fault]:
    """Yield what contradicts itself in a catalogue and a policy, with the place of each entry."""
    yield from _item_faults(catalogue, {sla.name for sla in file.classes})
    yield from _class_faults(file)
    yield from _ladder_faults(file.ladder)
    codes = {item.code for item in catalogue.items}
    for index, rule in enumerate(file.camera_rules):
        if rule.item_code not in codes:
            yield _fault(f"camera_rules[{index}]", "item_code", f"names unknown item {rule.item_code}")
    yield from _alert_faults(file.alert_rules, codes)


def _item_faults(catalogue: Catalogue, classes: Collection[str]) -> Iterator[Fault]:
    groups = {group.code for group in catalogue.groups}
    for index, item in enumerate(catalogue.items):
        reasons = (
            ("code", f"item {item.code} belongs to no group", item.code[:2] not in groups),
            (
                "duplicate_radius_m",
                f"item {item.code} has only one of duplicate_radius_m and duplicate_window_ms",
                (item.duplicate_radius_m is None) != (item.duplicate_window_ms is None),
            ),
            ("sla", f"item {item.code} names unknown SLA class {item.sla!r}", item.sla not in classes),
        )
        for field, reason, is_wrong in reasons:
            if is_wrong:
                yield Fault(file=ITEMS_FILE, at=f"items[{index}]", field=field, reason=reason)
    distinct = len({item.code for item in catalogue.items})
    if distinct != ITEM_COUNT:
        reason = f"there are {distinct} distinct items, not {ITEM_COUNT}"
        yield Fault(file=ITEMS_FILE, at="items", field="code", reason=reason)


def _class_faults(file: PolicyFile) -> Iterator[Fault]:
    names: set[str] = set()
    for index, sla in enumerate(file.classes):
        at = f"classes[{index}]"
        for clock in Clock:
            if clock not in sla.budgets_ms:
                yield _fault(at, "budgets_ms", f"{sla.name} lacks a budget for {clock}")
        if sla.name in names:
            yield _fault(at, "name", f"{sla.name!r} is there already")
        names.add(sla.name)


def _ladder_faults(ladder: Ladder) -> Iterator[Fault]:
    order = list(Level)
    village = Rung(level=Level.VILLAGE, budget_ms=1)
    for index, (below, rung) in enumerate(pairwise([village, *ladder.rungs])):
        is_announced = below.act is RungAct.SUPERVISE and rung.act is RungAct.TRANSFER
        if order.index(rung.level) < order.index(below.level) + (not is_announced):
            yield _fault(f"ladder.rungs[{index}]", "level", "does not lie above the one before")


def _alert_faults(rules: list[AlertRule], codes: Collection[str]) -> Iterator[Fault]:
    seen: set[AlertKind] = set()
    for index, rule in enumerate(rules):
        at = f"alert_rules[{index}]"
        for kind in rule.kinds:
            if kind.startswith("sla_"):
                yield _fault(at, "kinds", f"{kind} is of a deadline, and those are never held back")
            if kind in seen:
                yield _fault(at, "kinds", f"{kind} has a rule already")
            seen.add(kind)
        for code in rule.inhibited_by:
            if code not in codes:
                yield _fault(at, "inhibited_by", f"names unknown item {code}")


def _fault(at: str, field: str, reason: str) -> Fault:
    return Fault(file=POLICY_FILE, at=at, field=field, reason=reason)
