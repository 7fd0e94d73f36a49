"""The HTTP intake on a real broker: what its answers promise, and what it keeps to itself."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.kafka import consumer, headers, read_to_end
from infra.settings import Settings
from pipelines.domain import ids
from schemas import codec
from schemas.cases import CommandResult, Move, Stage, Verdict
from schemas.topics import CASE_COMMANDS, CASE_RESULTS, REPORTERS, REPORTS, TOPICS, VISITS, Topic
from tests.builders import CHECKER, GRID, NINE, REGISTRY, WORKER
from tests.conftest import eventually, process
from tests.district import District
from tests.unit.reports.test_picture import PLACE, a_bomb, a_picture, with_exif

LIMIT_BYTES = 256 << 10
CASE = f"{GRID}-aaaaaaaaaa"
OTHER_CASE = f"{GRID}-bbbbbbbbbb"


@pytest.fixture(scope="module")
def log(broker: Settings) -> Path:
    return broker.data_dir / "intake.out"


@pytest.fixture(scope="module")
def intake(broker: Settings, log: Path) -> Iterator[httpx.Client]:
    """A running intake."""
    with process("producers.reports", broker, log=log) as child, httpx.Client(base_url=broker.intake_url) as client:

        def ready() -> bool:
            assert child.poll() is None, log.read_text()
            return is_up(client)

        eventually(ready, within_s=30, what="the intake is healthy")
        yield client


def is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def a_body(**changes: Any) -> dict[str, Any]:
    return {
        "report_id": f"r-{uuid4()}",
        "grid_id": GRID,
        "item_code": "01001",
        "channel": "worker",
        "occurred_at": "2026-03-09T17:00:00+08:00",
        "description": "演示",
        "reported_by": WORKER,
    } | changes


def records(settings: Settings, topic: Topic, ce_id: str) -> list[Any]:
    return [m for m in read_to_end(settings, topic) if codec.header(headers(m), "ce_id") == ce_id]


def all_sent(client: httpx.Client) -> None:
    """Wait until Kafka has every report that was answered."""
    eventually(lambda: client.get("/healthz").text.startswith("0 "), within_s=10, what="the spool is empty")


# -- reports -----------------------------------------------------------------------------------


def test_a_report_that_was_answered_comes_to_kafka(intake: httpx.Client, broker: Settings) -> None:
    """201 carries the numbers, and the record has key, headers and the client's instant."""
    body = a_body()

    answer = intake.post("/reports", json=body)

    assert answer.status_code == 201
    numbers = answer.json()
    assert len(numbers.pop("code")) == 6
    assert numbers == {"report_id": body["report_id"], "case_id": ids.case_id(GRID, body["report_id"])}
    all_sent(intake)
    [record] = records(broker, REPORTS, body["report_id"])
    named = {name: (value or b"").decode() for name, value in headers(record)}
    report = codec.decode(REPORTS, record.value())
    assert record.key() == GRID.encode()
    assert named["ce_type"] == "gridwatch.reports.v1"
    assert named["ce_source"] == "/gridwatch/intake"
    assert named["content-type"] == "application/json"
    assert (report.report_id, report.occurred_at, report.reported_by) == (body["report_id"], NINE, WORKER)


def test_every_grid_has_its_own_partition(intake: httpx.Client, broker: Settings) -> None:
    """Records land where Kafka's default partitioner puts the grid: there its lane is."""
    sent = {}
    for grid in REGISTRY.grids:
        body = a_body(grid_id=grid, channel="resident", reported_by=None)
        assert intake.post("/reports", json=body).status_code == 201
        sent[body["report_id"]] = codec.partition_of(grid, broker.partitions)
    all_sent(intake)

    landed = {codec.header(headers(m), "ce_id"): m.partition() for m in read_to_end(broker, REPORTS)}

    assert {ident: landed[ident] for ident in sent} == sent
    assert len(set(sent.values())) == broker.partitions


def test_a_repeat_gets_the_same_answer_and_is_not_sent_again(intake: httpx.Client, broker: Settings) -> None:
    """The id may come in the body or as Idempotency-Key; whether Kafka has the first already does not matter."""
    body = a_body()
    ident = body["report_id"]
    without_id = {name: value for name, value in body.items() if name != "report_id"}

    first = intake.post("/reports", json=body)
    second = intake.post("/reports", json=without_id, headers={"Idempotency-Key": ident})

    all_sent(intake)
    third = intake.post("/reports", json=body)
    all_sent(intake)

    assert (first.status_code, first.json()) == (second.status_code, second.json()) == (third.status_code, third.json())
    assert len(records(broker, REPORTS, ident)) == 1


def test_another_body_under_a_taken_id_is_refused(intake: httpx.Client, broker: Settings) -> None:
    """409, before and after Kafka has the first; who reported makes no other body."""
    body = a_body()
    other = body | {"description": "另一件事"}

    assert intake.post("/reports", json=body).status_code == 201
    answers = [intake.post("/reports", json=other)]
    all_sent(intake)
    answers.append(intake.post("/reports", json=other))

    assert [(a.status_code, a.json()["reason"], a.json()["field"]) for a in answers] == [
        (409, "conflict", "report_id")
    ] * 2
    assert intake.post("/reports", json=body | {"reporter": {"phone": "13900001234"}}).status_code == 201
    assert len(records(broker, REPORTS, body["report_id"])) == 1


def test_requests_at_the_same_moment_under_one_id_are_one_report(intake: httpx.Client, broker: Settings) -> None:
    """Whoever comes while the first is being written waits for the same write, or is refused."""
    body = a_body()
    bodies = [body if n % 2 else body | {"description": "另一件事"} for n in range(16)]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda sent: intake.post("/reports", json=sent).status_code, bodies))
    all_sent(intake)

    assert {*answers[0::2], *answers[1::2]} == {201, 409}
    assert len(set(answers[0::2])) == len(set(answers[1::2])) == 1
    assert len(records(broker, REPORTS, body["report_id"])) == 1


def test_an_address_that_reports_too_often_is_told_when_to_come_back(intake: httpx.Client) -> None:
    """61 in a minute are one too many; another address, and a gateway that sends for many, do not notice."""

    def sent_by(address: str) -> httpx.Response:
        return intake.post("/reports", json=a_body(), headers={"X-Forwarded-For": address})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(sent_by, ["203.0.113.7"] * 65))

    refused = [answer for answer in answers if answer.status_code == 429]
    assert 1 <= len(refused) <= 5
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert refused[0].json()["reason"] == "too_many"
    assert sent_by("203.0.113.8").status_code == intake.post("/reports", json=a_body()).status_code == 201


def test_a_report_without_id_gets_one(intake: httpx.Client) -> None:
    """Two such reports are two cases, with ids in order of time."""
    body = a_body(report_id=None)

    first, second = (intake.post("/reports", json=body).json() for _ in range(2))

    assert first["case_id"] != second["case_id"]
    assert UUID(first["report_id"]).version == 7


@pytest.mark.parametrize(
    ("changes", "status", "reason", "field"),
    [
        ({"grid_id": "6101"}, 400, "invalid_field", "grid_id"),
        ({"grid_id": 610117001001001}, 400, "invalid_field", "grid_id"),
        ({"item_code": "1"}, 400, "invalid_field", "item_code"),
        ({"channel": "camera"}, 400, "invalid_field", "channel"),
        ({"occurred_at": "yesterday"}, 400, "invalid_field", "occurred_at"),
        ({"occurred_at": "2026-03-09T09:00:00"}, 400, "invalid_field", "occurred_at"),
        ({"occurred_at": 1773046800}, 400, "invalid_field", "occurred_at"),
        ({"description": "长" * 4001}, 400, "invalid_field", "description"),
        ({"urgency": "very"}, 400, "invalid_field", "urgency"),
        ({"location": {"lat": 91, "long": 109}}, 400, "invalid_field", "location.lat"),
        ({"report_id": "two words"}, 400, "invalid_field", "report_id"),
        ({"reporter": {"phone": "1" * 41}}, 400, "invalid_field", "reporter.phone"),
        ({"phone": "13900001234"}, 400, "invalid_field", "phone"),
        ({"grid_id": "9" * 15}, 422, "unknown_grid", "grid_id"),
        ({"item_code": "99999"}, 422, "unknown_item", "item_code"),
        ({"reported_by": "nobody"}, 422, "not_on_roster", "reported_by"),
        ({"reported_by": None}, 422, "not_on_roster", "reported_by"),
    ],
)
def test_a_wrong_report_is_refused_with_the_field(
    intake: httpx.Client, changes: dict[str, Any], status: int, reason: str, field: str | None
) -> None:
    """Shape is 400, what does not exist is 422; the answer names reason and field."""
    answer = intake.post("/reports", json=a_body(**changes))

    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem.get("field")) == (status, reason, field), problem


@pytest.mark.parametrize("missing", ["grid_id", "item_code", "channel", "occurred_at", "description"])
def test_a_missing_field_is_named(intake: httpx.Client, missing: str) -> None:
    """The reader need not guess which one."""
    body = a_body()
    del body[missing]

    answer = intake.post("/reports", json=body)

    assert answer.status_code == 400
    assert answer.json()["field"] == missing


@pytest.mark.parametrize("content", [b"{not json", b"\xff\xfe", b"", b"[]", b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(intake: httpx.Client, content: bytes) -> None:
    """Neither broken text nor another shape gets further than the door."""
    answer = intake.post("/reports", content=content, headers={"content-type": "application/json"})

    assert answer.status_code == 400, answer.text
    assert answer.json()["reason"] in {"not_json", "invalid_field"}


def test_a_wrong_idempotency_key_is_refused(intake: httpx.Client) -> None:
    """It becomes a record's id: one outside the contract would turn an acknowledged report into a dead letter."""
    answer = intake.post("/reports", json=a_body(report_id=None), headers={"Idempotency-Key": "two words"})

    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_field")
    assert answer.json()["field"] == "Idempotency-Key"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit_is_not_read(intake: httpx.Client, chunked: bool) -> None:
    """256 KiB is the limit, with and without a declared length."""
    content = json.dumps(a_body(description="x" * LIMIT_BYTES)).encode()

    answer = intake.post(
        "/reports",
        content=iter([content[:1000], content[1000:]]) if chunked else content,
        headers={"content-type": "application/json"},
    )

    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")


def test_refused_reports_leave_no_trace(intake: httpx.Client, broker: Settings) -> None:
    """Nothing that was answered with 4xx is on the topic."""
    bodies = [a_body(grid_id="9" * 15), a_body(urgency="very"), a_body(reported_by=CHECKER, item_code="99999")]

    assert all(intake.post("/reports", json=body).is_client_error for body in bodies)
    all_sent(intake)

    assert not [record for body in bodies for record in records(broker, REPORTS, body["report_id"])]


def test_name_and_phone_are_on_one_topic_only(intake: httpx.Client, broker: Settings, log: Path) -> None:
    """No key, value or header of any other topic holds them, nor does the intake's log; one topic does."""
    name, phone = "演示居民甲乙丙", "13912345678"
    body = a_body(
        channel="resident",
        reported_by=None,
        reporter={"name": name, "phone": phone},
        description="渠边有积水,联系139-1234-5678",
    )
    secrets = [name.encode(), json.dumps(name)[1:-1].encode(), phone.encode(), b"139-1234-5678"]

    assert intake.post("/reports", json=body).status_code == 201
    intake.post("/reports", json=body | {"grid_id": "9" * 15})  # refused: a log line would tempt here
    all_sent(intake)

    [kept] = records(broker, REPORTERS, body["report_id"])
    assert kept.key() == body["report_id"].encode()
    assert json.loads(kept.value()) == {"report_id": body["report_id"], "name": name, "phone": phone}
    for topic in TOPICS:
        if topic is not REPORTERS:
            assert not [m for m in read_to_end(broker, topic) if any(s in raw(m) for s in secrets)], topic.name
    assert not any(secret in log.read_bytes() for secret in secrets)


def raw(message: Any) -> bytes:
    parts = [message.key(), message.value(), *(value for _, value in headers(message))]
    return b"\n".join(part or b"" for part in parts)


# -- photos ------------------------------------------------------------------------------------


def test_a_photo_is_stored_and_only_its_reference_travels(intake: httpx.Client, broker: Settings) -> None:
    """Drawn again without EXIF, under the SHA-256 of what is stored; a repeat is the same photo."""
    content = with_exif(orientation=1)

    first, second = (intake.post("/photos", content=content) for _ in range(2))
    ref = first.json()["media"]
    body = a_body(media=[ref, "https://example.org/1.jpg"])

    assert (first.status_code, first.json()) == (201, second.json())
    [stored] = (broker.data_dir / "photos").rglob("*.jpg")
    assert ref == f"photo:{sha256(stored.read_bytes()).hexdigest()}"
    assert PLACE not in stored.read_bytes()
    assert intake.post("/reports", json=body).status_code == 201
    all_sent(intake)
    [record] = records(broker, REPORTS, body["report_id"])
    assert codec.decode(REPORTS, record.value()).media == body["media"]
    assert len(record.value() or b"") < 1000


def test_a_photo_is_read_once_a_report_names_it(intake: httpx.Client) -> None:
    """As JPEG that caches may keep; before that, of a private report, and under what is no name, there is none."""
    refs = [intake.post("/photos", content=a_picture("PNG", (n, 9))).json()["media"] for n in (7, 8)]
    place, private = (f"/photos/{ref.removeprefix('photo:')}" for ref in refs)
    assert intake.get(place).status_code == 404

    bodies = [a_body(media=refs[1:], visibility="private"), a_body(media=refs[:1])]
    assert [intake.post("/reports", json=body).status_code for body in bodies] == [201, 201]
    eventually(lambda: intake.get(place).is_success, within_s=10, what="the report is known")
    found = intake.get(place)

    assert place.endswith(sha256(found.content).hexdigest())
    assert (found.headers["content-type"], found.headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
    assert "immutable" in found.headers["cache-control"]
    wrong = [intake.get(wrong) for wrong in (private, f"/photos/{'0' * 64}", "/photos/x")]
    assert [(answer.status_code, answer.json()["reason"]) for answer in wrong] == [(404, "not_found")] * 3


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"<svg onload=alert(1)>", 422, "bad_picture"),
        (a_bomb(9000, 9000), 422, "bad_picture"),
        (bytes(8 << 20) + b"x", 413, "too_large"),
    ],
)
def test_what_is_no_photo_is_refused(intake: httpx.Client, content: bytes, status: int, reason: str) -> None:
    answer = intake.post("/photos", content=content)

    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


def test_a_report_names_photos_that_are_there(intake: httpx.Client) -> None:
    """Anything else would be a case without its evidence."""
    answer = intake.post("/reports", json=a_body(media=["photo:" + "0" * 64]))

    assert (answer.status_code, answer.json()["reason"], answer.json()["field"]) == (422, "unknown_photo", "media")


def test_a_visit_is_logged_once_and_opens_no_case(intake: httpx.Client, broker: Settings) -> None:
    """201 when it is on disk; the same again is the same, another under its id gets 409."""
    body = {
        "visit_id": f"v-{uuid4()}",
        "kind": "home_visit",
        "grid_id": GRID,
        "worker": WORKER,
        "occurred_at": "2026-03-09T17:00:00+08:00",
        "households": 12,
    }

    answers = [intake.post("/visits", json=body | change).status_code for change in ({}, {}, {"households": 13})]

    assert answers == [201, 201, 409]
    all_sent(intake)
    [record] = records(broker, VISITS, body["visit_id"])
    assert (record.key(), codec.decode(VISITS, record.value()).households) == (GRID.encode(), 12)
    assert not records(broker, REPORTS, body["visit_id"])


# -- commands ----------------------------------------------------------------------------------


class PlayedLane:
    """Reads commands as a lane does and answers as the test says."""

    def __init__(self, settings: Settings, district: District) -> None:
        self._district = district
        self._reader: Consumer = consumer(settings, f"test-{uuid4()}")
        self._reader.assign([TopicPartition(CASE_COMMANDS.name, p, 0) for p in range(settings.partitions)])

    def answer(self, command_id: str, count: int, decide: Callable[[str], Verdict]) -> None:
        """Answer the next *count* commands of that id, the last one read first."""
        found: list[Any] = []

        def all_there() -> bool:
            message = self._reader.poll(0.05)
            if message is not None and message.error() is None:
                command = codec.decode(CASE_COMMANDS, message.value())
                found.extend([command] if command.command_id == command_id else [])
            return len(found) == count

        eventually(all_there, within_s=5, what=f"{count} commands {command_id}")
        for command in reversed(found):
            self.tell(command.case_id, command_id, decide(command.case_id))

    def tell(self, case_id: str, command_id: str, verdict: Verdict) -> None:
        refused = verdict is Verdict.REFUSED
        result = CommandResult(
            command_id=command_id,
            case_id=case_id,
            grid_id=case_id[:15],
            verdict=verdict,
            decided_at=NINE,
            reason="illegal_move" if refused else None,
            detail="not now" if refused else None,
            stage=Stage.DISPATCHED,
            allowed=[Move.ACKNOWLEDGE, Move.REMARK],
        )
        self._district.producer.send(
            CASE_RESULTS, key=result.grid_id, ce_id=f"{command_id}/{verdict}", at=NINE, value=result
        ).result(10)

    def close(self) -> None:
        self._reader.close()


@pytest.fixture
def lane(broker: Settings, district: District) -> Iterator[PlayedLane]:
    played = PlayedLane(broker, district)
    yield played
    played.close()


def ask(client: httpx.Client, command_id: str, case_id: str = CASE) -> httpx.Response:
    body = {"command_id": command_id, "move": "acknowledge", "by": WORKER}
    return client.post(f"/cases/{case_id}/commands", json=body)


@pytest.mark.parametrize(("verdict", "status"), [(Verdict.ACCEPTED, 200), (Verdict.REFUSED, 409)])
def test_a_command_is_answered_by_its_lane(
    intake: httpx.Client, broker: Settings, lane: PlayedLane, verdict: Verdict, status: int
) -> None:
    """200 when it was done, 409 with reason, stage and allowed moves when not; its key is the case's grid."""
    ident = f"c-{uuid4()}"

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask, intake, ident)
        lane.answer(ident, 1, lambda _: verdict)
        answer = asked.result()

    assert answer.status_code == status, answer.text
    assert answer.json()["verdict"] == verdict
    assert (answer.json()["stage"], answer.json()["allowed"]) == ("dispatched", ["acknowledge", "remark"])
    assert answer.json().get("reason") == ("illegal_move" if status == 409 else None)
    [record] = records(broker, CASE_COMMANDS, ident)
    assert (record.key(), record.partition()) == (GRID.encode(), codec.partition_of(GRID, broker.partitions))


def test_without_a_lane_the_answer_is_a_place_to_ask(intake: httpx.Client, lane: PlayedLane) -> None:
    """202 after 2 s with a Location: 404 until the lane has decided, then its verdict."""
    ident = f"c-{uuid4()}"

    answer = ask(intake, ident)
    place = answer.headers["location"]

    assert (answer.status_code, place) == (202, f"/commands/{ident}")
    assert intake.get(place).status_code == 404
    lane.tell(CASE, ident, Verdict.REFUSED)
    eventually(lambda: intake.get(place).status_code != 404, within_s=5, what="the verdict is seen")
    assert intake.get(place).status_code == 409
    assert intake.get(place).json()["reason"] == "illegal_move"


def test_clients_that_choose_the_same_id_get_their_own_answers(intake: httpx.Client, lane: PlayedLane) -> None:
    """An id belongs to its case: nobody is told what became of another's command."""
    verdicts = {CASE: Verdict.REFUSED, OTHER_CASE: Verdict.ACCEPTED}
    ident = f"c-{uuid4()}"

    with ThreadPoolExecutor() as pool:
        asked = {case: pool.submit(ask, intake, ident, case) for case in verdicts}
        lane.answer(ident, 2, verdicts.__getitem__)
        answers = {case: future.result() for case, future in asked.items()}

    assert {case: answer.json()["verdict"] for case, answer in answers.items()} == verdicts
    assert all(answer.json()["case_id"] == case for case, answer in answers.items())


def test_a_repeated_command_is_told_the_new_verdict(intake: httpx.Client, lane: PlayedLane) -> None:
    """What was refused once may be done now; an old refusal must not answer for it."""
    ident = f"c-{uuid4()}"
    told = []
    for verdict in (Verdict.REFUSED, Verdict.ACCEPTED):
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(ask, intake, ident)
            lane.answer(ident, 1, lambda _, verdict=verdict: verdict)
            told.append(asked.result().status_code)

    assert told == [409, 200]


@pytest.mark.parametrize(
    ("case_id", "body", "status", "field"),
    [
        ("17", {"move": "handle", "by": WORKER}, 400, "case_id"),
        (f"{'9' * 15}-aaaaaaaaaa", {"move": "handle", "by": WORKER}, 422, "case_id"),
        (CASE, {"move": "explode", "by": WORKER}, 400, "move"),
        (CASE, {"move": "handle", "by": "a b"}, 400, "by"),
        (CASE, {"move": "handle", "by": WORKER, "command_id": "!"}, 400, "command_id"),
    ],
)
def test_a_wrong_command_is_refused_at_the_door(
    intake: httpx.Client, case_id: str, body: dict[str, str], status: int, field: str
) -> None:
    """What no lane could decide never becomes a record."""
    answer = intake.post(f"/cases/{case_id}/commands", json=body)

    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


# -- the service itself ------------------------------------------------------------------------


def test_the_contract_is_published_without_a_page(intake: httpx.Client) -> None:
    """`/openapi.json` describes each path; no address answers with a page that loads scripts."""
    document = intake.get("/openapi.json")

    assert set(document.json()["paths"]) >= {"/reports", "/cases/{case_id}/commands", "/commands/{command_id}"}
    for path in ("/", "/schema", "/docs", "/swagger", "/redoc", "/elements"):
        assert b"<script" not in intake.get(path).content
