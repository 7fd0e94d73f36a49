"""Which dead letters go back, under which headers: the rules of replay, without a broker."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from infra import cli
from infra.deadletters import Letter, Origin, dead_letter_headers, read_letter
from infra.replay import letters
from infra.replay.letters import Finding, Original, Selection, State
from schemas import topics
from schemas.errors import RecordError, SetupError
from tests.builders import NINE, seconds

ORIGIN = Origin(topic=topics.REPORTS.name, partition=2, offset=17)
PHONE = "13800138000"


def a_letter(**origin: Any) -> Letter:
    """Return a letter of ORIGIN, changed as asked."""
    error = RecordError("unknown_item", f"no item {PHONE}", "item_code")
    found = read_letter(dead_letter_headers(replace(ORIGIN, **origin), error, process="worker", value=b"{}"), NINE)
    assert found is not None
    return found


def the_record(attempt: int = 0) -> Original:
    """Return what is known of the record that `a_letter` names."""
    return Original(sha256=a_letter().sha256, attempt=attempt)


def state_of(letter: Letter, original: Original | None, *, is_copied: bool = False, attempts: int = 1) -> State:
    return letters.judge(letter, original, is_copied=is_copied, attempts=attempts).state


def test_a_letter_is_read_as_it_was_written() -> None:
    """Reason, field, process, origin, size and hash; `detail` may hold content and is left."""
    letter = a_letter()

    assert (letter.origin, letter.reason, letter.field) == (ORIGIN, "unknown_item", "item_code")
    assert (letter.process, letter.size_bytes, letter.appended_at) == ("worker", 2, NINE)
    assert PHONE not in str(letter)


@pytest.mark.parametrize("missing", ["origin_topic", "origin_partition", "origin_offset"])
def test_a_record_that_names_no_origin_is_no_letter(missing: str) -> None:
    """Foreign bytes on the topic stop nothing."""
    headers = dead_letter_headers(ORIGIN, RecordError("not_json", ""), process="sink", value=None)

    assert read_letter([pair for pair in headers if pair[0] != missing], NINE) is None
    assert read_letter([(n, b"-1" if n == missing else v) for n, v in headers if n != "origin_topic"], NINE) is None


@pytest.mark.parametrize(
    ("selection", "is_taken"),
    [
        (Selection(), True),
        (Selection(reasons=frozenset({"not_json", "unknown_item"})), True),
        (Selection(reasons=frozenset({"not_json"})), False),
        (Selection(topic=ORIGIN.topic, partition=2, offset=17), True),
        (Selection(topic=topics.CASE_COMMANDS.name), False),
        (Selection(partition=0), False),
        (Selection(offset=0), False),
        (Selection(since=NINE), True),
        (Selection(since=NINE + seconds(1)), False),
        (Selection(until=NINE), False),
        (Selection(until=NINE + seconds(1)), True),
    ],
)
def test_a_selection_narrows_by_every_option_it_has(selection: Selection, is_taken: bool) -> None:
    """Two intervals that adjoin take a letter once."""
    assert selection.takes(a_letter()) is is_taken


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90m", NINE - seconds(5400)),
        ("2h", NINE - seconds(7200)),
        ("1d", NINE - seconds(86400)),
        ("2026-03-09T16:00+08:00", datetime(2026, 3, 9, 8, 0, tzinfo=UTC)),
        ("2026-03-09T08:00:00Z", datetime(2026, 3, 9, 8, 0, tzinfo=UTC)),
    ],
)
def test_an_instant_is_given_by_age_or_with_a_zone(text: str, meant: datetime) -> None:
    assert letters.instant(text, NINE) == meant


@pytest.mark.parametrize("text", ["", "h", "2", "-2h", "2w", "٢h", "2026-03-09T08:00", "yesterday"])
def test_an_instant_that_could_mean_two_things_is_none(text: str) -> None:
    """Above all one without a zone."""
    with pytest.raises(ValueError, match=r"zone|isoformat"):
        letters.instant(text, NINE)


def test_topics_that_a_copy_could_harm_take_none() -> None:
    """No old value over a newer one, no time that goes back, nothing that is forgotten before its letter."""
    taken = {topic for topic in topics.TOPICS if letters.takes_copies(topic.name)}

    assert taken == {
        topics.REPORTS, topics.CASE_COMMANDS, topics.CAMERA_EVENTS, topics.CASE_EVENTS,
        topics.ALERTS_SLA, topics.ALERTS_CAMERA, topics.ALERTS_SAFETY, topics.VISITS,
    }  # fmt: skip
    assert not letters.takes_copies("somebody.elses")


def test_a_letter_is_ready_once() -> None:
    """Not when a copy is there, and not when the record is a copy itself, unless more attempts are asked for."""
    assert state_of(a_letter(), the_record()) is State.READY
    assert state_of(a_letter(), the_record(), is_copied=True) is State.REPLAYED
    assert state_of(a_letter(), the_record(attempt=1)) is State.TRIED
    assert state_of(a_letter(), the_record(attempt=1), attempts=2) is State.READY
    assert state_of(a_letter(), the_record(attempt=2), attempts=2) is State.TRIED


def test_a_letter_whose_record_is_not_the_one_at_its_place_is_left_alone() -> None:
    """The topic was made anew, or retention took the record."""
    assert state_of(a_letter(), None) is State.GONE
    assert state_of(a_letter(), Original(sha256="0" * 64, attempt=0)) is State.GONE


def test_a_letter_of_a_topic_that_takes_no_copies_is_barred() -> None:
    assert state_of(a_letter(topic=topics.CLOCK_TICKS.name), the_record()) is State.BARRED


def test_the_limit_puts_off_what_is_ready_and_counts_nothing_else() -> None:
    """Oldest first; letters that stand otherwise neither count nor change."""
    found = [letters.judge(a_letter(offset=n), the_record(), is_copied=n == 1, attempts=1) for n in range(4)]

    assert [f.state for f in letters.capped(found, 2)] == [State.READY, State.REPLAYED, State.READY, State.LATER]


def test_a_copy_keeps_every_header_and_says_what_it_repeats() -> None:
    """`ce_id` above all: to the warehouse it is the same row."""
    original: list[tuple[str, bytes | None]] = [("ce_id", b"r-1"), ("traceparent", b"00-1"), ("x", None), ("x", b"2")]
    copied = letters.copy_headers(ORIGIN, original)

    assert copied == [*original, ("replay_of", b"reports.v1/2/17"), ("attempt", b"1")]


def test_a_copy_of_a_record_without_an_id_is_known_by_the_first_place() -> None:
    """As it was itself; and so is a copy of the copy."""
    first = letters.copy_headers(ORIGIN, [])
    second = letters.copy_headers(replace(ORIGIN, offset=99), first)

    assert dict(first) == {"replay_of": b"reports.v1/2/17", "attempt": b"1", "ce_id": b"reports.v1/2/17"}
    assert dict(second) == {"replay_of": b"reports.v1/2/99", "attempt": b"2", "ce_id": b"reports.v1/2/17"}
    assert len(second) == 3


@pytest.mark.parametrize("attempt", [b"", b"-1", b"x", b"\xff", None])
def test_an_attempt_that_is_no_number_is_none(attempt: bytes | None) -> None:
    """A foreign producer may use the name."""
    assert letters.attempt_of([("attempt", attempt)]) == 0


@pytest.mark.parametrize("show", [letters.row, letters.short_row])
def test_what_is_shown_of_a_letter_is_never_its_content(show: Callable[[Finding, State], dict[str, object]]) -> None:
    """Why, where, how it stands; neither the record nor `detail`."""
    finding = letters.judge(a_letter(), the_record(), is_copied=False, attempts=1)
    shown = show(finding, State.REPLAYED)

    assert PHONE not in str(shown)
    assert (shown["reason"], shown["field"], shown["state"]) == ("unknown_item", "item_code", "replayed")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--topic", "nowhere", "nowhere: is no topic of ours"),
        ("--since", "yesterday", "--since: 'yesterday' is neither"),
        ("--until", "2026-03-09T09:00", "--until: '2026-03-09T09:00' is neither"),
        ("--since", "9999999999d", "--since: '9999999999d' is neither"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_wrong(option: str, value: str, said: str) -> None:
    """Before anything is connected to."""
    with pytest.raises(SetupError, match=re.escape(said)):
        cli.app(["replay", option, value])
