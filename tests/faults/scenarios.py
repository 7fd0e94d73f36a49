"""What may happen to the engine. Each scenario returns in words what did not hold: nothing, on a sound build.

The same scenarios run on the real engine (`test_chaos`) and on builds with one safeguard switched off
(`test_safeguards`), which they must find out.
"""

import random
import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from infra.clock import utc_now
from infra.kafka import Producer, read_to_end
from infra.local.summary import time_reached
from infra.settings import Settings
from schemas.topics import DEAD_LETTERS, STATE_CHANGELOG
from tests.faults.broker import Broker
from tests.faults.fleet import Fleet
from tests.faults.link import Link
from tests.faults.load import Load, Sent
from tests.faults.oracle import JUDGED, applied_but_not_committed, disagreements, repeats, uncommitted

BOTH = ("worker-1", "worker-2")
MOVE_EVERY_S = 6.0
# R15: who leaves is missed after its session, 6 s here; who leaves while that is dealt with, after another one.
PAUSE_AT_MOST_S = 15.0
STOPPED_WITHIN_S = 10.0  # R18
BACKLOG = 20  # commands of each case that come before the one that counts
BEHIND = ("small_fetches", "slow_agents", "slow_acks")  # hardships under which a backlog takes seconds
COMMIT_WITHIN_S = 30.0  # R17: after the last fault and the last record, every commit is at the end


class Stack(NamedTuple):
    """A running broker with topics, and a producer to it."""

    settings: Settings
    broker: Broker
    producer: Producer


Scenario = Callable[[Stack, Fleet, random.Random], list[str]]


def kills(stack: Stack, fleet: Fleet, rng: random.Random, *, rounds: int = 4, per_s: int = 120) -> list[str]:
    """SIGKILL one of two workers at a time, at random, under live load; once for longer than its session."""
    restarts_s = []
    fleet.start(*BOTH)
    fleet.await_open()
    with _load(stack, rng, per_s) as load:
        for number in range(rounds):
            fleet.run_for(rng.uniform(1.0, 3.0))
            victim = rng.choice(BOTH)
            fleet.kill(victim)
            fleet.run_for(8.0 if number == rounds // 2 else rng.uniform(0.0, 0.5))
            began = time.monotonic()
            fleet.start(victim)
            fleet.await_open()
            restarts_s.append(round(time.monotonic() - began, 1))
    print(f"seconds from restart to open lanes, on a machine under load: {restarts_s}")
    return judge(stack, fleet, load.sent)


def freezes(stack: Stack, fleet: Fleet, rng: random.Random, *, rounds: int = 2, per_s: int = 120) -> list[str]:
    """SIGSTOP one of two workers for twice its session and let it go on, while the other has its partitions."""
    found: list[str] = []
    fleet.start(*BOTH)
    fleet.await_open()
    with _load(stack, rng, per_s) as load:
        for _ in range(rounds):
            fleet.run_for(rng.uniform(1.0, 2.0))
            victim = rng.choice(BOTH)
            fleet.freeze(victim)
            fleet.run_for(2 * stack.settings.session_timeout_s)
            found += _takes_over(fleet, *set(BOTH) - {victim})
            fleet.thaw(victim)
            fleet.run_for(3.0)
    fleet.await_open()
    return [*found, *judge(stack, fleet, load.sent)]


def restarts(stack: Stack, fleet: Fleet, rng: random.Random, *, rounds: int = 3, per_s: int = 120) -> list[str]:
    """SIGTERM one of two workers at a time under live load: it ends soon, and nothing that it did is done again."""
    found = []
    fleet.start(*BOTH)
    fleet.await_open()
    with _load(stack, rng, per_s) as load:
        for _ in range(rounds):
            fleet.run_for(rng.uniform(1.0, 3.0))
            victim = rng.choice(BOTH)
            partitions = fleet.open_partitions(victim)
            took_s = fleet.stop(victim)
            print(f"{victim} with {partitions} ended {took_s:.1f} s after SIGTERM")
            if took_s > STOPPED_WITHIN_S:
                found.append(f"{victim} took {took_s:.1f} s to end")
            if not partitions:
                found.append(f"{victim} had no lane")
            is_alone = took_s < stack.settings.session_timeout_s  # later than that, the other may have gone on
            if is_alone and (again := applied_but_not_committed(stack.settings, partitions)):
                found.append(f"{victim} left records to be read again: {again}")
            fleet.start(victim)
            fleet.await_open()
    found += judge(stack, fleet, load.sent)
    repeated = {topic.name: n for topic in JUDGED if (n := repeats(stack.settings, topic))}
    return [*found, f"records repeated: {repeated}"] if repeated else found


def cuts(stack: Stack, fleet: Fleet, rng: random.Random, *, link: Link, rounds: int = 2, per_s: int = 120) -> list[str]:
    """One of two workers loses its way to the broker for twice its session: by silence, then by resets."""
    found: list[str] = []
    fleet.start(*BOTH)
    fleet.await_open()
    with _load(stack, rng, per_s) as load:
        for number in range(rounds):
            fleet.run_for(rng.uniform(1.0, 2.0))
            (link.hang_up if number % 2 else link.fall_silent)()
            fleet.run_for(2 * stack.settings.session_timeout_s)
            found += _takes_over(fleet, BOTH[0])
            link.mend()
            fleet.run_for(3.0)
    fleet.await_open()
    return [*found, *judge(stack, fleet, load.sent)]


def _takes_over(fleet: Fleet, name: str) -> list[str]:
    """Let *name* have every partition, soon."""
    every = list(range(fleet.settings.partitions))
    if fleet.comes_true(lambda: fleet.open_partitions(name) == every, within_s=fleet.settings.session_timeout_s):
        return []
    return [f"{name} has {fleet.open_partitions(name)} alone, not every partition"]


def joins(stack: Stack, fleet: Fleet, rng: random.Random, *, rounds: int = 2, per_s: int = 250) -> list[str]:
    """A second worker comes and goes under live load: every partition moves, again and again."""
    fleet.start("worker-1")
    fleet.await_open()
    with _load(stack, rng, per_s) as load:
        for _ in range(rounds):
            fleet.run_for(rng.uniform(0.5, 1.5))
            fleet.start("worker-2")
            fleet.await_open()
            fleet.run_for(rng.uniform(0.5, 1.5))
            fleet.kill("worker-2")
            fleet.run_for(stack.settings.session_timeout_s + 3.0)
    return judge(stack, fleet, load.sent)


def moves(stack: Stack, fleet: Fleet, rng: random.Random, *, seconds: float = 90.0, per_s: int = 120) -> list[str]:
    """One worker, three, two, one, every six seconds, by start and SIGTERM; how long partitions stood still is told."""
    fleet.start("worker-1")
    fleet.await_open()
    with _load(stack, rng, per_s) as load:
        began = utc_now()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name in ("worker-2", "worker-3"):
                fleet.start(name)
                fleet.run_for(MOVE_EVERY_S)
            for name in ("worker-3", "worker-2"):
                fleet.stop(name)
                fleet.run_for(MOVE_EVERY_S)
        ended = utc_now()
    found = judge(stack, fleet, load.sent)
    longest_s = max(pauses_s(stack.settings, began, ended).values())
    print(f"longest pause of a partition {longest_s:.1f} s")
    if longest_s > PAUSE_AT_MOST_S:
        found.append(f"a partition stood still for {longest_s:.1f} s")
    return found


def pauses_s(settings: Settings, since: datetime, until: datetime) -> dict[int, float]:
    """Return, by partition, the longest time between two writes of its state."""
    written: dict[int, list[float]] = {p: [since.timestamp(), until.timestamp()] for p in range(settings.partitions)}
    for message in read_to_end(settings, STATE_CHANGELOG):
        at_s = message.timestamp()[1] / 1000
        if since.timestamp() < at_s < until.timestamp():
            written[message.partition() or 0].append(at_s)
    return {p: max(b - a for a, b in pairwise(sorted(times))) for p, times in written.items()}


def outage(stack: Stack, fleet: Fleet, rng: random.Random) -> list[str]:
    """The worker is dead over every deadline; half the cases were acknowledged in time, behind a backlog."""
    fleet.start("worker-1")
    fleet.await_open()
    load = _load(stack, rng, 0)
    cases = load.report(300)
    if not fleet.comes_true(lambda: not uncommitted(stack.settings), within_s=COMMIT_WITHIN_S):
        return ["the reports are not read"]
    fleet.kill("worker-1")
    load.ask_in_vain(cases[::2], rounds=BACKLOG)
    load.acknowledge(cases[::2])
    for _ in range(80):
        load.report(50)
    fleet.run_for(4.0)
    fleet.start("worker-1")
    return judge(stack, fleet, load.sent)


def poison(stack: Stack, fleet: Fleet, rng: random.Random) -> list[str]:
    """One report in a hundred comes with a record that nobody can process."""
    fleet.start(*BOTH)
    fleet.await_open()
    with Load(stack.producer, seed=rng.randrange(10**6), per_s=400, bad_share=0.01) as load:
        fleet.run_for(10.0)
    found = judge(stack, fleet, load.sent)
    if repeats(stack.settings, DEAD_LETTERS):
        found.append("a bad record has two dead letters though nothing died")
    return found


def blackout(stack: Stack, fleet: Fleet, rng: random.Random) -> list[str]:
    """Broker and workers die together and stay dead over deadlines that half of the cases have met in time."""
    fleet.start(*BOTH)
    fleet.await_open()
    load = _load(stack, rng, 0)
    cases = load.report(300)
    load.acknowledge(cases[::2])
    for name in BOTH:
        fleet.kill(name)
    stack.broker.kill()
    fleet.run_for(5.0)
    stack.broker.start()
    fleet.start(*BOTH)
    fleet.await_open()
    return judge(stack, fleet, load.sent, may_end=True)


def judge(stack: Stack, fleet: Fleet, sent: Sent, *, may_end: bool = False) -> list[str]:
    """Let the engine come to rest, stop it, and compare everything with the model.

    Args:
        stack: what the engine ran on.
        fleet: its workers.
        sent: what the load got acknowledged.
        may_end: workers may have ended by themselves: what befell them was more than a worker lives through.
    """
    quiet = utc_now()
    found = []
    if not fleet.comes_true(lambda: not uncommitted(stack.settings), within_s=COMMIT_WITHIN_S):
        found.append(f"not committed after {COMMIT_WITHIN_S} s: {uncommitted(stack.settings)}")
    if not fleet.comes_true(lambda: min(time_reached(stack.settings).values()) > quiet, within_s=COMMIT_WITHIN_S):
        found.append(f"time stands still: {time_reached(stack.settings)}")
    fleet.stop()
    found += disagreements(stack.settings, sent)
    repeated = sum(repeats(stack.settings, topic) for topic in JUDGED)
    if fleet.exits and not may_end:
        found.append(f"workers ended by themselves with {fleet.exits}")
    print(
        f"{len(sent.reports)} reports, {len(sent.sightings)} sightings, {len(sent.commands)} commands, "
        f"{fleet.kills} kills, workers that ended by themselves {fleet.exits}, records repeated {repeated}"
    )
    return found


def _load(stack: Stack, rng: random.Random, per_s: int) -> Load:
    return Load(stack.producer, seed=rng.randrange(10**6), per_s=per_s)
