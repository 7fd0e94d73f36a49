"""The way back for dead letters: the records they name, put on their own topics again.

A topic keeps its records longer than their letters, so the record itself is read again
and its copy goes to the end of the same partition: key, value and headers are the
original's, byte for byte, and two headers more say what it is: `replay_of`, the place of
the record it repeats, and `attempt`, how often it has been replayed by now.

**Under which id.** The rules know a report by its `report_id`, a command by its
`command_id`, a camera event by its `event_id`: all in the value. The warehouse knows a
record by `ce_id`, or by its place when it has none; so a copy of a record without `ce_id`
is given the original's place as its own. A record replayed twice is therefore one case,
one move, one row. What is new is its append time: a case opened by a copy has its clocks
start now, and a command is judged by where its case stands now.

**What has been replayed** is read from the topics, by `replay_of`; nothing else remembers
it. A run that is cut short goes on where it stopped. Two runs at the same moment may
write a copy each, which is the same as one.

**Not for ever.** A copy that fails becomes a letter again, of another place; the copy's
`attempt` tells that it has had its chance.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from itertools import groupby
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from msgspec import Struct
from msgspec.structs import replace

from infra.clock import monotonic_s
from infra.deadletters import Headers, Letter, Origin, read_letter
from infra.kafka import consumer, headers, read_to_end
from infra.settings import Settings
from schemas import codec
from schemas.errors import UnavailableError
from schemas.topics import BY_NAME, CLOCK_TICKS, DEAD_LETTERS, KEEP_FOR_EVER, SILENCES, Cleanup

_REPLAY_OF, _ATTEMPT = "replay_of", "attempt"
_BROKER_S, _POLL_S = 10.0, 0.1
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class State(StrEnum):
    """What a replay does with a letter, or why it leaves it alone."""

    READY = "ready"  # would be replayed
    LATER = "later"  # beyond the limit of this run
    REPLAYED = "replayed"  # a copy is on its topic
    TRIED = "tried"  # is a copy itself, and has been tried as often as was allowed
    BARRED = "barred"  # its topic takes no copies, see `takes_copies`
    GONE = "gone"  # the record is no longer there, or another is in its place


class Finding(Struct, frozen=True, kw_only=True):
    """One letter, and how it stands."""

    letter: Letter
    attempt: int  # how often its record had been replayed when it failed
    state: State


class Original(Struct, frozen=True, kw_only=True):
    """What is known of the record that a letter names."""

    sha256: str
    attempt: int


class Selection(Struct, frozen=True, kw_only=True):
    """Which letters are meant; what is left out matches all."""

    reasons: frozenset[str] = frozenset()
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, letter: Letter) -> bool:
        """Tell whether *letter* is meant; `since` and `until` are about when it was written, half-open."""
        origin = letter.origin
        return (
            (not self.reasons or letter.reason in self.reasons)
            and self.topic in (None, origin.topic)
            and self.partition in (None, origin.partition)
            and self.offset in (None, origin.offset)
            and (self.since is None or letter.appended_at >= self.since)
            and (self.until is None or letter.appended_at < self.until)
        )


def instant(text: str, now: datetime) -> datetime:
    """Return the instant that *text* means: RFC 3339 with zone, or `90m`, `2h`, `7d` before *now*.

    Raises:
        ValueError: it is neither.
    """
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isascii() and number.isdigit():
        return now - timedelta(**{_UNITS[unit]: int(number)})
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("has no zone")
    return found


def takes_copies(name: str) -> bool:
    """Tell whether a record may be put on the topic *name* again.

    Not where an old value would replace a newer one (compacted topics, silences), not where time would
    go back (ticks), not among dead letters, and not where records are forgotten before their
    letters: they are of no use by then, and nothing would tell that they had been replayed.
    """
    topic = BY_NAME.get(name)
    if topic is None or topic.kind is None or topic in (CLOCK_TICKS, SILENCES) or topic.cleanup is not Cleanup.DELETE:
        return False
    return topic.retention_ms == KEEP_FOR_EVER or topic.retention_ms >= DEAD_LETTERS.retention_ms


def judge(letter: Letter, original: Original | None, *, is_copied: bool, attempts: int) -> Finding:
    """Tell how *letter* stands.

    Args:
        letter: one dead letter.
        original: the record at its origin, if there is one.
        is_copied: whether a copy of that record is on its topic.
        attempts: how often one record may be replayed.
    """
    attempt = original.attempt if original else 0
    if not takes_copies(letter.origin.topic):
        state = State.BARRED
    elif original is None or original.sha256 != letter.sha256:
        state = State.GONE
    elif is_copied:
        state = State.REPLAYED
    else:
        state = State.READY if attempt < attempts else State.TRIED
    return Finding(letter=letter, attempt=attempt, state=state)


def capped(found: Iterable[Finding], limit: int) -> list[Finding]:
    """Return *found* with all but the first *limit* that are ready put off."""
    kept, ready = [], 0
    for finding in found:
        ready += finding.state is State.READY
        is_late = finding.state is State.READY and ready > limit
        kept.append(replace(finding, state=State.LATER) if is_late else finding)
    return kept


def copy_headers(origin: Origin, pairs: Sequence[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """Return the headers of a copy of the record at *origin*, which has the headers *pairs*."""
    kept = [(name, value) for name, value in pairs if name not in (_REPLAY_OF, _ATTEMPT)]
    added: Headers = [(_REPLAY_OF, origin.place.encode()), (_ATTEMPT, str(attempt_of(pairs) + 1).encode())]
    if codec.header(pairs, "ce_id") is None:
        added.append(("ce_id", origin.place.encode()))
    return [*kept, *added]


def attempt_of(pairs: Iterable[tuple[str, bytes | None]]) -> int:
    """Return how often a record with the headers *pairs* has been replayed."""
    text = codec.header(pairs, _ATTEMPT) or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def row(finding: Finding, state: State) -> dict[str, object]:
    """Return what may be shown of a letter that stands in *state* now: why, where, how large; never what it holds."""
    letter = finding.letter
    return {
        "at": letter.appended_at.isoformat(timespec="seconds"),
        "process": letter.process,
        "reason": letter.reason,
        "field": letter.field,
        **msgspec.to_builtins(letter.origin),
        "size_bytes": letter.size_bytes,
        "attempt": finding.attempt,
        "state": str(state),
    }


def short_row(finding: Finding, state: State) -> dict[str, object]:
    """Return `row` as it fits on a screen of 80 columns."""
    letter = finding.letter
    return {
        "UTC": f"{letter.appended_at:%m-%d %H:%M:%S}",
        "reason": letter.reason,
        "field": letter.field or "",
        "record": letter.origin.place,
        "state": str(state),
    }


# -- with the broker --------------------------------------------------------------------------


def find(settings: Settings, selection: Selection, *, attempts: int, limit: int) -> list[Finding]:
    """Return the letters meant by *selection*, oldest first, each once, and how each stands.

    Reads all dead letters, and their topics from the oldest record that is meant to the end:
    a narrow selection is quick, a month of reports is not.

    Args:
        settings: where the broker is.
        selection: which letters.
        attempts: how often one record may be replayed.
        limit: how many may be ready at most.

    Raises:
        UnavailableError: the broker does not answer.
    """
    meant = [letter for letter in _letters(settings) if selection.takes(letter)]
    originals, copied = _look_up(settings, {letter.origin for letter in meant if takes_copies(letter.origin.topic)})
    found = [
        judge(
            letter,
            originals.get(letter.origin),
            is_copied=letter.origin.place in copied,
            attempts=attempts,
        )
        for letter in meant
    ]
    return capped(found, limit)


def put_back(
    settings: Settings, found: Iterable[Finding], *, rate_per_s: float, sleep: Callable[[float], None]
) -> Iterator[Origin]:
    """Append a copy of the record of each letter that is ready; yield its origin once the broker has the copy.

    Copies are sent one at a time, a partition's in the order of their originals.

    Raises:
        UnavailableError: the broker does not answer; what was yielded is there, the next may be.
    """
    ready = {finding.letter.origin for finding in found if finding.state is State.READY}
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka,
            "enable.idempotence": True,  # implies acks=all and order
            "compression.type": "lz4",
            "message.max.bytes": 64 << 20,  # the broker measures what it gets compressed, this is before
            "log_level": 2,
        }
    )
    due_s = monotonic_s()
    with closing(_records_from(settings, ready)) as messages:
        while ready:
            message = next(messages, None)
            if message is None:
                return
            origin = _origin(message)
            if origin in ready:
                ready.discard(origin)
                sleep(max(0.0, due_s - monotonic_s()))
                due_s = monotonic_s() + 1 / rate_per_s
                _append_copy(producer, origin, message)
                yield origin


def _letters(settings: Settings) -> list[Letter]:
    """Return every dead letter once, oldest first; a letter may be repeated after a crash."""
    letters: dict[Origin, Letter] = {}
    for message in read_to_end(settings, DEAD_LETTERS, timeout_s=_BROKER_S):
        _, appended_ms = message.timestamp()
        letter = read_letter(headers(message), datetime.fromtimestamp(appended_ms / 1000, UTC))
        if letter is not None:
            letters.setdefault(letter.origin, letter)
    return sorted(letters.values(), key=lambda letter: (letter.appended_at, letter.origin))


def _look_up(settings: Settings, origins: set[Origin]) -> tuple[dict[Origin, Original], set[str]]:
    """Return the records at *origins*, and the places of all records that have been replayed since."""
    originals, copied = {}, set()
    for message in _records_from(settings, origins):
        origin, pairs = _origin(message), headers(message)
        if origin in origins:
            digest = sha256(message.value() or b"").hexdigest()
            originals[origin] = Original(sha256=digest, attempt=attempt_of(pairs))
        place = codec.header(pairs, _REPLAY_OF)
        if place is not None:
            copied.add(place)
    return originals, copied


def _origin(message: Message) -> Origin:
    return Origin(topic=message.topic() or "", partition=message.partition() or 0, offset=message.offset() or 0)


def _records_from(settings: Settings, origins: Iterable[Origin]) -> Generator[Message]:
    """Yield the records of each partition of *origins*, from its first origin to its present end."""
    firsts = {
        place: next(group).offset
        for place, group in groupby(sorted(origins), key=lambda origin: (origin.topic, origin.partition))
    }
    if not firsts:
        return
    with closing(consumer(settings, "gridwatch-replay")) as reader:
        try:
            yield from _read(reader, firsts)
        except KafkaException as error:
            raise UnavailableError("kafka", str(error)) from error


def _read(reader: Consumer, firsts: Mapping[tuple[str, int], int]) -> Iterator[Message]:
    topics = reader.list_topics(timeout=_BROKER_S).topics
    left, starts = {}, []
    for (topic, partition), first in firsts.items():
        if topic in topics and partition in topics[topic].partitions:
            low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=_BROKER_S)
            if first < high:
                left[topic, partition] = high
                starts.append(TopicPartition(topic, partition, max(low, first)))
    reader.assign(starts)
    heard_s = monotonic_s()
    while left:
        for message in reader.consume(10_000, timeout=_POLL_S):
            if message.error() is not None:
                raise UnavailableError("kafka", str(message.error()))
            yield message
            heard_s = monotonic_s()
        reached = reader.position([TopicPartition(*place) for place in left])
        done = {(at.topic, at.partition) for at in reached if at.offset >= left[at.topic, at.partition]}
        left = {place: end for place, end in left.items() if place not in done}
        if left and monotonic_s() - heard_s > _BROKER_S:
            raise UnavailableError("kafka", f"{sorted(left)} cannot be read to the end")


def _append_copy(producer: Producer, origin: Origin, message: Message) -> None:
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    copied: Any = copy_headers(origin, headers(message))
    producer.produce(
        origin.topic,
        partition=origin.partition,
        key=message.key(),
        value=message.value(),
        headers=copied,
        on_delivery=delivered,
    )
    unacknowledged = producer.flush(_BROKER_S)
    if unacknowledged or failures:
        reason = str(failures[0]) if failures else f"no acknowledgement within {_BROKER_S:.0f} s"
        raise UnavailableError("kafka", f"{origin.place} may not have been replayed: {reason}")
