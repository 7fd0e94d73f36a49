"""Alerts of cameras as the engine sends them: storms, silences, a street without power; through the program itself."""

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from pipelines.agents.case_program import CaseProgram
from pipelines.stream.program import Output
from schemas import codec
from schemas.alerts import Alert, AlertKind, AlertStatus
from schemas.cameras import CameraEvent, CameraEventKind, Phase
from schemas.cases import Command, Move
from schemas.district_files import load_toml
from schemas.policy import ITEMS_FILE, AlertRule, Catalogue, Policy, faults, load_policy
from schemas.silences import Silence
from schemas.topics import (
    ALERTS_CAMERA,
    ALERTS_SAFETY,
    CAMERA_EVENTS,
    CASE_COMMANDS,
    CASE_EVENTS,
    REPORTS,
    SILENCES,
    Topic,
)
from tests.builders import DISTRICT, GRID, NINE, POLICY, POLICY_ID, REGISTRY, WORKER, a_report, seconds

POWER_CUT = "06010"
CAMERAS = sorted(camera.id for camera in REGISTRY.cameras_of[GRID])
RULE = AlertRule(
    kinds=[AlertKind.CAMERA_OFFLINE],
    group_wait_ms=5_000,
    group_interval_ms=60_000,
    repeat_ms=600_000,
    repeats=2,
    quiet_ms=10_000,
    cooldown_ms=30_000,
    inhibited_by=[POWER_CUT],
)


class World:
    """One partition's program, and what it sent on the topics of cameras."""

    def __init__(self, *rules: AlertRule) -> None:
        self.policy = Policy(
            file=replace(POLICY.file, alert_rules=list(rules), camera_rules=[]),
            items=POLICY.items,
            groups=POLICY.groups,
            calendar=POLICY.calendar,
        )
        self.program, self._offsets, self._number = self._fresh(), dict[str, int](), 0
        self.state: dict[bytes, bytes] = {}
        self.alerts: list[Alert] = []

    def _fresh(self) -> CaseProgram:
        return CaseProgram(codec.partition_of(GRID, 4), 4, REGISTRY, {POLICY_ID: self.policy}, POLICY_ID)

    def take(self, topic: Topic, value: Any, second: float) -> list[Output]:
        offset = self._offsets[topic.name] = self._offsets.get(topic.name, -1) + 1
        stamp = int(at(second).timestamp() * 1000)
        record = SimpleNamespace(offset=offset, timestamp=stamp, key=b"", value=codec.encode(value), headers=[])
        return self._keep(self.program.take(topic.name, record))

    def camera(self, second: float, index: int, phase: Phase, kind: CameraEventKind = CameraEventKind.OFFLINE) -> None:
        self._number += phase is Phase.OPEN
        event = CameraEvent(
            event_id=f"e-{index}-{self._number}",
            camera_id=CAMERAS[index],
            grid_id=GRID,
            kind=kind,
            phase=phase,
            occurred_at=at(second),
            started_at=at(second),
        )
        self.take(CAMERA_EVENTS, event, second)

    def until(self, second: float) -> list[tuple[AlertStatus, int]]:
        """Let time reach *second*; return what has been sent since the last call, with how many cameras it names."""
        self._keep(self.program.tick(at(second)))
        sent, self.alerts = self.alerts, []
        return [(alert.status, len(alert.cameras or [alert.camera_id])) for alert in sent]

    def restart(self) -> None:
        """A worker dies and another recovers what was written."""
        self._settle()
        self.program = self._fresh()
        self.program.load(self.state)

    def _keep(self, outputs: list[Output]) -> list[Output]:
        found = [o for o in outputs if o.topic in (ALERTS_CAMERA.name, ALERTS_SAFETY.name)]
        self.alerts += [codec.decode(ALERTS_CAMERA, o.value) for o in found]
        self._settle()
        return outputs

    def _settle(self) -> None:
        for change in self.program.settle().changes:
            if change.value is None:
                self.state.pop(change.key, None)
            else:
                self.state[change.key] = change.value


def at(second: float) -> datetime:
    return NINE + seconds(second)


FIRING, RESOLVED = AlertStatus.FIRING, AlertStatus.RESOLVED
ALL = range(len(CAMERAS))


def test_a_storm_is_one_message_that_names_every_camera() -> None:
    """The wait counts from the first one; who joins later comes with the next message, not each alone."""
    world = World(RULE)
    for second, index in enumerate(ALL):
        world.camera(second, index, Phase.OPEN)

    assert world.until(4.9) == []
    assert world.until(6) == [(FIRING, len(CAMERAS))]


def test_a_camera_that_joins_is_told_after_the_interval_and_the_end_once() -> None:
    """One incident: its first message, one about more cameras, its end."""
    world = World(RULE)
    world.camera(0, 0, Phase.OPEN)
    world.camera(20, 1, Phase.OPEN)

    assert world.until(64) == [(FIRING, 1)]
    assert world.until(66) == [(FIRING, 2)]
    world.camera(70, 0, Phase.END)
    world.camera(80, 1, Phase.END)
    assert world.until(89) == []
    assert world.until(91) == [(RESOLVED, 1)]


def test_a_camera_that_flaps_is_one_incident() -> None:
    """Back within the quiet: nothing is sent, neither its end nor anew."""
    world = World(RULE)
    world.camera(0, 0, Phase.OPEN)
    world.until(6)
    for second in range(10, 60, 10):
        world.camera(second, 0, Phase.END)
        world.camera(second + 5, 0, Phase.OPEN)

    assert world.until(100) == []


def test_a_blip_shorter_than_the_wait_is_nobodys_trouble() -> None:
    """Five seconds here; minutes in production."""
    world = World(RULE)
    world.camera(0, 0, Phase.OPEN)
    world.camera(3, 0, Phase.END)

    assert world.until(500) == []


def test_it_is_repeated_while_it_lasts_up_to_the_cap() -> None:
    """Twice after ten minutes each, and no more."""
    world = World(RULE)
    world.camera(0, 0, Phase.OPEN)

    assert [len(world.until(600 * n + 10)) for n in range(5)] == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_power_cut_in_the_grid_keeps_its_cameras_quiet_until_it_is_over(is_restarted: bool) -> None:
    """The open case inhibits; what is still dark when it is closed fires then. A restart changes nothing."""
    world = World(RULE)
    outputs = world.take(REPORTS, a_report("r-cut", item_code=POWER_CUT), 0)
    case_id = next(codec.decode(CASE_EVENTS, o.value).case_id for o in outputs if o.topic == CASE_EVENTS.name)
    for index in ALL:
        world.camera(10, index, Phase.OPEN)
    world.camera(20, 0, Phase.END)
    assert world.until(600) == []
    if is_restarted:
        world.restart()

    void = Command(command_id="c", case_id=case_id, move=Move.VOID, by="st-001", requested_at=NINE, note="已恢复供电")
    world.take(CASE_COMMANDS, void, 700)

    assert world.until(701) == [(FIRING, len(CAMERAS) - 1)]


def a_silence(since: float, until: float, *kinds: AlertKind) -> Silence:
    return Silence(
        silence_id="s-1",
        grid_id=GRID,
        kinds=list(kinds) or [AlertKind.CAMERA_OFFLINE],
        since=at(since),
        until=at(until),
        author=WORKER,
        reason="道路施工",
    )


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_silence_ends_by_itself_and_what_lasts_fires_then(is_restarted: bool) -> None:
    """An end is told all the same: who heard of trouble hears that it is over."""
    world = World(RULE)
    world.camera(0, 0, Phase.OPEN)
    assert world.until(6) == [(FIRING, 1)]
    world.take(SILENCES, a_silence(10, 1000), 10)
    world.camera(20, 0, Phase.END)
    assert world.until(40) == [(RESOLVED, 1)]
    world.camera(100, 1, Phase.OPEN)
    assert world.until(999) == []
    if is_restarted:
        world.restart()

    assert world.until(1001) == [(FIRING, 1)]


def test_a_silence_can_be_ended_early_and_covers_its_kinds_alone() -> None:
    """Sent again under its id with an earlier end, it is over."""
    world = World(RULE)
    world.take(SILENCES, a_silence(0, 1000, AlertKind.CAMERA_SILENT), 0)
    world.camera(1, 0, Phase.OPEN)
    assert world.until(10) == [(FIRING, 1)]
    world.camera(20, 0, Phase.END)
    world.until(40)

    world.take(SILENCES, a_silence(40, 1000), 40)
    world.camera(100, 1, Phase.OPEN)
    assert world.until(200) == []
    world.take(SILENCES, a_silence(40, 200), 200)

    assert world.until(201) == [(FIRING, 1)]


def test_silences_are_forgotten_when_they_are_long_over() -> None:
    """State does not grow with the years."""
    world = World(RULE)
    world.take(SILENCES, a_silence(0, 10), 0)
    assert any(b"/silence/" in key for key in world.state)

    world.until(timedelta(hours=2).total_seconds())

    assert not any(b"/silence/" in key for key in world.state)


def test_kinds_without_a_rule_are_sent_as_they_are_raised() -> None:
    """A gathering waits for nobody."""
    world = World(RULE)

    world.camera(0, 0, Phase.OPEN, CameraEventKind.ACTIVITY)
    world.camera(1, 0, Phase.OPEN, CameraEventKind.ACTIVITY)

    assert world.until(1) == [(FIRING, 1)] * 2


def test_what_lasted_when_its_rule_went_is_not_told_when_the_rule_comes_back() -> None:
    """It may be over since; the next one counts from its own beginning."""
    world = World(RULE)
    world.camera(0, 0, Phase.OPEN)
    world.until(6)
    with_rule = world.policy
    world.policy = World().policy
    world.restart()
    world.camera(10, 0, Phase.END)
    world.until(20)
    world.policy = with_rule
    world.restart()

    assert world.until(3600) == []
    world.camera(3700, 1, Phase.OPEN)
    assert world.until(3706) == [(AlertStatus.FIRING, 1)]


def test_a_rule_that_cannot_be_meant_is_a_fault() -> None:
    """Deadlines are never held back; one rule a kind; items exist."""
    catalogue = load_toml(DISTRICT / ITEMS_FILE, Catalogue)
    wrong = [
        AlertRule(kinds=[AlertKind.SLA_BREACH]),
        RULE,
        replace(RULE, inhibited_by=["99999"]),
    ]

    found = list(faults(catalogue, replace(load_policy(DISTRICT).file, alert_rules=wrong)))

    assert [(fault.at, fault.field) for fault in found] == [
        ("alert_rules[0]", "kinds"),
        ("alert_rules[2]", "kinds"),
        ("alert_rules[2]", "inhibited_by"),
    ]
