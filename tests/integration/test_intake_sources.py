"""Other systems' shapes over HTTP, and a resident who follows a case by number and code."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import msgspec
import pytest

from infra.case.ledger import reporter
from infra.kafka import read_to_end
from infra.settings import Settings
from schemas import codec
from schemas.cases import REPORTER, Stage, Verdict
from schemas.reports import Report, Visibility
from schemas.topics import CASE_COMMANDS, REPORTERS, REPORTS, TOPICS
from tests.conftest import eventually, process
from tests.district import District
from tests.integration.test_intake import PlayedLane, a_body, all_sent, is_up, raw
from tests.integration.test_open311 import play_lane
from tests.unit.reports.test_shapes import HEADER, LINES, an_event, an_order


@pytest.fixture(scope="module")
def intake(broker: Settings) -> Iterator[httpx.Client]:
    """A running intake whose office uses urge_type 3 for urgent."""
    asked = broker.model_copy(update={"wecom_urgent": "3"})
    with (
        process("producers.reports", asked, log=broker.data_dir / "intake.out"),
        httpx.Client(base_url=broker.intake_url) as client,
    ):
        eventually(lambda: is_up(client), within_s=30, what="the intake is ready")
        yield client


def on_topic(settings: Settings) -> dict[str, Report]:
    return {r.report_id: r for m in read_to_end(settings, REPORTS) if (r := codec.decode(REPORTS, m.value()))}


def test_each_shape_comes_to_kafka_once(intake: httpx.Client, broker: Settings) -> None:
    """Sent twice each; late by years, and when it happened stays; names and phones are on one topic only."""
    order = msgspec.to_builtins(an_order())
    event = msgspec.to_builtins(an_event())
    file = (HEADER + LINES + "nonsense,,04001,2026-03-09T09:00Z,x,,,,\n").encode("gb18030")
    for _ in range(2):
        answers = [
            intake.post("/sources/wecom", json=order),
            intake.post("/sources/grid-events", params={"frame": "bd09"}, json=event),
            intake.post("/sources/csv", params={"frame": "wgs84"}, content=file),
        ]
        assert [answer.status_code for answer in answers] == [201] * 3, [answer.text for answer in answers]
    all_sent(intake)

    assert answers[2].json()["accepted"] == 3
    assert [(line["line"], line["field"]) for line in answers[2].json()["refused"]] == [(5, "grid_id")]
    found = on_topic(broker)
    assert len(found) == len(list(read_to_end(broker, REPORTS))) == 5
    assert found["wecom:od_1"].urgency == "urgent"
    assert all(report.occurred_at < report.received_at for report in found.values())
    secrets = ["演示居民".encode(), b"13912345678"]
    for topic in TOPICS:
        if topic is not REPORTERS:
            assert not [m for m in read_to_end(broker, topic) if any(s in raw(m) for s in secrets)], topic.name
    assert not any(secret in (broker.data_dir / "intake.out").read_bytes() for secret in secrets)


def test_another_order_under_a_taken_id_is_refused(intake: httpx.Client) -> None:
    order = msgspec.to_builtins(an_order(order_id="od_2"))

    answers = [intake.post("/sources/wecom", json=order | {"desc": text}).status_code for text in ("甲", "甲", "乙")]

    assert answers == [201, 201, 409]


def test_a_source_says_its_frame(intake: httpx.Client) -> None:
    """Nobody guesses whose map a coordinate is from."""
    answer = intake.post("/sources/grid-events", json=msgspec.to_builtins(an_event()))

    assert (answer.status_code, answer.json()["field"]) == (400, "frame")


def test_an_anonymous_resident_follows_by_number_and_code(intake: httpx.Client, district: District) -> None:
    """No name, no account; a wrong code and a case that is not there read alike."""
    numbers = intake.post("/reports", json=a_body(channel="resident", reported_by=None, reporter=None)).json()
    place = f"/follow/{numbers['case_id']}"
    case_id = play_lane(district, numbers["report_id"])
    assert case_id == numbers["case_id"]

    eventually(lambda: intake.get(place, params={"code": numbers["code"]}).is_success, within_s=10, what="it is open")
    found = intake.get(place, params={"code": numbers["code"].lower()}).json()
    wrong = intake.get(place, params={"code": "AAAAAA"})
    missing = intake.get(f"/follow/{case_id[:15]}-aaaaaaaaaa", params={"code": numbers["code"]})

    assert (found["case_id"], found["stage"], found["allowed"]) == (case_id, "dispatched", ["remark"])
    assert (wrong.status_code, wrong.json()) == (missing.status_code, missing.json())
    assert wrong.status_code == 404


def test_a_resident_judges_and_asks_again_by_code(intake: httpx.Client, broker: Settings, district: District) -> None:
    """Through the case's lane, which refuses with the moves that a reporter has; nobody without the code."""
    numbers = intake.post("/reports", json=a_body(channel="resident", reported_by=None, reporter=None)).json()
    case_id = play_lane(district, numbers["report_id"], stage=Stage.ARCHIVED, version=9)
    place, code = f"/follow/{case_id}", {"code": numbers["code"]}
    eventually(lambda: intake.get(place, params=code).is_success, within_s=10, what="it is open")
    assert intake.get(place, params=code).json()["allowed"] == ["feedback", "reopen", "remark"]

    with closing(PlayedLane(broker, district)) as lane, ThreadPoolExecutor() as pool:

        def answered(verdict: Verdict, **body: str) -> httpx.Response:
            answer = pool.submit(intake.post, place, params=code, json=body, timeout=10)
            lane.answer(f"reporter:{case_id[16:]}:{body['request_id']}", 1, lambda _: verdict)
            return answer.result()

        taken = answered(Verdict.ACCEPTED, move="feedback", satisfaction="dissatisfied", request_id="f-1")
        refused = answered(Verdict.REFUSED, move="reopen", note="又堆满了,13912345678", request_id="f-2")

    assert (taken.status_code, taken.json()["verdict"]) == (200, "accepted")
    assert refused.status_code == 409
    assert (refused.json()["reason"], refused.json()["allowed"]) == ("illegal_move", ["remark"])
    [command] = [
        found
        for m in read_to_end(broker, CASE_COMMANDS)
        if (found := codec.decode(CASE_COMMANDS, m.value())).command_id.endswith(":f-2")
    ]
    assert (command.move, command.by, command.note) == ("reopen", REPORTER, "又堆满了,[电话]")
    assert intake.post(place, params={"code": "AAAAAA"}, json={"move": "reopen", "note": "x"}).status_code == 404
    assert intake.post(place, params=code, json={"move": "void", "note": "x"}).status_code == 400
    posing = intake.post(f"/cases/{case_id}/commands", json={"move": "reopen", "note": "x", "by": REPORTER})
    assert (posing.status_code, posing.json()["field"]) == (422, "by")


def test_what_a_reporter_adds_to_a_private_case_stays_restricted(
    intake: httpx.Client, broker: Settings, district: District
) -> None:
    """On the reporters' topic under the command's id and the text's digest; the command has only that it was."""
    said = "是三号楼的老王"
    numbers = intake.post("/reports", json=a_body(reporter=None, visibility="private")).json()
    case_id = play_lane(district, numbers["report_id"], stage=Stage.ARCHIVED, version=9, visibility=Visibility.PRIVATE)
    place, code = f"/follow/{case_id}", {"code": numbers["code"]}
    eventually(lambda: intake.get(place, params=code).is_success, within_s=10, what="it is open")

    body = {"move": "remark", "note": said, "request_id": "p-1"}
    with closing(PlayedLane(broker, district)) as lane, ThreadPoolExecutor() as pool:
        answer = pool.submit(intake.post, place, params=code, json=body, timeout=10)
        ident = f"reporter:{case_id[16:]}:p-1"
        lane.answer(ident, 1, lambda _: Verdict.ACCEPTED)
        assert answer.result().status_code == 200

    remarks = [m for m in read_to_end(broker, REPORTERS) if (m.key() or b"").startswith(f"{ident}:".encode())]
    [kept] = [codec.decode(REPORTERS, m.value()) for m in remarks]
    assert kept.description == said
    assert reporter(broker, case_id)[1] == [said]
    for topic in TOPICS:
        if topic is not REPORTERS:
            assert not [m for m in read_to_end(broker, topic) if said.encode() in raw(m)], topic.name
