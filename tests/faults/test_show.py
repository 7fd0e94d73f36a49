"""Show 4: three minutes at 20,000 events/s, ten kills, two workers."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.settings import Settings
from schemas.topics import CLOCK_TICKS
from tests.faults import counting
from tests.faults.fleet import Fleet
from tests.faults.oracle import uncommitted
from tests.faults.scenarios import BOTH, COMMIT_WITHIN_S, Stack

SECONDS, KILLS, PER_S = 180.0, 10, 20_000
_PACE_S = 0.05


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_ten_kills_in_three_minutes_at_20_000_events_a_second(stack: Stack, seed: int) -> None:
    """Counts and alerts equal the fold's, repeats are byte-equal and at most a chunk a lane, commits reach the end."""
    rng = random.Random(seed)
    counting.create_topics(stack.settings)
    with Fleet(stack.settings, "tests.faults.counting") as fleet:
        fleet.start(*BOTH)
        fleet.await_open()
        with load(stack.settings, seed):
            began = time.monotonic()
            for at_s in sorted(rng.uniform(1.0, SECONDS) for _ in range(KILLS)):
                fleet.run_for(max(0.0, began + at_s - time.monotonic()))
                victim = rng.choice(BOTH)
                fleet.kill(victim)
                fleet.start(victim)
            fleet.run_for(max(0.0, began + SECONDS - time.monotonic()))
        stopped = time.monotonic()
        inputs = (counting.EVENTS.name, CLOCK_TICKS.name)
        committed = fleet.comes_true(
            lambda: not uncommitted(stack.settings, counting.GROUP, inputs), within_s=COMMIT_WITHIN_S
        )
        print(f"{KILLS} kills; committed to the end {time.monotonic() - stopped:.1f} s after the input stopped")
        fleet.stop()
        assert committed, uncommitted(stack.settings, counting.GROUP, inputs)
        assert fleet.exits == []
        found = counting.disagreements(stack.settings, kills=KILLS)
    assert not found, "\n".join(found)


@contextmanager
def load(settings: Settings, seed: int) -> Iterator[None]:
    """Send PER_S events a second until the block ends; then every one of them has arrived."""
    producer, rng, ends = counting.producer(settings), random.Random(seed), threading.Event()
    grids = [f"grid-{n:03}".encode() for n in range(counting.GRIDS)]

    def send() -> None:
        due, began = 0, time.monotonic()
        while not ends.wait(_PACE_S):
            behind = int((time.monotonic() - began) * PER_S) - due
            for grid in rng.choices(grids, k=behind):
                producer.produce(counting.EVENTS.name, key=grid, value=b"1")
            producer.poll(0)
            due += behind

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()
        assert producer.flush(60) == 0
