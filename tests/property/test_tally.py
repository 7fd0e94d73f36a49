"""A grid's running counts equal a recount of all its cases, whatever became of them."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipelines.agents.case_program import CaseProgram, CaseState
from pipelines.domain import sla
from pipelines.domain.grids import Tally
from schemas import codec
from schemas.cases import Case, Stage
from schemas.topics import GRID_STATE
from tests.builders import GRID, NINE, POLICY, POLICY_ID, REGISTRY, opened

STEPS = st.tuples(
    st.integers(0, 5),  # which case
    st.sampled_from([stage for stage in Stage]),
    st.integers(0, 3),  # breaches it has by then
    st.booleans(),  # overdue
    st.booleans(),  # forgotten, if archived
)


def moved(case: Case, stage: Stage, breaches: int, *, is_overdue: bool) -> Case:
    timer = case.timer and replace(case.timer, step=sla.BREACH + 1 if is_overdue else 0)
    return replace(case, stage=stage, breaches=breaches, timer=None if stage is Stage.ARCHIVED else timer)


@given(st.lists(STEPS, max_size=40))
def test_a_running_count_is_a_recount(steps: list[tuple[int, Stage, int, bool, bool]]) -> None:
    """Cases come, move, breach, are archived and forgotten; forgotten ones still count as what they were."""
    tally, cases, gone = Tally(GRID), dict[int, Case](), list[Case]()
    for n, stage, breaches, is_overdue, is_forgotten in steps:
        before = cases.get(n)
        fresh = replace(opened(origin_id=f"{n}-{len(gone)}").case, opened_at=NINE + timedelta(seconds=n))
        after = moved(before or fresh, stage, breaches, is_overdue=is_overdue)
        tally.change(before, after)
        cases[n] = after
        if is_forgotten and stage is Stage.ARCHIVED:
            tally.forget(after)
            gone.append(cases.pop(n))

    state = tally.state([], cameras=0, as_of=NINE)

    everyone = [*cases.values(), *gone]
    still_open = [case for case in cases.values() if case.stage is not Stage.ARCHIVED]
    assert (state.reported, state.open, state.archived) == (
        len(everyone),
        len(still_open),
        len(everyone) - len(still_open),
    )
    assert state.by_stage == {stage: sum(case.stage is stage for case in everyone) for stage in Stage}
    assert state.breaches == sum(case.breaches for case in everyone)
    assert state.overdue == sum(sla.is_breached(case) for case in everyone)
    assert state.oldest_open_at == min((case.opened_at for case in still_open), default=None)


@given(saved=st.lists(st.integers(0, 12), max_size=4))
def test_a_crash_while_cases_go_counts_each_once(saved: list[int]) -> None:
    """Whatever part of an eviction was written before each crash, the grid's numbers stay what they were."""
    archived = NINE + timedelta(hours=1)
    cases = [opened(origin_id=f"gone-{n}").case for n in range(5)]
    state = {
        case.case_id.encode(): codec.encode(
            CaseState(case=replace(case, stage=Stage.ARCHIVED, timer=None, breaches=2, updated_at=archived))
        )
        for case in cases
    }
    for cut in [*saved, 100]:
        program = CaseProgram(codec.partition_of(GRID, 4), 4, REGISTRY, {POLICY_ID: POLICY}, POLICY_ID)
        program.load(state)
        program.tick(archived + timedelta(days=31))
        settled = program.settle()
        for change in settled.changes[:cut]:
            if change.value is None:
                state.pop(change.key, None)
            else:
                state[change.key] = change.value

    [grid] = [codec.decode(GRID_STATE, o.value) for o in settled.outputs if o.key == GRID.encode()]
    assert (grid.reported, grid.archived, grid.breaches, grid.open) == (5, 5, 10, 0)
    assert list(state) == [f"{GRID}/gone".encode()]
