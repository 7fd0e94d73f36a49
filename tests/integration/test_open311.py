"""A standard Open311 client against a running intake; every answer is held to the standard by `tests.open311`."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from hashlib import sha256
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from msgspec.structs import replace
from pydantic import SecretStr

from infra.kafka import read_to_end
from infra.settings import Settings
from pipelines.domain import ids
from schemas import codec
from schemas.cases import REPORTER, Move, Stage, Verdict
from schemas.reports import Visibility
from schemas.topics import CASE_COMMANDS, CASE_EVENTS, CASES, REPORTERS, REPORTS
from tests import open311 as standard
from tests.builders import GRID, NINE, opened
from tests.conftest import eventually, process
from tests.district import District
from tests.integration.test_intake import PlayedLane, a_body, all_sent, is_up
from tests.unit.reports.test_picture import with_exif

PRIVATE = {"visibility": "private"}
POINT = {"lat": "34.5435", "long": "109.052"}


@pytest.fixture(scope="module")
def client(broker: Settings) -> Iterator[httpx.Client]:
    """A client of a running intake's Open311."""
    known = broker.model_copy(update={"api_keys": SecretStr("other,site-1"), "key_reports_per_min": 40})
    with (
        process("producers.reports", known, log=broker.data_dir / "intake.out"),
        httpx.Client(base_url=broker.intake_url) as intake,
    ):
        eventually(lambda: is_up(intake), within_s=30, what="the intake is ready")
        yield intake


def asked(client: httpx.Client, path: str, form: str, **parameters: str) -> httpx.Response:
    answer = client.get(f"/open311/v2/{path}.{form}", params=parameters)
    assert answer.headers["content-type"].startswith({"json": "application/json", "xml": "text/xml"}[form])
    return answer


def play_lane(district: District, report_id: str, **changes: Any) -> str:
    """Open a case as the report's lane would, or move it; return its id."""
    outcome = opened(at=NINE, item_code="04001", origin_id=report_id)
    case = replace(outcome.case, case_id=ids.case_id(GRID, report_id), **changes)
    lane = Producer({"bootstrap.servers": district.settings.kafka})
    partition = codec.partition_of(GRID, district.settings.partitions)  # a case is where its grid is
    lane.produce(CASES.name, codec.encode(case), case.case_id, partition=partition)
    assert lane.flush(10) == 0
    for event in outcome.events:
        district.producer.send(CASE_EVENTS, key=GRID, ce_id=event.event_id, at=NINE, value=event).result(10)
    return case.case_id


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_client_session(client: httpx.Client, broker: Settings, district: District, form: str) -> None:
    """Services, definition, post, token, status open and closed; name and phone stay on their topic."""
    listed = standard.services(asked(client, "services", form).content, form)
    assert len(listed) == 106
    [service] = [row for row in listed if row["service_code"] == "04001"]

    questions = standard.definition(asked(client, f"services/{service['service_code']}", form).content, form)
    assert [question["code"] for question in questions["attributes"]] == ["URGENCY", "OCCURRED", "VISIBILITY"]

    body = {
        "service_code": service["service_code"],
        **POINT,
        "description": "路口有人乱倒垃圾 <13912345678>",
        "last_name": "演示居民",
        "phone": "13912345678",
        "attribute[URGENCY]": "urgent",
        "attribute[OCCURRED]": "2026-03-09T08:00:00+08:00",
        "api_key": "unknown to us, and fine",
    }
    answer = client.post(f"/open311/v2/requests.{form}", data=body)
    assert answer.status_code == 201, answer.text
    [receipt] = standard.receipts(answer.content, form)
    token = receipt["token"]
    assert standard.errors(asked(client, f"tokens/{token}", form).content, form)[0]["code"] == "404"
    all_sent(client)
    [report] = [r for m in read_to_end(broker, REPORTS) if (r := codec.decode(REPORTS, m.value())).report_id == token]
    [reporter] = [m for m in read_to_end(broker, REPORTERS) if m.key() == token.encode()]
    assert (report.grid_id, report.urgency, report.occurred_at) == (GRID, "urgent", NINE - timedelta(hours=9))
    assert "13912345678" not in codec.encode(report).decode()
    assert b"13912345678" in (reporter.value() or b"")

    case_id = play_lane(district, token)
    eventually(lambda: asked(client, f"tokens/{token}", form).status_code == 200, within_s=10, what="the case is known")
    [found] = standard.tokens(asked(client, f"tokens/{token}", form).content, form)
    assert found["service_request_id"] == case_id

    [status] = standard.requests(asked(client, f"requests/{case_id}", form).content, form)
    assert (status["status"], status["service_code"], float(status["lat"])) == ("open", "04001", 34.5435)
    play_lane(district, token, stage=Stage.ARCHIVED, version=9)
    eventually(
        lambda: standard.requests(asked(client, f"requests/{case_id}", form).content, form)[0]["status"] == "closed",
        within_s=10,
        what="the case is closed",
    )
    year = {"start_date": "2026-03-01T00:00:00Z", "end_date": "2026-04-01T00:00:00Z"}
    rows = standard.requests(asked(client, "requests", form, **year, status="closed").content, form)
    assert case_id in [row["service_request_id"] for row in rows]
    updates = standard.updates(asked(client, "servicerequestupdates", form, **year).content, form)
    assert {"OPEN", "INVESTIGATING"} <= {row["status"] for row in updates}


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize(
    ("path", "status"),
    [("services/99999", 404), ("requests/17", 404), ("tokens/nobody", 404)],
)
def test_what_is_not_there_is_an_error_of_the_standard(client: httpx.Client, form: str, path: str, status: int) -> None:
    answer = asked(client, path, form)

    assert answer.status_code == status
    assert standard.errors(answer.content, form)[0]["code"] == str(status)


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_wrong_post_is_refused_in_its_form(client: httpx.Client, form: str) -> None:
    """Missing place, and a repeat under a key with another body."""
    wrong = client.post(f"/open311/v2/requests.{form}", data={"service_code": "04001"})
    key = {"Idempotency-Key": f"k-{form}"}
    body = {"service_code": "04001", **POINT, "attribute[OCCURRED]": "2026-03-09T08:00:00+08:00"}
    answers = [
        client.post(f"/open311/v2/requests.{form}", data=body | {"description": text}, headers=key)
        for text in ("甲", "甲", "乙")
    ]

    assert wrong.status_code == 400
    assert "address_string" in standard.errors(wrong.content, form)[0]["description"]
    assert [answer.status_code for answer in answers] == [201, 201, 409]
    assert standard.errors(answers[2].content, form)[0]["code"] == "409"


@pytest.mark.parametrize("form", ["json", "xml"])
def test_updates_are_taken_from_a_known_site(
    client: httpx.Client, broker: Settings, district: District, form: str
) -> None:
    """On a closed case OPEN reopens; the lane's refusal is told with what is allowed; nothing without a known key."""
    case_id = play_lane(district, f"u-{form}", stage=Stage.ARCHIVED, version=9)
    eventually(lambda: asked(client, f"requests/{case_id}", form).is_success, within_s=10, what="the case is known")
    body = {
        "api_key": "site-1",
        "service_request_id": case_id,
        "update_id": "17",
        "status": "OPEN",
        "description": "还在,电话13912345678",
        "last_name": "演示居民",
        "updated_datetime": "2026-03-09T10:00:00+08:00",
    }

    def post(**changes: str) -> httpx.Response:
        return client.post(f"/open311/v2/servicerequestupdates.{form}", data=body | changes, timeout=10)

    with closing(PlayedLane(broker, district)) as lane, ThreadPoolExecutor() as pool:

        def answered(verdict: Verdict, update_id: str) -> httpx.Response:
            ident = f"reporter:{case_id[16:]}:{sha256(f'site-1/{update_id}'.encode()).hexdigest()[:32]}"
            answer = pool.submit(post, update_id=update_id)
            lane.answer(ident, 1, lambda _: verdict)
            return answer.result()

        taken, refused = answered(Verdict.ACCEPTED, "17"), answered(Verdict.REFUSED, "18")
    assert taken.status_code == 201, taken.text
    [receipt] = standard.update_receipts(taken.content, form)
    [command] = [
        found
        for m in read_to_end(broker, CASE_COMMANDS)
        if (found := codec.decode(CASE_COMMANDS, m.value())).command_id == receipt["update_id"]
    ]
    assert (command.move, command.by, command.note) == (Move.REOPEN, REPORTER, "还在,电话[电话]")
    [error] = standard.errors(refused.content, form)
    assert error["code"] == "409"
    assert "illegal_move: not now; allowed is remark" in error["description"]

    wrong = [post(api_key="nobody"), post(service_request_id="17"), post(description="")]
    assert [answer.status_code for answer in wrong] == [403, 404, 400]
    assert [standard.errors(answer.content, form)[0]["code"] for answer in wrong] == ["403", "404", "400"]


def test_a_key_that_reports_too_often_is_told_when_to_come_back(client: httpx.Client) -> None:
    """429 with Retry-After under that key, whichever way it came; another key goes on."""
    body = {"service_code": "04001", **POINT, "description": "x"}

    answers = [client.post("/open311/v2/requests.json", data=body | {"api_key": "busy"}) for _ in range(41)]
    other = client.post("/open311/v2/requests.json", data=body | {"api_key": "quiet"})
    in_header = client.post("/reports", json=a_body(), headers={"X-Api-Key": "busy"})

    assert [answer.status_code for answer in answers] == [201] * 40 + [429]
    assert standard.errors(answers[-1].content, "json")[0]["code"] == "429"
    assert (other.status_code, in_header.status_code) == (201, 429)
    assert all(int(answer.headers["retry-after"]) > 0 for answer in (answers[-1], in_header))


def test_a_photo_of_a_case_is_a_link_and_a_private_case_has_neither_text_nor_place(
    client: httpx.Client, district: District
) -> None:
    """Private cases stand in no list; under their number they say where they stand, and no more."""
    ref = client.post("/photos", content=with_exif(orientation=1)).json()["media"]
    reports = [a_body(media=[ref], location={"lat": 34.5435, "long": 109.052}) | more for more in ({}, PRIVATE)]
    assert [client.post("/reports", json=report).status_code for report in reports] == [201, 201]
    public = play_lane(district, reports[0]["report_id"])
    private = play_lane(district, reports[1]["report_id"], visibility=Visibility.PRIVATE, summary="")

    def shown(case_id: str) -> dict[str, Any]:
        answer = asked(client, f"requests/{case_id}", "json")
        return standard.requests(answer.content, "json")[0] if answer.is_success else {}

    eventually(lambda: shown(public).get("media_url") and shown(private), within_s=10, what="both are known")
    assert client.get(shown(public)["media_url"]).headers["content-type"] == "image/jpeg"
    assert {"lat", "long", "media_url"} <= shown(public).keys()
    assert not {"lat", "long", "media_url"} & shown(private).keys()
    assert shown(private)["description"] == ""
    march = {"start_date": "2026-03-01T00:00:00Z", "end_date": "2026-04-01T00:00:00Z"}
    for path in ("requests", "servicerequestupdates"):
        listed = {row["service_request_id"] for row in asked(client, path, "json", **march).json()}
        assert (public in listed, private in listed) == (True, False)
