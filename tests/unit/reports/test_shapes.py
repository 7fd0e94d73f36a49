"""Reports in other systems' shapes: each field to its place, each frame to WGS-84, a repeat to the same id."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.reports.domain.coordinates import Frame, bd09, gcj02
from producers.reports.domain.follow import follow_code, opens
from producers.reports.domain.shapes import (
    GridEvent,
    Row,
    Surroundings,
    WecomOrder,
    from_grid_event,
    from_table,
    from_wecom,
)
from producers.reports.domain.submission import Submission, accept
from schemas.errors import RecordError
from schemas.fields import CaseId
from schemas.ground import Ground
from schemas.reports import Report, Urgency
from tests.builders import GRID, NINE, POLICY, REGISTRY, WORKER

GROUND = Ground(REGISTRY.grids.values())
INSIDE = (109.052, 34.5435)  # WGS-84, in GRID
NEXT = "610117001001002"  # the grid to the east of it
EAST_EDGE = (109.0549, 34.5437)  # in GRID, and its GCJ-02 coordinates lie in the next grid


def around(frame: Frame) -> Surroundings:
    return Surroundings(registry=REGISTRY, ground=GROUND, policy=POLICY, frame=frame)


def taken(submission: Submission) -> Report:
    return accept(submission, report_id=submission.report_id or "", received_at=NINE, registry=REGISTRY, policy=POLICY)[
        0
    ]


# -- WeCom -------------------------------------------------------------------------------------


def an_order(**changes: Any) -> WecomOrder:
    longitude, latitude = gcj02(INSIDE)
    order = {
        "order_id": "od_1",
        "desc": "渠边有积水,联系13912345678",
        "urge_type": 3,
        "case_name": POLICY.items["04001"].name,
        "grid_name": "企业微信里的网格",
        "grid_id": "wx-7",
        "create_time": 1581832800,
        "reporter_name": "演示居民",
        "reporter_mobile": "13912345678",
        "unionid": "u",
        "image_urls": ["https://example.org/1.jpg", "wx://nope"],
        "video_media_ids": ["m"],
        "location": {"name": "村口", "address": "", "latitude": latitude, "longitude": longitude},
        "processor_userids": ["p"],
        "process_list": [{"process_type": 1, "status": 2}],
    }
    return msgspec.convert(order | changes, WecomOrder)


def test_a_wecom_order_is_a_residents_report() -> None:
    """14:00 on Sunday 2020-02-16 in Gaoling; WeCom's point is GCJ-02; the phone is on nobody's topic but one."""
    submission = from_wecom(an_order(), around(Frame.GCJ02), urgent=frozenset({3}))
    report = taken(submission)

    assert (report.report_id, report.grid_id, report.item_code) == ("wecom:od_1", GRID, "04001")
    assert report.occurred_at.isoformat() == "2020-02-16T06:00:00+00:00"
    assert report.location is not None
    assert (report.location.long, report.location.lat) == pytest.approx(INSIDE, abs=1e-8)
    assert (report.urgency, report.media) == (Urgency.URGENT, ["https://example.org/1.jpg"])
    assert submission.reporter is not None
    assert submission.reporter.phone == "13912345678"
    assert "13912345678" not in msgspec.json.encode(report).decode()


def test_an_order_in_a_frame_that_is_not_converted_is_in_the_next_grid() -> None:
    """Why the frame is stated: 500 m are more than a village's lane."""
    longitude, latitude = gcj02(EAST_EDGE)
    order = an_order(location={"latitude": latitude, "longitude": longitude})

    assert from_wecom(order, around(Frame.GCJ02), frozenset()).grid_id == GRID
    assert from_wecom(order, around(Frame.WGS84), frozenset()).grid_id == NEXT


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"case_name": "没有的事项"}, "case_name"),
        ({"location": None}, "grid_id"),
        ({"desc": "长" * 4001}, "description"),
    ],
)
def test_a_wrong_order_names_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RecordError) as caught:
        from_wecom(an_order(**changes), around(Frame.GCJ02), frozenset())
    assert caught.value.field == field


def test_an_order_without_a_point_is_where_its_grid_is() -> None:
    """By our code or by the grid's name."""
    name = REGISTRY.grids[GRID].name
    for where in ({"grid_id": GRID}, {"grid_name": name}):
        assert from_wecom(an_order(location=None, **where), around(Frame.GCJ02), frozenset()).grid_id == GRID


# -- the district grid event -------------------------------------------------------------------


def an_event(**changes: Any) -> GridEvent:
    longitude, latitude = bd09(INSIDE)
    event = {
        "id": "e 1",
        "eventName": "乱倒垃圾",
        "eventPlace": "村口",
        "eventLong": longitude,
        "eventLat": latitude,
        "happenTime": "2020-02-16 14:00:00",
        "eventFirstType": "04",
        "eventSecondType": "04001",
        "eventScope": "1",
        "aboutPeopleNum": 3,
        "cityCode": GRID[:6],
        "streetCode": GRID[:9],
        "communityCode": GRID[:12],
        "gridCode": GRID,
        "eventContent": "路口有垃圾",
        "involvingDept": "",
        "approvalStatus": "1",
        "eventUserAgent": "wechat",
    }
    return msgspec.convert(event | changes, GridEvent)


def test_a_grid_event_is_a_report() -> None:
    """Its time has no zone and is Shanghai's; an id with other signs than ours is hashed, always alike."""
    first, second = (taken(from_grid_event(an_event(), around(Frame.BD09))) for _ in range(2))

    assert (first.grid_id, first.item_code, first.description) == (GRID, "04001", "乱倒垃圾\n路口有垃圾\n村口")
    assert first.occurred_at.isoformat() == "2020-02-16T14:00:00+08:00"
    assert first.location is not None
    assert (first.location.long, first.location.lat) == pytest.approx(INSIDE, abs=1e-8)
    assert first == second


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"streetCode": "610118001"}, "gridCode"),
        ({"communityCode": "610117002001"}, "gridCode"),
        ({"gridCode": "610117001002001"}, "gridCode"),
        ({"eventFirstType": "17"}, "eventSecondType"),
        ({"eventLat": None}, "eventLat"),
        ({"happenTime": "昨天"}, "happenTime"),
    ],
)
def test_codes_that_are_no_prefixes_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RecordError) as caught:
        from_grid_event(an_event(**changes), around(Frame.BD09))
    assert caught.value.field == field


# -- tables ------------------------------------------------------------------------------------

HEADER = "grid_id,grid_name,item_code,occurred_at,description,lat,long,reported_by,phone\n"
LINES = (
    f'{GRID},,04001,2026-03-09 17:00,"路口, 有垃圾",,,{WORKER},\n'
    f",,04001,2026-03-09T17:00:00+08:00,积水,{INSIDE[1]},{INSIDE[0]},,13912345678\n"
    f",{REGISTRY.grids[GRID].name},04001,2026-03-09T09:00Z,噪音,,,,\n"
)


def table(text: str, encoding: str = "utf-8") -> list[Row]:
    return list(from_table(text.encode(encoding), around(Frame.WGS84)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_table_is_reports(encoding: str) -> None:
    """By code, point or name; a worker's when one is named; times without zone are Shanghai's."""
    rows = table(HEADER + LINES, encoding)

    assert [row.error for row in rows] == [None] * 3
    found = [row.submission for row in rows if row.submission]
    assert [s.grid_id for s in found] == [GRID] * 3
    assert [s.channel for s in found] == ["worker", "resident", "resident"]
    assert {taken(s).occurred_at for s in found} == {NINE}
    assert found[1].reporter is not None


def test_a_table_sent_again_is_the_same_reports() -> None:
    """Ids come from content and line; another file has others; a column of ids stands above both."""
    ids = [
        [row.submission and row.submission.report_id for row in table(HEADER + LINES + more)]
        for more in ("", "", "\n,")
    ]
    named = table(f"report_id,grid_id,item_code,occurred_at,description\nr-1,{GRID},04001,2026-03-09T09:00Z,x\n")

    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])
    assert [row.submission and row.submission.report_id for row in named] == ["r-1"]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (",,04001,2026-03-09T09:00Z,x,,,,", "grid_id"),
        (f"{GRID},,4,2026-03-09T09:00Z,x,,,,", "item_code"),
        (f"{GRID},,04001,,x,,,,", "occurred_at"),
        (f"{GRID},,04001,2026-03-09T09:00Z,x,34.5,,,", "long"),
        (f"{GRID},,04001,2026-03-09T09:00Z,x,nan,109,,", "location"),
        (f"{GRID},,04001,2026-03-09T09:00Z,x,,,,,more", None),
    ],
)
def test_a_wrong_line_says_why_and_spares_the_others(line: str, field: str | None) -> None:
    rows = table(HEADER + line + "\n" + LINES)

    assert [row.line for row in rows if row.error] == [2]
    assert rows[0].error is not None
    assert rows[0].error.field == field
    assert len([row for row in rows if row.submission]) == 3


@given(st.binary(max_size=300))
def test_no_bytes_break_the_table(content: bytes) -> None:
    """Rows, lines with a reason, or one refusal."""
    try:
        rows = list(from_table(content, around(Frame.GCJ02)))
    except RecordError:
        return
    assert all((row.submission is None) != (row.error is None) for row in rows)


# -- following ---------------------------------------------------------------------------------


def test_a_code_opens_its_case_alone() -> None:
    """However it is typed; another case, another secret, another code do not."""
    case: CaseId = f"{GRID}-aaaaaaaaaa"
    code = follow_code(b"secret", case)

    assert len(code) == 6
    assert opens(f" {code.lower()} ", b"secret", case)
    assert not opens(code, b"secret", f"{GRID}-bbbbbbbbbb")
    assert not opens(code, b"other", case)
    assert not opens("", b"secret", case)
