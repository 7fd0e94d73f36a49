"""What the sink says of itself: per topic and ten seconds, how much, how fresh, how far behind. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
from msgspec import Struct
from msgspec.structs import asdict, replace

from consumers.warehouse.domain.columns import columns_of

EVERY_S: Final = 10.0
TABLE: Final = "sink_progress"


class Progress(Struct, frozen=True, kw_only=True):
    """One topic in one interval."""

    sink: str
    topic: str
    at: datetime
    records: int
    rejects: int
    lag: int
    freshness_ms: int
    write_ms: int


class Written(Struct, frozen=True, kw_only=True):
    """What one or more writes moved from a topic."""

    records: int
    rejects: int
    freshness_ms: int
    write_ms: int

    def and_(self, other: "Written") -> "Written":
        """Return both together: sums of records, the longest of times."""
        return replace(
            self,
            records=self.records + other.records,
            rejects=self.rejects + other.rejects,
            freshness_ms=max(self.freshness_ms, other.freshness_ms),
            write_ms=max(self.write_ms, other.write_ms),
        )


class Interval:
    """The writes since the last rows."""

    def __init__(self, sink: str, now_s: float) -> None:
        """Start to count at *now_s* of a monotonic clock."""
        self._sink, self._since_s = sink, now_s
        self._written: dict[str, Written] = {}

    def add(self, topic: str, written: Written) -> None:
        """Count one write."""
        before = self._written.get(topic)
        self._written[topic] = written if before is None else before.and_(written)

    def is_due(self, now_s: float) -> bool:
        """Tell whether the interval is to end now."""
        return bool(self._written) and now_s - self._since_s >= EVERY_S

    def close(self, at: datetime, now_s: float, lags: Mapping[str, int]) -> Any:
        """Return the interval as rows of its table, and start the next one."""
        found = [
            Progress(sink=self._sink, topic=topic, at=at, lag=lags.get(topic, 0), **asdict(written))
            for topic, written in self._written.items()
        ]
        self._written, self._since_s = {}, now_s
        return pa.table({column.name: pa.array(column.read(found), column.type) for column in columns_of(Progress)})
