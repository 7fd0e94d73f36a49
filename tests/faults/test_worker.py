"""The engine under kill -9 and outage, driven and judged through Kafka alone."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from subprocess import Popen

import pytest

from infra.clock import utc_now
from infra.kafka import group_lag
from infra.local.summary import escalations_due, time_reached
from infra.reference import publish
from infra.settings import Settings
from pipelines.app import APP_ID
from schemas import codec
from schemas.alerts import AlertKind
from schemas.cases import Clock, LedgerKind, Move, Stage, Verdict
from schemas.topics import (
    ALERTS_SLA,
    CASE_EVENTS,
    CASE_RESULTS,
    CASES,
    CLOCK_TICKS,
    DEAD_LETTERS,
    GRID_STATE,
    REPORTS,
)
from tests.builders import DISTRICT, GRID, POLICY, WORKER, a_report, with_policy
from tests.conftest import eventually, process
from tests.district import District

CALM = (DISTRICT / "policy.toml").read_text(encoding="utf-8").replace("acknowledge = 8000", "acknowledge = 6000")


@contextmanager
def worker(settings: Settings) -> Iterator[Popen[bytes]]:
    """Run a worker; return when its lanes are open."""
    log = settings.data_dir / "worker.log"
    before = log.read_text().count("lanes_open") if log.exists() else 0
    with process("pipelines", settings, log=log) as child:
        eventually(lambda: log.read_text().count("lanes_open") > before, within_s=40, what="lanes open")
        yield child


def kill(child: Popen[bytes]) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()


def work_left(settings: Settings) -> int:
    return sum(n for topic, n in group_lag(settings, APP_ID).items() if topic != CLOCK_TICKS.name)


@pytest.fixture(scope="module")
def calm(district: District, tmp_path_factory: pytest.TempPathFactory) -> District:
    """The district under a policy whose acknowledgement takes 6 s."""
    directory: Path = tmp_path_factory.mktemp("district")
    settings = with_policy(district.settings, directory, CALM)
    publish(settings, utc_now())
    return District(settings, district.producer)


def test_an_acknowledgement_in_time_counts_however_long_the_worker_was_away(calm: District) -> None:
    """Worker down over 50 deadlines, 25 acknowledged in time: exactly the other 25 escalate, each under one id."""
    with worker(calm.settings) as child:
        cases = [calm.report(a_report(f"outage-{n}")) for n in range(50)]
        eventually(lambda: len(calm.values(CASES)) >= 50, within_s=20, what="50 cases open")
        kill(child)
    last_due = max(case.timer.due_at for case in calm.values(CASES))
    for n, case_id in enumerate(cases[:25]):
        calm.ask(case_id, Move.ACKNOWLEDGE, WORKER, utc_now(), f"ack-{n}")
    assert utc_now() < last_due, "the machine was too slow for this test to mean anything"
    eventually(lambda: utc_now() > last_due + timedelta(seconds=1), within_s=30, what="all deadlines have passed")

    with worker(calm.settings):
        eventually(lambda: min(time_reached(calm.settings).values()) > last_due, within_s=30, what="time has caught up")

    late = [
        alert
        for alert in calm.values(ALERTS_SLA)
        if alert.kind is AlertKind.SLA_ESCALATION and alert.clock is Clock.ACKNOWLEDGE and alert.level == "street"
    ]
    assert {alert.case_id for alert in late} == set(cases[25:])
    assert len({alert.alert_id for alert in late}) == 25
    assert all(alert.at == alert.due_at for alert in late), "late in coming, but with the true due time"


def test_kill_9_loses_nothing_and_doubles_nothing(calm: District) -> None:
    """Six kills under load: every report has one case, every move one result, every id one content."""
    reports = [a_report(f"kill-{n}") for n in range(600)]
    cases: list[str] = []
    for round_number in range(6):
        with worker(calm.settings) as child:
            for report in reports[round_number * 100 : round_number * 100 + 100]:
                cases.append(calm.report(report))
                calm.ask(cases[-1], Move.ACKNOWLEDGE, WORKER, utc_now(), f"a-{report.report_id}")
            kill(child)
    with worker(calm.settings):
        eventually(lambda: work_left(calm.settings) == 0, within_s=15, what="all inputs are read and committed")

    ledger = {event.event_id: event for event in calm.values(CASE_EVENTS)}
    opened = [e.case_id for e in ledger.values() if e.kind is LedgerKind.OPENED]
    results = {r.command_id: r for r in calm.values(CASE_RESULTS)}
    assert set(cases) <= set(opened)
    assert len(opened) == len(set(opened))
    assert all(results[f"a-{report.report_id}"].verdict is Verdict.ACCEPTED for report in reports)
    assert all(len(contents) == 1 for contents in calm.by_id(CASE_EVENTS).values()), "repeats are byte-equal"
    assert all(len(contents) == 1 for contents in calm.by_id(ALERTS_SLA).values())
    numbers: dict[str, list[int]] = {}
    for event in ledger.values():
        numbers.setdefault(event.case_id, []).append(event.number)
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in numbers.values()), "no gaps in a ledger"


def test_a_report_sent_twice_makes_one_case_and_another_content_is_a_conflict(calm: District) -> None:
    """The same id again changes nothing; under the same id with other content it becomes a dead letter."""
    with worker(calm.settings):
        before = len(calm.by_id(DEAD_LETTERS))
        case_id = calm.report(a_report("twice"))
        calm.report(a_report("twice"))
        other = codec.encode(a_report("twice")).replace(b'"digest":"0000', b'"digest":"ffff')
        calm.producer.send_raw(REPORTS.name, key=GRID.encode(), value=other, headers=[]).result(10)
        eventually(
            lambda: len(list(calm.by_id(DEAD_LETTERS))) > before, within_s=20, what="the conflict is a dead letter"
        )

    assert len([e for e in calm.values(CASE_EVENTS) if e.case_id == case_id and e.kind is LedgerKind.OPENED]) == 1


def test_grid_state_is_a_fold_of_the_ledger(calm: District) -> None:
    """What `grid.state` says of a grid equals what the ledger without repeated ids adds up to; due equals sent."""
    with worker(calm.settings):
        began = utc_now()
        eventually(lambda: min(time_reached(calm.settings).values()) > began, within_s=30, what="a tick after start")

    ledger = {event.event_id: event for event in calm.values(CASE_EVENTS)}.values()
    mine = [event for event in ledger if event.grid_id == GRID]
    last = {event.case_id: event for event in sorted(mine, key=lambda e: e.number)}
    state = [s for s in calm.values(GRID_STATE) if s.grid_id == GRID][-1]
    assert state.reported == len(last)
    assert {stage: n for stage, n in state.by_stage.items() if n} == {
        stage: sum(event.stage is stage for event in last.values())
        for stage in Stage
        if any(event.stage is stage for event in last.values())
    }
    assert state.breaches == sum(event.kind is LedgerKind.BREACHED for event in mine)
    policies = dict.fromkeys(last, POLICY)
    sent = {a.alert_id for a in calm.values(ALERTS_SLA) if a.kind is AlertKind.SLA_ESCALATION}
    assert escalations_due(ledger, policies, time_reached(calm.settings)) == sent
