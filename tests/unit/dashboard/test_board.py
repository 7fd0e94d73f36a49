"""From the model to what the page shows: who is late, what is silent, what is left out."""

from datetime import datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from consumers.dashboard.domain import board
from consumers.dashboard.domain.board import CASES_SHOWN, Board, heat
from consumers.dashboard.domain.health import Pace, Sample
from consumers.dashboard.domain.model import Model, Taken
from consumers.dashboard.domain.views import Eye, Heat, Names, View
from pipelines.domain import cases
from schemas.alerts import Alert, AlertKind, AlertStatus
from schemas.cameras import CameraStatus, CameraTelemetry
from schemas.cases import Case, Level
from schemas.grid import Role
from schemas.topics import TOPICS
from tests.builders import GRID, NINE, POLICY, REGISTRY, WORKER, a_case, opened, seconds

BOARD = Board(REGISTRY, POLICY)
OTHER = "610117001002001"
CAMERA = "cam-dz-001"  # stands in GRID


def view(*values: Any, now: datetime = NINE, focus: str | None = None) -> View:
    """What the page shows at *now* of records appended at nine."""
    model = Model()
    for value in values:
        model.take(Taken(key=getattr(value, "case_id", None) or value.grid_id, value=value, appended_at=NINE))
    return BOARD.view(model, now, lost_since=None, focus=focus)


def numbered(n: int, **changes: Any) -> Case:
    """A case of its own number; "major" items have 8 s to be acknowledged, and warn after 6."""
    return replace(opened(origin_id=f"r-{n}").case, **changes)


def telemetry(status: CameraStatus) -> CameraTelemetry:
    """One second of CAMERA."""
    return CameraTelemetry(
        camera_id=CAMERA,
        grid_id=GRID,
        observed_at=NINE,
        status=status,
        fps=11.6,
        bitrate_bps=1,
        lost_packets=0,
        reconnects=0,
        frame_age_ms=1,
    )


@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, Heat.OPEN), (5.9, Heat.OPEN), (6, Heat.DUE_SOON), (7.9, Heat.DUE_SOON), (8, Heat.OVERDUE), (99, Heat.OVERDUE)],
)
def test_time_alone_makes_a_case_pressing(after: float, expected: Heat) -> None:
    """The page needs no word from the engine to see that a deadline has passed."""
    assert heat(a_case(), NINE + seconds(after)) is expected


def test_a_warned_case_stays_due_soon() -> None:
    """After the warning the timer points at the breach; the case is still due soon."""
    warned = cases.fire(a_case(), NINE + seconds(6), POLICY).case

    assert heat(warned, NINE + seconds(7)) is Heat.DUE_SOON


def test_needs_you_now_lists_the_latest_first_and_leaves_calm_cases_out() -> None:
    """Order is by deadline; a case in time is counted, not listed."""
    late, soon, calm = (replace(opened(at=NINE - seconds(s), origin_id=f"r-{s}").case) for s in (9, 7, 1))

    shown = view(soon, calm, late)

    assert [row.case_id for row in shown.cases] == [late.case_id, soon.case_id]
    assert [row.heat for row in shown.cases] == [Heat.OVERDUE, Heat.DUE_SOON]
    assert (shown.counts.open, shown.counts.due_soon, shown.counts.overdue) == (3, 1, 1)


def test_a_case_that_is_nobodys_needs_somebody() -> None:
    """Without a clock nothing would ever press: it is listed, after those with a deadline."""
    late, lonely = numbered(1), numbered(2, timer=None, assignee=None)

    shown = view(lonely, late, now=NINE + seconds(20))

    assert [row.case_id for row in shown.cases] == [late.case_id, lonely.case_id]


def test_a_grid_in_focus_shows_all_its_cases_and_only_its_own() -> None:
    """Focus narrows lists; the header still counts the whole district."""
    mine, calm = numbered(1), numbered(2)
    other = replace(numbered(3), grid_id=OTHER, case_id=f"{OTHER}-{'a' * 10}")

    shown = view(mine, calm, other, focus=GRID)

    assert {row.case_id for row in shown.cases} == {mine.case_id, calm.case_id}
    assert [group.grid_id for group in shown.cameras] == [GRID]
    assert shown.counts.open == 3


def test_what_is_not_listed_is_counted() -> None:
    """A limit of the display never looks like missing data."""
    shown = view(*[numbered(n) for n in range(CASES_SHOWN + 5)], now=NINE + seconds(60))

    assert len(shown.cases) == CASES_SHOWN
    assert shown.cases_left_off == 5


def test_a_grid_has_the_colour_of_its_worst_open_case() -> None:
    """One overdue case outweighs any number in time; a grid without cases is clear."""
    late, calm = opened(at=NINE - seconds(9)).case, numbered(2)

    grids = {row.grid_id: row for row in view(late, calm).grids}

    assert (grids[GRID].heat, grids[GRID].open, grids[GRID].overdue) == (Heat.OVERDUE, 2, 1)
    assert grids[OTHER].heat is Heat.CLEAR


def test_a_case_row_names_item_grid_rung_and_roster_id() -> None:
    """What an operator needs to act, in both languages."""
    row = view(a_case(level=Level.STREET), now=NINE + seconds(9)).cases[0]

    assert row.item == Names("人员聚集", "Gathering of people")
    assert row.grid == Names("东张市村东赵组", "Dongzhangshi · East Zhao")
    assert (row.level, row.assignee, row.role) == (Level.STREET, WORKER, Role.PART_TIME)
    assert row.due_at == NINE + seconds(8)


def test_no_free_text_and_no_name_of_a_person_reaches_the_page() -> None:
    """A summary can hold anything a resident typed; a roster name is nobody's business here."""
    text = msgspec.json.encode(view(a_case(summary="住户王某某电话"), now=NINE + seconds(9))).decode()

    assert "王某某" not in text
    assert [p.name for p in REGISTRY.people.values() if p.name in text] == []


@pytest.mark.parametrize("status", list(CameraStatus))
def test_a_camera_shows_what_its_producer_says_while_it_speaks(status: CameraStatus) -> None:
    """Each status of the wire has its tile; frames per second only of a live one."""
    tile = view(telemetry(status)).cameras[0].tiles[0]

    assert (tile.camera_id, tile.eye.value) == (CAMERA, status.value)
    assert tile.fps == (12 if status is CameraStatus.LIVE else None)


def test_a_camera_nobody_hears_of_is_silent_whatever_it_said_last() -> None:
    """The policy's limit, 15 s here, turns a "live" into stale data with its age."""
    at_limit, past = (view(telemetry(CameraStatus.LIVE), now=NINE + seconds(s)) for s in (15, 15.1))

    assert at_limit.cameras[0].tiles[0].eye is Eye.LIVE
    tile = past.cameras[0].tiles[0]
    assert (tile.eye, tile.since, tile.fps) == (Eye.SILENT, NINE, None)
    assert past.counts.cameras_live == 0


def test_a_camera_of_the_registry_is_shown_before_it_speaks() -> None:
    """A camera that never came up is not missing from the wall."""
    shown = view()

    assert shown.counts.cameras == len(REGISTRY.cameras)
    assert {tile.eye for group in shown.cameras for tile in group.tiles} == {Eye.UNHEARD}


def test_alerts_come_newest_first_with_their_subject() -> None:
    """Item names for cases; the camera's id, and its name where there is one, for cameras."""
    base = Alert(
        alert_id="a1",
        group_key="g",
        status=AlertStatus.FIRING,
        kind=AlertKind.SLA_BREACH,
        grid_id=GRID,
        at=NINE,
        item_code="01001",
    )
    camera = replace(base, alert_id="a2", kind=AlertKind.CAMERA_OFFLINE, item_code=None, camera_id=CAMERA)

    shown = view(base, replace(camera, at=NINE + seconds(1))).alerts

    assert [a.alert_id for a in shown] == ["a2", "a1"]
    assert [a.subject for a in shown] == [
        Names("主街口 cam-dz-001", "cam-dz-001"),
        Names("人员聚集", "Gathering of people"),
    ]


def test_every_topic_has_its_row_once_there_is_a_sample() -> None:
    """Before the first sample there is no table; then there is one row per topic, with its readers."""
    nothing = {topic.name: (0,) for topic in TOPICS}
    model = Model()
    assert BOARD.view(model, NINE, lost_since=None).topics == []

    model.take_sample(Sample(at=NINE, starts=nothing, ends=nothing, committed={}, members={}))
    rows = {row.topic: row for row in BOARD.view(model, NINE, lost_since=None).topics}

    assert list(rows) == [topic.name for topic in TOPICS]
    assert [cell.group for cell in rows["reports.v1"].readers] == ["gridwatch-cases", "gridwatch-sink"]
    assert (rows["reporters.v1"].readers, rows["reporters.v1"].pace) == ([], None)
    assert rows["reports.v1"].pace is Pace.UNKNOWN


def test_labels_leave_out_the_village_where_they_can() -> None:
    """The map has room for the grid's own name; a name without its village stays whole."""
    grid = REGISTRY.grids[GRID]

    assert board.short_label(grid, "东张市村(演示)") == Names("东赵组", "East Zhao")
    assert board.short_label(grid, "别的村").zh == grid.name
