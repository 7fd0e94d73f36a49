"""The worker as a process: how it runs, and how it ends when an error must not be survived."""

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable
from typing import Any, NoReturn

import faust
import uvloop

from infra.logs import logger
from schemas.errors import EXIT_CRASH, EXIT_SETUP, SetupError

STANDSTILL_S = 30.0  # longer than the 20 s after which Faust gives up a step of recovery, and recovery with it

log = logger()


def run(app: faust.App) -> NoReturn:
    """Run *app* as this process's worker until SIGTERM."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    sys.setswitchinterval(0.0005)  # the consumer's thread waits this long for ours whenever it wakes, 5 ms by default
    gc.set_threshold(500_000, 20, 100)  # a chunk is ten thousand objects that die together
    worker = faust.Worker(app, loglevel="WARN", override_logging=False, redirect_stdouts=False, quiet=True)
    worker.spinner = None  # it writes escape codes into log files
    worker.execute_from_commandline()
    raise SystemExit


def die(event: str, **fields: Any) -> NoReturn:
    """End the process at once: nothing more is written, acknowledged or committed."""
    log.critical(event, **fields)
    os._exit(EXIT_CRASH)


def die_with(task: asyncio.Future[None]) -> None:
    """End the process when the group's *task* has failed: partitions would move no more, and a stop wait for ever."""
    if not task.cancelled() and (error := task.exception()) is not None:
        die("coordination_failed", reason=str(error))


async def or_die(work: Awaitable[None]) -> None:
    """Await *work*; an error in it ends the process before anything is acked.

    Faust would restart the agent and skip the chunk.
    """
    try:
        await work
    except SetupError as error:
        log.critical("worker_cannot_run", reason=str(error))
        os._exit(EXIT_SETUP)
    except Exception as error:  # noqa: BLE001 - whatever it is
        die("lane_died", exc_info=error)


class StandstillWatch:
    """Ends the process when what is due stands still: Faust's commit loop and its recovery may die unseen."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float]] = {}

    def check(self, what: str, at: int, *, is_due: bool, now_s: float) -> None:
        """Note, once a second or so, how far *what* is, and whether it has further to go."""
        known, since_s = self._known.pop(what, (at, now_s))
        if not is_due:
            return
        if at != known:
            since_s = now_s
        self._known[what] = (at, since_s)
        if now_s - since_s > STANDSTILL_S:
            die("stands_still", what=what, at=at)
