"""What the public may ask about cases: a thread follows `cases`, the ledger and where reports were.

Kept in memory and bounded; older cases are the warehouse's.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaException, Message, TopicPartition

from infra.kafka import consumer
from infra.logs import logger
from infra.settings import Settings
from schemas import codec
from schemas.cases import Case, LedgerEvent
from schemas.errors import RecordError
from schemas.reports import Report
from schemas.topics import BY_NAME, CASE_EVENTS, CASES, REPORTS

_KEPT = 50_000
_POLL_S, _BROKER_S = 0.2, 1.0
_V = TypeVar("_V")

log = logger()


class Cases:
    """The last 50,000 cases, reports with a place, and ledger lines."""

    def __init__(self, settings: Settings) -> None:
        """Begin to read; what is known grows until the topics' ends are reached."""
        self._settings = settings
        self._cases: OrderedDict[str, Case] = OrderedDict()
        self._opened: OrderedDict[str, str] = OrderedDict()  # case ids by the id of what opened them
        self._reports: OrderedDict[str, Report] = OrderedDict()
        self._media: OrderedDict[str, None] = OrderedDict()  # what reports name
        self._events: deque[LedgerEvent] = deque(maxlen=_KEPT)
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="cases", daemon=True)
        self._thread.start()

    def all(self) -> list[Case]:
        """Return every case known."""
        with self._lock:
            return list(self._cases.values())

    def events(self) -> list[LedgerEvent]:
        """Return every ledger line known, oldest first within a case."""
        with self._lock:
            return list(self._events)

    def case(self, case_id: str) -> Case | None:
        """Return a case, if it is known."""
        return self._cases.get(case_id)

    def opened_by(self, report_id: str) -> Case | None:
        """Return the case that a report opened, if it is known."""
        return self._cases.get(self._opened.get(report_id, ""))

    def report(self, report_id: str) -> Report | None:
        """Return the report under an id, if it had a place or pictures."""
        return self._reports.get(report_id)

    def names(self, media: str) -> bool:
        """Tell whether a report known names a picture."""
        return media in self._media

    def close(self) -> None:
        """End the reading thread."""
        self._stopping.set()
        self._thread.join(5)

    def _follow(self) -> None:
        reader = consumer(self._settings, "gridwatch-intake-cases")
        take: dict[str, Callable[[Any], None]] = {
            CASES.name: self._take_case,
            CASE_EVENTS.name: self._events.append,
            REPORTS.name: self._take_report,
        }
        parts = [TopicPartition(name, p, 0) for name in take for p in range(self._settings.partitions)]
        try:
            reader.assign(parts)
            while not self._stopping.is_set():
                for message in reader.consume(1000, timeout=_POLL_S):
                    self._hand_over(message, take)
        except KafkaException as error:  # never seen; the thread's end shows in what is known
            log.warning("cases_unreachable", reason=str(error))
        finally:
            reader.close()

    def _hand_over(self, message: Message, take: dict[str, Callable[[Any], None]]) -> None:
        topic, value = message.topic() or "", message.value()
        if message.error() is not None or value is None:
            return
        try:
            found = codec.decode(BY_NAME[topic], value)
        except RecordError:
            return  # the engine makes it a dead letter
        with self._lock:
            take[topic](found)

    def _take_case(self, case: Case) -> None:
        _keep(self._cases, case.case_id, case)
        _keep(self._opened, case.origin_id, case.case_id)

    def _take_report(self, report: Report) -> None:
        if report.location is not None or report.media:
            _keep(self._reports, report.report_id, report)
        for ref in report.media:
            _keep(self._media, ref, None)


def _keep(kept: OrderedDict[str, _V], key: str, value: _V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _KEPT:
        kept.popitem(last=False)
