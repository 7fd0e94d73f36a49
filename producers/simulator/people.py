"""Workers and residents of the demo district: they report over HTTP, and move the cases they see.

They follow cases as a phone would: here by reading `cases`, for the phone's own page comes later.
"""

import asyncio
import threading
from collections.abc import Coroutine
from random import Random
from typing import Any

import httpx

from infra.clock import utc_now
from infra.kafka import Producer, consumer
from infra.local.journal import Act, Entry, Journal
from infra.logs import logger
from infra.settings import Settings
from producers.simulator.bad_records import bad_records
from producers.simulator.domain import behaviour
from schemas import codec
from schemas.cases import Case, Clock
from schemas.errors import RecordError
from schemas.policy import Policy
from schemas.registry import Registry
from schemas.topics import CASES

_BAD_RECORDS_AFTER_S = 3.0
_BAD_BODY_EVERY, _VISIT_EVERY = 40, 10
_POLL_S = 0.2
_FINISH_S, _JOIN_S = 2.5, 1.0  # together below the 5 s that a stop may take; a command is answered within 2
_UNANSWERED = (None, 503)

log = logger()


class People:
    """Everybody in the district who holds a phone."""

    def __init__(self, settings: Settings, registry: Registry, policy: Policy, journal: Journal, seed: int) -> None:
        """Bring the people to life when `run` is called; *seed* decides all they do."""
        self._settings, self._registry, self._policy = settings, registry, policy
        self._journal, self._seed, self._rng = journal, seed, Random(seed)
        self._known: dict[str, Case] = {}
        self._acts: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._http = httpx.AsyncClient(base_url=settings.intake_url, timeout=15.0)

    async def run(self, reports_per_s: float) -> None:
        """Live until `stop`; then wait at most 2.5 s for answers that are on the way."""
        reader = threading.Thread(
            target=self._follow_cases, args=(asyncio.get_running_loop(),), name="cases", daemon=True
        )
        reader.start()
        self._start(self._inject_bad_records())
        number = 0
        while not self._stopping.is_set():
            number += 1
            self._start(self._report(number))
            if number % _BAD_BODY_EVERY == 0:
                self._start(self._report_badly(number))
            if number % _VISIT_EVERY == 0:
                self._start(self._visit(number))
            await self._pause(self._rng.expovariate(reports_per_s))
        await self._finish()
        await asyncio.to_thread(reader.join, _JOIN_S)

    async def _finish(self) -> None:
        if self._acts:
            _, late = await asyncio.wait(set(self._acts), timeout=_FINISH_S)
            for act in late:
                act.cancel()  # writes down that its answer is unknown
            await asyncio.gather(*late, return_exceptions=True)
        await self._http.aclose()

    def stop(self) -> None:
        """Let nobody begin anything new."""
        self._stopping.set()

    def _start(self, act: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(act)
        self._acts.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._acts.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("act_failed", exc_info=error)

    async def _pause(self, seconds: float) -> bool:
        """Wait, but not past `stop`; tell whether life goes on."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return True
        return False

    async def _report(self, number: int) -> None:
        body = behaviour.draw_report(self._rng, number, self._registry, self._policy, utc_now())
        times = 2 if self._rng.random() < behaviour.TWICE else 1
        for _ in range(times):
            await self._send(Act.REPORT, body["report_id"], "/reports", body)

    async def _visit(self, number: int) -> None:
        body = behaviour.draw_visit(self._rng, number, self._registry, utc_now())
        await self._send(Act.VISIT, body["visit_id"], "/visits", body)

    async def _report_badly(self, number: int) -> None:
        body = behaviour.draw_bad_body(self._rng, number, self._registry, self._policy, utc_now())
        await self._post(Act.BAD_BODY, body["report_id"], "/reports", body)

    async def _send(self, act: Act, ident: str, path: str, body: dict[str, Any], detail: str = "") -> None:
        """Post, and again under the same id while nobody says whether it arrived."""
        rng, attempt = Random(f"{self._seed}:{ident}"), 0
        while await self._post(act, ident, path, body, detail) in _UNANSWERED:
            pause_s = behaviour.retry_pause_s(attempt, rng.random())
            if pause_s is None or not await self._pause(pause_s):
                return
            attempt += 1

    async def _post(self, act: Act, ident: str, path: str, body: dict[str, Any], detail: str = "") -> int | None:
        status: int | None = None
        try:
            status = (await self._http.post(path, json=body)).status_code
        except httpx.HTTPError as error:
            detail = f"{detail} {type(error).__name__}".strip()
        finally:
            self._journal.write(Entry(act=act, at=utc_now(), id=ident, status=status, detail=detail))
        return status

    async def _inject_bad_records(self) -> None:
        if not await self._pause(_BAD_RECORDS_AFTER_S):
            return
        producer = Producer(self._settings, "simulator")
        try:
            for bad in bad_records(self._registry, self._settings.partitions, utc_now()):
                sent = producer.send_raw(bad.topic, key=bad.key.encode(), value=bad.value, headers=[])
                # At once: what is queued arrives, even if we are told to stop meanwhile.
                self._journal.write(Entry(act=Act.BAD_RECORD, at=utc_now(), id=bad.topic, detail=bad.reason))
                await asyncio.wrap_future(sent)
        finally:
            producer.close(_JOIN_S)

    def _follow_cases(self, loop: asyncio.AbstractEventLoop) -> None:
        reader = consumer(self._settings, f"gridwatch-people-{self._seed}")
        reader.subscribe([CASES.name])
        while not self._stopping.is_set():
            message = reader.poll(_POLL_S)
            if message is None or message.error() is not None:
                continue
            try:
                case = codec.decode(CASES, message.value())
            except RecordError as error:
                log.warning("case_unreadable", reason=error.reason)
                continue
            loop.call_soon_threadsafe(self._see, case)
        reader.close()

    def _see(self, case: Case) -> None:
        known = self._known.get(case.case_id)
        self._known[case.case_id] = case
        if not self._stopping.is_set() and (known is None or behaviour.situation(known) != behaviour.situation(case)):
            self._start(self._deal_with(case))

    async def _deal_with(self, case: Case) -> None:
        rng = Random(f"{self._seed}:{case.case_id}:{behaviour.situation(case)}")
        clock = case.timer.clock if case.timer is not None else Clock.VERIFY  # who asks afterwards takes as long
        # Not the time to its deadline: an office closed for the night would leave the demo without people.
        budget_s = self._policy.terms(case.item_code, clock).budget.total_seconds()
        plan = behaviour.plan(case, rng, self._registry, budget_s)
        if plan is None or not await self._pause(plan.delay_s):
            return
        ident = f"{case.case_id}-{plan.move}-{case.version}"
        await self._send(Act.COMMAND, ident, f"/cases/{case.case_id}/commands", plan.body(ident), detail=plan.move)
