"""What must have come of a run, by a model that knows no chunks, lanes, partitions in motion, or deaths.

The same pure rules read the same topics at leisure: all reports, all that cameras saw, all commands, then
time as far as the engine says it has come. Their outputs and their state must be the engine's, byte for
byte; the broker's order and the acknowledgements of the load are checked beside them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from confluent_kafka import Message, TopicPartition
from msgspec import Struct

from infra.kafka import committed, consumer, headers, read_to_end
from infra.local.summary import escalations_due
from infra.reference import in_force
from infra.settings import Settings
from pipelines.agents.case_program import CaseProgram
from pipelines.app import APP_ID
from pipelines.stream.state import Restored
from schemas import codec
from schemas.alerts import AlertKind
from schemas.errors import RecordError
from schemas.policy import load_policy, policy_hash
from schemas.registry import load_registry
from schemas.topics import (
    ALERTS_CAMERA,
    ALERTS_SAFETY,
    ALERTS_SLA,
    CAMERA_EVENTS,
    CASE_COMMANDS,
    CASE_EVENTS,
    CASE_RESULTS,
    CASES,
    CLOCK_TICKS,
    DEAD_LETTERS,
    ENGINE_INPUTS,
    REPORTS,
    STATE_CHANGELOG,
    Topic,
)
from tests.faults.load import Sent

JUDGED = (CASE_EVENTS, CASE_RESULTS, ALERTS_SLA, ALERTS_CAMERA, ALERTS_SAFETY, CASES, DEAD_LETTERS)
LETTER_SAYS = {"ce_id", "reason", "detail", "origin_topic", "origin_partition", "origin_offset", "size_bytes", "sha256"}

Contents = dict[str, set[bytes]]  # distinct values by `ce_id`


class Model(Struct, kw_only=True):
    """What the rules say should be there."""

    outputs: dict[str, Contents]  # by topic
    state: dict[bytes, bytes]


def disagreements(settings: Settings, sent: Sent) -> list[str]:
    """Return in words everything in which the topics of a stopped engine differ from what must hold."""
    seen = {topic.name: _contents(settings, topic) for topic in JUDGED}
    recovered = _recovered(settings)
    until = _time_reached(settings, recovered)
    model = replay(settings, until)
    return [
        *_acknowledged(settings, sent, seen),
        *(line for topic in JUDGED for line in _outputs(topic, seen[topic.name], model.outputs[topic.name])),
        *_state(recovered, model.state),
        *_escalations(settings, until),
        *_letters(settings, sent),
    ]


def _acknowledged(settings: Settings, sent: Sent, seen: Mapping[str, Contents]) -> Iterator[str]:
    """Every report has its case, every sighting its alert, every command a result; ledgers have no gaps."""
    opened: dict[str, list[str]] = defaultdict(list)
    numbers: dict[str, set[int]] = defaultdict(set)
    for event in _values(CASE_EVENTS, seen[CASE_EVENTS.name]):
        numbers[event.case_id].add(event.number)
        if event.number == 1:
            opened[event.case_id].append(event.event_id)
    results = {result.command_id for result in _values(CASE_RESULTS, seen[CASE_RESULTS.name])}
    due = {*sent.reports.values(), *(case_id for case_id in sent.sightings.values() if case_id)}
    yield from _differs("acknowledged reports and sightings without a case", due - opened.keys())
    yield from _differs("sightings without an alert", sent.sightings.keys() - seen[ALERTS_SAFETY.name].keys())
    yield from _differs("cases opened twice", {case for case, events in opened.items() if len(events) > 1})
    yield from _differs("acknowledged commands without a result", sent.commands - results)
    gaps = {case for case, found in numbers.items() if found != set(range(1, len(found) + 1))}
    yield from _differs("ledgers with gaps", gaps)


def _outputs(topic: Topic, seen: Contents, model: Contents) -> Iterator[str]:
    yield from _differs(f"{topic.name}: ids with two contents", {i for i, found in seen.items() if len(found) > 1})
    if topic is CASES:  # which versions appear depends on where chunks end; the last one is judged as state
        return
    yield from _differs(f"{topic.name}: missing", model.keys() - seen.keys())
    yield from _differs(f"{topic.name}: not due", seen.keys() - model.keys())
    yield from _differs(
        f"{topic.name}: other content than the model's", {i for i in seen.keys() & model.keys() if seen[i] != model[i]}
    )


def _state(recovered: Mapping[int, Restored], model: Mapping[bytes, bytes]) -> Iterator[str]:
    """What a worker would recover is the model's state."""
    state = {key: value for restored in recovered.values() for key, value in restored.content().items()}
    yield from _differs("cases not in state", {key.decode() for key in model.keys() - state.keys()})
    yield from _differs("state that nothing led to", {key.decode() for key in state.keys() - model.keys()})
    yield from _differs(
        "state that is not the model's", {k.decode() for k in model if model[k] != state.get(k, model[k])}
    )


def _recovered(settings: Settings) -> dict[int, Restored]:
    """Return state as a worker that starts now would recover it, by partition."""
    pieces: dict[int, list[Any]] = defaultdict(list)
    for message in read_to_end(settings, STATE_CHANGELOG):
        pieces[message.partition() or 0].append(_record(message))
    recovered = {p: Restored() for p in pieces}
    for p, piece in pieces.items():
        recovered[p].take(piece)
    return recovered


def _escalations(settings: Settings, until: Mapping[int, datetime]) -> Iterator[str]:
    """Escalations again, by arithmetic that shares nothing with the engine's."""
    policies = in_force(settings).policies
    ledger = list(_values(CASE_EVENTS, _contents(settings, CASE_EVENTS)))
    cases = _values(CASES, _contents(settings, CASES))
    held = {case.case_id: policies[case.policy] for case in cases}
    alerts = _values(ALERTS_SLA, _contents(settings, ALERTS_SLA))
    sent = {alert.alert_id for alert in alerts if alert.kind is AlertKind.SLA_ESCALATION}
    grids = load_registry(settings.district_dir).grids
    by_grid = {grid: until[codec.partition_of(grid, settings.partitions)] for grid in grids}
    due = escalations_due(ledger, held, by_grid)
    yield from _differs("escalations due but not sent", due - sent)
    yield from _differs("escalations sent but not due", sent - due)


def _letters(settings: Settings, sent: Sent) -> Iterator[str]:
    """Every bad record is one dead letter that says what it was and why; which ones is the model's to say."""
    letters = [dict(headers(message)) for message in read_to_end(settings, DEAD_LETTERS)]
    if len({letter.get("ce_id") for letter in letters}) != sent.bad:
        yield f"dead letters: {len(letters)} for {sent.bad} bad records"
    poor = [str(letter.get("ce_id")) for letter in letters if not letter.keys() >= LETTER_SAYS]
    yield from _differs("dead letters that do not say enough", poor)


def replay(settings: Settings, until: Mapping[int, datetime]) -> Model:
    """Return what the pure rules make of the topics when time in partition *p* has come to `until[p]`."""
    registry, policy_id = load_registry(settings.district_dir), policy_hash(load_policy(settings.district_dir))
    policies = in_force(settings).policies
    programs = {p: CaseProgram(p, settings.partitions, registry, policies, policy_id) for p in until}
    outputs: dict[str, Contents] = {topic.name: defaultdict(set) for topic in JUDGED}
    state: dict[bytes, bytes] = {}

    def keep(found: list[Any]) -> None:
        for output in found:
            if output.topic in outputs:
                outputs[output.topic][codec.header(output.headers, "ce_id") or ""].add(output.value or b"")

    for topic in (REPORTS, CAMERA_EVENTS, CASE_COMMANDS):
        for message in read_to_end(settings, topic):
            try:
                keep(programs[message.partition() or 0].take(str(message.topic()), _record(message)))
            except RecordError:
                letter = f"dead/{topic.name}/{message.partition()}/{message.offset()}"
                outputs[DEAD_LETTERS.name][letter].add(message.value() or b"")
    for p, program in programs.items():
        keep(program.tick(until[p]))
        state.update((change.key, change.value or b"") for change in program.settle().changes)
    return Model(outputs=outputs, state=state)


def _record(message: Message) -> Any:
    return SimpleNamespace(
        offset=message.offset(),
        timestamp=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=headers(message),
    )


def _time_reached(settings: Settings, recovered: Mapping[int, Restored]) -> dict[int, datetime]:
    """Return the time of the last tick that state says was applied, by partition."""
    reached: dict[int, datetime] = {}
    for message in read_to_end(settings, CLOCK_TICKS):
        p = message.partition() or 0
        tick = codec.decode(CLOCK_TICKS, message.value())
        if tick.at is not None and (message.offset() or 0) < recovered[p].positions.get(CLOCK_TICKS.name, 0):
            reached[p] = max(tick.at, reached.get(p, tick.at))
    return reached


def uncommitted(
    settings: Settings, group: str = APP_ID, topics: Iterable[str] = tuple(topic.name for topic in ENGINE_INPUTS)
) -> dict[str, int]:
    """Return how many records *group* has not committed, for each input partition that has some; ticks never end."""
    done = {(at.topic, at.partition): at.offset for at in committed(settings, group)}
    left = {}
    reader = consumer(settings, "watermarks")
    try:
        for place in ((topic, p) for topic in topics if topic != CLOCK_TICKS.name for p in range(settings.partitions)):
            low, high = reader.get_watermark_offsets(TopicPartition(*place), timeout=10)
            if high > max(low, done.get(place, 0)):
                left["/".join(map(str, place))] = high - max(low, done.get(place, 0))
    finally:
        reader.close()
    return left


def applied_but_not_committed(settings: Settings, partitions: Iterable[int]) -> dict[str, int]:
    """Return how many records of *partitions* state reflects that are not committed: what a restart reads again."""
    done = {(at.topic, at.partition): at.offset for at in committed(settings, APP_ID)}
    recovered = _recovered(settings)
    ahead = {(t, p): offset - done.get((t, p), 0) for p in partitions for t, offset in recovered[p].positions.items()}
    return {f"{topic}/{p}": n for (topic, p), n in ahead.items() if n > 0}


def repeats(settings: Settings, topic: Topic) -> int:
    """Return how many records of *topic* repeat an id that was there before."""
    return sum(1 for _ in read_to_end(settings, topic)) - len(_contents(settings, topic))


def _contents(settings: Settings, topic: Topic) -> Contents:
    found: Contents = defaultdict(set)
    for message in read_to_end(settings, topic):
        found[codec.header(headers(message), "ce_id") or ""].add(message.value() or b"")
    return found


def _values(topic: Topic, contents: Contents) -> Iterator[Any]:
    return (codec.decode(topic, value) for values in contents.values() for value in values)


def _differs(what: str, found: Any) -> Iterator[str]:
    if found:
        yield f"{what}: {len(found)}, e.g. {', '.join(sorted(found)[:3])}"
