"""The key figures, from records on topics to what an analyst reads: the article's own, and a month's."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from clickhouse_connect.driver import Client
from pandas.testing import assert_frame_equal

from infra.clickhouse import Role as Access
from infra.clickhouse import connect
from infra.clock import utc_now
from infra.kafka import Producer, headers, read_to_end
from infra.migrate import migrate_warehouse
from infra.reference import publish
from infra.settings import Settings
from pipelines.domain import ids
from schemas import codec
from schemas.cases import Command, LedgerKind, Level, Move, Verdict
from schemas.grid import Role
from schemas.policy import Severity, TimeBase
from schemas.registry import Registry
from schemas.reports import Report
from schemas.topics import CASE_COMMANDS, CASE_EVENTS, CASE_RESULTS, CASES, REPORTS
from tests.builders import DISTRICT, POLICY, REGISTRY, a_report, with_policy
from tests.conftest import eventually, process
from tests.faults.fleet import Fleet
from tests.kpis import Figures, shares
from tests.months import Month, Scene, a_month, slowed
from tests.warehouse import running_warehouse

REPORTED, SETTLED_LOCALLY, BY_DISTRICT = 70, 67, 3  # the source article
AT_STREET, ON_THE_SPOT = 7, 10  # of the 67; the article does not say
SEEDS = {2020: "610117001001", 216: "610117001002", 39: "610117001003"}  # each plays in a village of its own
ZONE = ZoneInfo("Asia/Shanghai")
UNSTAFFED = "610117002002"


def patient(text: str) -> str:
    """Return the demo's limits as hours, but a second to acknowledge a major issue: nothing else is late."""
    hours = re.sub(r"= \d{4,5}\b", "= 3600000", text)
    head, major = hours.split('name = "major"')
    return head + 'name = "major"' + major.replace("acknowledge = 3600000", "acknowledge = 1000")


@pytest.fixture(scope="module")
def stack(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Broker, warehouse and sink, and a policy under which only major issues climb, to the street and no further."""
    text = (DISTRICT / "policy.toml").read_text(encoding="utf-8")
    settings = with_policy(broker, tmp_path_factory.mktemp("district"), patient(text))
    publish(settings, utc_now())
    with running_warehouse(settings):
        migrate_warehouse(settings)
        with process("consumers.warehouse", settings, log=settings.data_dir / "sink.out"):
            yield settings


@pytest.fixture(scope="module")
def fleet(stack: Settings) -> Iterator[Fleet]:
    """Two workers."""
    with Fleet(stack) as fleet:
        fleet.start("worker-1", "worker-2")
        fleet.await_open()
        yield fleet


@pytest.fixture(scope="module")
def producer(stack: Settings) -> Iterator[Producer]:
    with Producer(stack, "test") as opened:
        yield opened


@pytest.fixture(scope="module")
def reader(stack: Settings) -> Iterator[Client]:
    """What an analyst sees."""
    client = connect(stack, Access.READER)
    yield client
    client.close()


class Round:
    """The article's seventy reports in one village; people do what is left to do until nothing is."""

    def __init__(self, seed: int, village: str, settings: Settings, producer: Producer) -> None:
        self._rng, self._settings, self._producer, self._name = Random(seed), settings, producer, f"article-{seed}"
        self._grids = [grid for grid in sorted(REGISTRY.grids) if grid.startswith(village)]
        self._office, self._village = f"ft-{village[6:]}", village
        self.left: dict[str, list[tuple[Move, str, str | None]]] = {}
        self.at_street: set[str] = set()
        self._reports: list[Report] = []
        self._commands: dict[str, tuple[str, Move]] = {}
        self._asked = 0
        for number in range(REPORTED):
            self._plan(number)

    def _plan(self, number: int) -> None:
        grid = self._rng.choice(self._grids)
        worker = REGISTRY.people_for(grid, Role.PART_TIME)[0].id
        is_street = number < AT_STREET
        is_settled = AT_STREET <= number < AT_STREET + ON_THE_SPOT
        severity = Severity.MAJOR if is_street else Severity.IMPORTANT
        item = self._rng.choice(
            [i.code for i in POLICY.items.values() if (i.severity, i.time_base) == (severity, TimeBase.NATURAL)]
        )
        report = msgspec.structs.replace(
            a_report(f"{self._name}-{number}", grid, item),
            reported_by=worker,
            settled="当场调解" if is_settled else None,
        )
        case_id = ids.case_id(grid, report.report_id)
        self._reports.append(report)
        verify = (Move.VERIFY, self._office, None)
        if is_settled:
            self.left[case_id] = [verify]
        elif number >= SETTLED_LOCALLY:
            first, second = self._rng.sample([p.id for p in REGISTRY.people_for(grid, Role.DEPARTMENT)], 2)
            self.left[case_id] = [
                (Move.ACKNOWLEDGE, worker, None),
                *((Move.ASSIGN, "dc-01", department) for department in (first, second)),
                *((Move.COMPLETE, department, None) for department in (first, second)),
                (Move.HANDLE, "dc-01", None),
                verify,
            ]
        else:
            self.left[case_id] = [(Move.ACKNOWLEDGE, worker, None), (Move.HANDLE, worker, None), verify]
            if is_street:
                self.at_street.add(case_id)

    def play(self, fleet: Fleet) -> None:
        """Send all in random order, much of it twice, and kill a worker half-way; then what was refused, again."""
        victim = self._rng.choice(("worker-1", "worker-2"))
        records = self._shuffled([*self._reports, *self._wave()])
        self._send(records[: len(records) // 2])
        fleet.kill(victim)
        self._send(records[len(records) // 2 :])
        fleet.start(victim)
        while self._settle():
            self._send(self._shuffled(list(self._wave())))

    def _wave(self) -> Iterator[Command]:
        """Yield what people may ask now: early moves are refused and asked again.

        Nobody says "handled" before the rest of the work, or acts on a major issue before the street has it.
        """
        climbed = self.at_street and {
            event.case_id
            for event in _values(self._settings, CASE_EVENTS)
            if event.kind is LedgerKind.ESCALATED and event.level is Level.STREET
        }
        for case_id, moves in self.left.items():
            if case_id in self.at_street and case_id not in climbed:
                continue
            for move, by, assignee in moves:
                if move is Move.HANDLE and moves[0][0] is not Move.HANDLE:
                    continue
                command_id = f"{case_id}-{move}-{assignee or by}"
                self._commands[command_id] = case_id, move
                yield Command(
                    command_id=command_id,
                    case_id=case_id,
                    move=move,
                    by=by,
                    requested_at=utc_now(),
                    assignee=assignee,
                    note="需要部门协同" if move is Move.ASSIGN else None,
                )

    def _shuffled(self, records: list[Any]) -> list[Any]:
        repeated = [record for record in records for _ in range(self._rng.choice((1, 1, 2, 3)))]
        self._rng.shuffle(repeated)
        return repeated

    def _send(self, records: list[Any]) -> None:
        sends = []
        for record in records:
            if isinstance(record, Command):
                topic, key, ident, at = CASE_COMMANDS, record.case_id[:15], record.command_id, record.requested_at
                self._asked += 1
            else:
                topic, key, ident, at = REPORTS, record.grid_id, record.report_id, record.received_at
            sends.append(self._producer.send(topic, key=key, ce_id=ident, at=at, value=record))
        for send in sends:
            send.result(30)

    def _settle(self) -> bool:
        """Wait for every answer; tell whether anything is left to do."""
        eventually(lambda: len(self._answers()) == self._asked, within_s=60, what="every command is answered")
        accepted = {r.command_id for r in self._answers().values() if r.verdict is Verdict.ACCEPTED}
        for case_id, moves in self.left.items():
            moves[:] = [m for m in moves if f"{case_id}-{m[0]}-{m[2] or m[1]}" not in accepted]
        return any(self.left.values())

    def _answers(self) -> dict[str, Any]:
        """Return the results of this round's commands by their records' ids: a kill may repeat one."""
        return {
            codec.header(headers(m), "ce_id") or "": result
            for m in read_to_end(self._settings, CASE_RESULTS)
            if (result := codec.decode(CASE_RESULTS, m.value())).command_id in self._commands
        }


def _values(settings: Settings, topic: Any) -> list[Any]:
    return [codec.decode(topic, message.value()) for message in read_to_end(settings, topic)]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_article_s_own_numbers(
    stack: Settings, fleet: Fleet, producer: Producer, reader: Client, seed: int
) -> None:
    """70 reported, 67 settled by village and street, 3 by the district with departments, 处置到位率 100 %."""
    village, began = SEEDS[seed], utc_now().astimezone(ZONE).date()
    figures = """
        SELECT sum(report), sum(archive), sum(settled), sum(settledLocally), sum(settledByDistrict), sum(breach),
               sum(escalate), sum(needAcknowledge), sum(inTimeAcknowledge), sum(overtimeAcknowledge), sum(dispose),
               sum(check), sum(back + rework + cancel + reopen), groupUniqArrayIf(settled_ratio, report > 0)
        FROM v_kpi_village WHERE village_id = {village:String} AND period = 'day' AND period_start >= {began:Date}"""
    round_ = Round(seed, village, stack, producer)

    round_.play(fleet)

    def settled() -> list[Any]:
        rows = reader.query(figures, {"village": village, "began": began}).result_rows
        return rows if rows[0][1] == REPORTED else []

    [found] = eventually(settled, within_s=30, what="the sink has the whole round")  # type: ignore[misc]
    called = REPORTED - ON_THE_SPOT
    assert found[:5] == (REPORTED, REPORTED, REPORTED, SETTLED_LOCALLY, BY_DISTRICT)
    assert found[5:10] == (AT_STREET, AT_STREET, called, called - AT_STREET, AT_STREET)
    assert found[10:] == (REPORTED, REPORTED, 0, [1.0])
    levels = (
        "SELECT level, count() FROM v_case_chain WHERE startsWith(grid_id, {v:String}) GROUP BY level ORDER BY level"
    )
    assert reader.query(levels, {"v": village}).result_rows == [
        ("district", BY_DISTRICT),
        ("street", AT_STREET),
        ("village", SETTLED_LOCALLY - AT_STREET),
    ]
    tasks = (
        "SELECT sum(length(departments)) FROM v_kpi_facts WHERE counter = 'settled' AND startsWith(grid_id, {v:String})"
    )
    assert reader.query(tasks, {"v": village}).result_rows == [(2 * BY_DISTRICT,)]
    odd = "SELECT * FROM v_conservation WHERE difference != 0 AND startsWith(grid_id, {v:String})"
    assert reader.query(odd, {"v": village}).result_rows == []


@pytest.fixture(scope="module")
def scene() -> Scene:
    """March in the demo's district under limits of hours; one village has nobody to send at once."""
    content = REGISTRY.content
    sent = (Role.PART_TIME, Role.FULL_TIME)
    people = [p for p in content.people if not (p.area.startswith(UNSTAFFED) and p.role in sent)]
    since = datetime(2026, 3, 1, tzinfo=ZONE)
    return Scene(
        policy=slowed(POLICY, 1800),
        registry=Registry(msgspec.structs.replace(content, people=people)),
        grids=sorted(REGISTRY.grids),
        items=sorted(POLICY.items),
        since=since,
        until=since + timedelta(days=31),
    )


@pytest.fixture(scope="module")
def month(stack: Settings, scene: Scene, producer: Producer, reader: Client) -> Month:
    """A month of 2,000 cases whose ledger came over the topics, in random order and in part twice."""
    month = a_month(6, 2000, scene)
    lines = [event for outcome in month.outcomes for event in outcome.events]
    Random(6).shuffle(lines)
    for line in [*lines, *lines[:1000]]:
        producer.send(CASE_EVENTS, key=line.grid_id, ce_id=line.event_id, at=line.at, value=line)
    for case in (outcome.case for outcome in month.outcomes):
        ce_id = f"{case.case_id}/{case.version}"
        producer.send(CASES, key=case.grid_id, ce_id=ce_id, at=case.updated_at, value=case)
    assert producer.flush(60) == 0
    since = {"since": scene.since, "until": scene.until}
    stored = """
        SELECT (SELECT count() FROM v_case_events WHERE at BETWEEN {since:DateTime64(6)} AND {until:DateTime64(6)}),
               (SELECT count() FROM v_cases WHERE opened_at BETWEEN {since:DateTime64(6)} AND {until:DateTime64(6)})"""
    eventually(
        lambda: reader.query(stored, since).result_rows == [(len(lines), 2000)], within_s=60, what="the month is in"
    )
    return month


def test_a_month_s_figures_equal_pandas_on_the_journal(month: Month, scene: Scene, reader: Client) -> None:
    """Every counter and share, of every grid, village, street, department, worker and item, day, week and month."""
    staffed = {grid for grid in scene.grids if not grid.startswith(UNSTAFFED)}
    figures = Figures(month, scene.policy, staffed)
    wanted = figures.counters().drop("all", level="period")
    index = ["dimension", "key", "period", "period_start"]

    query = "SELECT * FROM v_kpi WHERE period != 'all' AND period_start < '2026-06-01'"
    found = reader.query_df(query).astype({"period_start": wanted.index.dtypes["period_start"]})
    found = found.set_index(index).sort_index()

    assert len(wanted) > 7000
    assert (wanted.groupby("dimension").sum().loc["district"] > 0).all(), "the month has something of everything"
    assert_frame_equal(found[wanted.columns].astype(int), wanted, check_names=False, check_index_type=False)
    ratios = shares(wanted)
    assert set(found.columns) == {*wanted.columns, *ratios.columns}
    assert_frame_equal(found[ratios.columns].astype(float), ratios, check_names=False, check_index_type=False)


def test_a_month_s_response_times_equal_pandas_on_the_journal(month: Month, scene: Scene, reader: Client) -> None:
    """Median and 90 % of each step from first seen to settled, of every grid."""
    staffed = {grid for grid in scene.grids if not grid.startswith(UNSTAFFED)}
    wanted = Figures(month, scene.policy, staffed).response_times()

    found = reader.query_df(
        "SELECT key AS grid, step, cases, p50_ms, p90_ms FROM v_response_times"
        " WHERE dimension = 'grid' AND period = 'month' AND period_start = '2026-03-01'"
    )

    found = found.set_index(["grid", "step"]).sort_index()
    assert len(wanted) > 150
    assert_frame_equal(found, wanted, check_dtype=False, check_index_type=False)


def test_a_month_s_cases_are_archived_open_or_void(month: Month, reader: Client) -> None:
    """Reported = archived + open + void in every grid, open counted from the cases and the rest from the ledger."""
    rows = reader.query("SELECT sum(reported), countIf(difference != 0) FROM v_conservation").result_rows

    assert rows[0][0] >= len(month.outcomes)
    assert rows[0][1] == 0
