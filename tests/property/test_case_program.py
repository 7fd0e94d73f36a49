"""The case program under crashes: whatever is replayed, the same ids with the same bytes, and the same cases."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.agents.case_program import CaseProgram, CaseState
from pipelines.domain import ids
from pipelines.stream.program import Output
from schemas import codec
from schemas.cases import Case, Command, Move
from schemas.topics import CASE_COMMANDS, CASES, GRID_STATE, REPORTS
from tests.builders import CHECKER, GRID, NINE, POLICY, POLICY_ID, REGISTRY, WORKER, a_report

PARTITION = codec.partition_of(GRID, 4)
SNAPSHOTS = {CASES.name, GRID_STATE.name}  # the latest state, not a story: content depends on where a chunk ends

CLOSE_MS = 4_000  # commands this close together are read in one chunk

moves = st.tuples(st.integers(0, 1), st.sampled_from(Move), st.sampled_from([WORKER, CHECKER]), st.integers(0, 5))
stories = st.lists(st.tuples(moves, st.integers(0, 12_000)), min_size=1, max_size=25)


def record(topic: str, offset: int, at: datetime, value: Any) -> Any:
    stamp = int(at.timestamp() * 1000)
    return SimpleNamespace(topic=topic, offset=offset, timestamp=stamp, key=b"", value=codec.encode(value), headers=[])


def a_program(state: dict[bytes, bytes]) -> CaseProgram:
    program = CaseProgram(PARTITION, 4, REGISTRY, {POLICY_ID: POLICY}, POLICY_ID)
    program.load(state)
    return program


def chunks_of(story: list[tuple[tuple[int, Move, str, int], int]]) -> list[list[Any]]:
    """Return four reports, then commands in chunks of one or more, each chunk followed by a tick."""
    chunks: list[list[Any]] = [[record(REPORTS.name, n, NINE, a_report(f"r-{n}")) for n in range(4)]]
    at = NINE
    for offset, ((case, move, by, command), wait_ms) in enumerate(story):
        at += timedelta(milliseconds=wait_ms)
        asked = Command(
            command_id=f"c-{case}-{command}",
            case_id=ids.case_id(GRID, f"r-{case}"),
            move=move,
            by=by,
            requested_at=at,
            assignee=WORKER,
        )
        commands = record(CASE_COMMANDS.name, offset, at, asked)
        if wait_ms < CLOSE_MS and len(chunks) > 1:
            chunks[-2].append(commands)
            chunks[-1] = [at]
        else:
            chunks += [[commands], [at]]
    return chunks


def apply(program: CaseProgram, chunk: list[Any]) -> list[Output]:
    outputs: list[Output] = []
    for each in chunk:
        outputs += program.tick(each) if isinstance(each, datetime) else program.take(each.topic, each)
    return outputs


def story_lines(outputs: list[Output]) -> dict[str, bytes | None]:
    """Return what subscribers see, by id; a repeat must be byte-equal."""
    seen: dict[str, bytes | None] = {}
    for output in outputs:
        if output.topic not in SNAPSHOTS:
            ident = f"{output.topic}:{codec.header(output.headers, 'ce_id')}"
            assert seen.setdefault(ident, output.value) == output.value, ident
    return seen


def cases_in(state: dict[bytes, bytes]) -> dict[bytes, Case]:
    return {key: msgspec.json.decode(value, type=CaseState).case for key, value in state.items()}


def undisturbed(chunks: list[list[Any]]) -> tuple[dict[str, bytes | None], dict[bytes, Case]]:
    state: dict[bytes, bytes] = {}
    program, outputs = a_program({}), []
    for chunk in chunks:
        outputs += apply(program, chunk)
        state |= {change.key: change.value or b"" for change in program.settle().changes}
    return story_lines(outputs), cases_in(state)


@settings(max_examples=200, deadline=None)
@given(story=stories, data=st.data())
def test_a_crash_between_any_two_effects_changes_nothing(
    story: list[tuple[tuple[int, Move, str, int], int]], data: st.DataObject
) -> None:
    """Chunks die after their outputs with any part of their state saved, and are replayed by a fresh program."""
    chunks = chunks_of(story)
    state: dict[bytes, bytes] = {}
    program, outputs = a_program({}), []
    for chunk in chunks:
        while data.draw(st.integers(0, 3), label="crash") == 3:
            outputs += apply(program, chunk)
            changes = program.settle().changes
            saved = data.draw(st.integers(0, len(changes)), label="changes saved")
            state |= {change.key: change.value or b"" for change in changes[:saved]}
            program = a_program(state)
        outputs += apply(program, chunk)
        state |= {change.key: change.value or b"" for change in program.settle().changes}

    lines, cases = undisturbed(chunks)
    assert story_lines(outputs) == lines
    assert cases_in(state) == cases


@settings(max_examples=200, deadline=None)
@given(story=stories)
def test_a_replay_that_reads_all_commands_before_any_tick_escalates_alike(
    story: list[tuple[tuple[int, Move, str, int], int]],
) -> None:
    """A fresh worker reads inputs far ahead of time; deadlines before an event still fire before it."""
    chunks = chunks_of(story)
    ticks = [chunk for chunk in chunks if isinstance(chunk[0], datetime)]
    records = [chunk for chunk in chunks if not isinstance(chunk[0], datetime)]

    replayed, _ = undisturbed([*records, *ticks[-1:]])
    live, _ = undisturbed(chunks)

    assert replayed == live


def test_nobody_is_told_twice_that_a_command_was_accepted() -> None:
    """A command sent again under its id is answered as before and adds nothing to the ledger."""
    program = a_program({})
    apply(program, [record(REPORTS.name, 0, NINE, a_report("r-0"))])
    ask = Command(
        command_id="c-1", case_id=ids.case_id(GRID, "r-0"), move=Move.ACKNOWLEDGE, by=WORKER, requested_at=NINE
    )

    first = apply(program, [record(CASE_COMMANDS.name, 0, NINE.astimezone(UTC), ask)])
    again = apply(program, [record(CASE_COMMANDS.name, 1, NINE + timedelta(seconds=1), ask)])

    assert [o.topic for o in first] == ["case.events.v1", "case.results.v1"]
    assert [o.topic for o in again] == ["case.results.v1"]
    assert b'"accepted"' in (again[0].value or b"")
