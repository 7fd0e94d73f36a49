"""Open311 at the edge: forms in, cases out, and a validator that is not fooled."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from producers.reports.domain import open311 as edge
from producers.reports.domain import open311_in as wanted
from producers.reports.domain.open311 import Service
from producers.reports.domain.open311_in import UpdateForm
from schemas.cases import REPORTER, LedgerKind, Satisfaction, Stage
from schemas.errors import RecordError
from schemas.ground import Ground
from schemas.policy import Policy
from schemas.reports import Location, Urgency, Visibility
from tests import open311 as standard
from tests.builders import GRID, NINE, POLICY, REGISTRY, a_case, opened

GROUND = Ground(REGISTRY.grids.values())
POINT = Location(lat=34.5435, long=109.052)  # in GRID


def submitted(**form: str) -> Any:
    asked = {"service_code": "04001", "lat": str(POINT.lat), "long": str(POINT.long), "description": "路口有垃圾"}
    given = {name: value for name, value in (asked | form).items() if value}
    return wanted.submission(given, registry=REGISTRY, ground=GROUND, policy=POLICY, now=NINE)


def test_a_point_becomes_its_grid() -> None:
    found = submitted()

    assert (found.grid_id, found.item_code, found.channel, found.reporter) == (GRID, "04001", "resident", None)
    assert (found.location, found.occurred_at, found.urgency) == (POINT, NINE.isoformat(), Urgency.NORMAL)


def test_a_place_may_be_an_id_or_an_address() -> None:
    """The address must name a grid of the district; the longest name counts."""
    assert submitted(lat="", long="", address_id=GRID).grid_id == GRID
    assert submitted(lat="", long="", address_string=f"高陵区{REGISTRY.grids[GRID].name}12号").grid_id == GRID


def test_attributes_and_contact_are_taken() -> None:
    """What the definition asks; name, phone and e-mail go to the reporter's record."""
    found = submitted(
        **{
            "attribute[URGENCY]": "urgent",
            "attribute[OCCURRED]": "2026-03-09T08:00:00+08:00",
            "attribute[VISIBILITY]": "private",
        },
        last_name="演",
        first_name="示",
        phone="13900001234",
        email="a@example.org",
    )

    assert found.visibility is Visibility.PRIVATE
    assert (found.urgency, found.occurred_at) == (Urgency.URGENT, "2026-03-09T08:00:00+08:00")
    assert (found.reporter.name, found.reporter.phone, found.reporter.email) == ("演示", "13900001234", "a@example.org")


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"service_code": ""}, "service_code"),
        ({"service_code": "001"}, "service_code"),
        ({"service_code": "99999"}, "service_code"),
        ({"attribute[VISIBILITY]": "secret"}, "attribute[VISIBILITY]"),
        ({"lat": ""}, "lat"),
        ({"lat": "north"}, "lat"),
        ({"lat": "nan"}, "lat"),
        ({"lat": "91"}, "lat"),
        ({"lat": "0", "long": "0"}, "lat"),
        ({"lat": "", "long": ""}, "address_string"),
        ({"lat": "", "long": "", "address_string": "别处"}, "address_string"),
        ({"description": "长" * 4001}, "description"),
        ({"attribute[URGENCY]": "very"}, "attribute[URGENCY]"),
        ({"media_url": "javascript:alert(1)"}, "media_url"),
        ({"phone": "1" * 41}, "phone"),
        ({"lat": "", "long": "", "address_id": "abc"}, "address_id"),
        ({"attribute[OCCURRED]": "2" * 41}, "attribute[OCCURRED]"),
    ],
)
def test_a_wrong_form_names_its_field(form: dict[str, str], field: str) -> None:
    with pytest.raises(RecordError) as caught:
        submitted(**form)
    assert caught.value.field == field


def test_a_case_is_shown_without_its_people() -> None:
    """Not who handles it, not who reported it; closed only when it is on the ledger for good."""
    case = a_case()

    found = edge.service_request(case, POLICY, REGISTRY, POINT, None)

    assert (found.status, found.service_request_id, found.lat) == ("open", case.case_id, POINT.lat)
    assert case.assignee is not None
    assert case.assignee not in edge.xml("service_requests", "request", [found]).decode()
    assert edge.status(a_case(stage=Stage.ARCHIVED)) == "closed"


def test_queries_are_bounded() -> None:
    """90 days at most, half-open; ids stand above everything else; pages do not overlap."""
    cases = [a_case(case_id=f"{GRID}-{n:010}", opened_at=NINE - timedelta(days=n)) for n in range(120)]

    def ids(**asked: str) -> list[int]:
        query = wanted.query(asked, NINE + timedelta(seconds=1))
        return [int(case.case_id[-10:]) for case in wanted.select(cases, query)]

    assert ids() == list(range(91))[:90]
    assert ids(page_size="10", page="2") == list(range(10, 20))
    assert ids(start_date="2026-03-08T09:00:00Z", end_date="2026-03-09T09:00:00Z") == [1]
    assert ids(service_request_id=f"{GRID}-{119:010}") == [119]
    assert ids(status="closed") == []
    assert len(ids(status="open,closed", service_code="01001")) == 90
    assert ids(service_code="04001") == []


def test_a_case_outlives_its_item() -> None:
    """A later policy may know the item no more: its code stands for the name."""
    found = edge.service_request(a_case(), without_items(), REGISTRY, None, None)

    assert found.service_name == found.service_code == a_case().item_code


def without_items() -> Policy:
    return Policy(file=POLICY.file, items={}, groups=POLICY.groups, calendar=POLICY.calendar)


@pytest.mark.parametrize(
    "wrong",
    [
        {"page": "0"},
        {"page_size": "x"},
        {"start_date": "yesterday"},
        {"end_date": "0001-01-01T00:00:00Z"},
        {"status": "new"},
    ],
)
def test_a_wrong_query_names_its_parameter(wrong: dict[str, str]) -> None:
    with pytest.raises(RecordError) as caught:
        wanted.query(wrong, NINE)
    assert [caught.value.field] == list(wrong)


def test_xml_holds_whatever_people_write() -> None:
    """Markup is text, and what XML cannot hold is marked."""
    service = Service(
        service_code="1", service_name="<b>&\x00\x0b\ud800", description="]]>", metadata=True, type="realtime",
        keywords="k", group="g",
    )  # fmt: skip

    [row] = standard.services(edge.xml("services", "service", [service]), "xml")

    assert row["service_name"] == "<b>&\ufffd\ufffd\ufffd"
    assert (row["description"], row["metadata"]) == ("]]>", "true")


@pytest.mark.parametrize("case", list(standard.wrong_answers()), ids=lambda case: case[0])
def test_the_validator_refuses_wrong_answers(case: Any) -> None:
    """Answers that look right: a validator that takes one proves nothing."""
    _, validate, form, content = case
    with pytest.raises(standard.NotOpen311Error):
        validate(content, form)


def test_there_are_ten_of_them() -> None:
    assert len(list(standard.wrong_answers())) == 10


@pytest.mark.parametrize(
    ("stage", "status", "move", "satisfaction"),
    [
        (Stage.ARCHIVED, "OPEN", "reopen", None),
        (Stage.ARCHIVED, "FIXED", "feedback", Satisfaction.SATISFIED),
        (Stage.ARCHIVED, "CLOSED", "feedback", Satisfaction.SATISFIED),
        (Stage.ARCHIVED, "SOMETHING", "remark", None),
        (Stage.DISPATCHED, "FIXED", "remark", None),
        (Stage.DISPATCHED, None, "remark", None),
    ],
)
def test_an_update_asks_what_its_status_means_on_the_case(
    stage: Stage, status: str | None, move: str, satisfaction: Satisfaction | None
) -> None:
    """A status that nobody knows, or that the case does not allow, is recorded and changes nothing."""
    form = UpdateForm(status=status, description="还没有清理", update_id="7", api_key="k")

    found = wanted.reporters_request(form, a_case(stage=stage), "fresh")

    assert (found.move, found.satisfaction, found.note) == (move, satisfaction, "还没有清理")
    assert found == wanted.reporters_request(form, a_case(stage=stage), "another")
    other_site = replace(form, api_key="other")
    assert found.request_id != wanted.reporters_request(other_site, a_case(), "fresh").request_id
    assert wanted.reporters_request(replace(form, update_id=None), a_case(), "fresh").request_id == "fresh"


def test_an_update_without_words_is_none() -> None:
    with pytest.raises(RecordError, match="description"):
        wanted.reporters_request(UpdateForm(status="OPEN", description=" "), a_case(), "fresh")


def test_a_reporters_update_is_listed_under_the_id_it_was_answered_with() -> None:
    """Their words are shown; what people at work write is not."""
    line = opened().events[0]
    said = replace(
        line,
        event_id="reporter:aa:1/aa/4",
        kind=LedgerKind.REMARKED,
        by=REPORTER,
        note="还在",
        number=4,
    )

    found = edge.update(said)

    assert found is not None
    assert (found.update_id, found.status, found.description) == ("reporter:aa:1", "OPEN", "还在")
    assert edge.update(replace(said, by="pt-001001001")) is None
