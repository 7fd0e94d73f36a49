"""Rows on their way into the warehouse: bounded, and due by size or by age."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from consumers.warehouse.domain.rows import Record, Reject, read
from schemas.topics import Topic

MAX_RECORDS: Final = 25_000  # two are held while the warehouse is away: with 50,000 the sink grew by 87 MiB
MAX_BYTES: Final = 16 << 20
MAX_AGE_S: Final = 0.5


class Batch:
    """Records read but not committed, as rows of their tables and letters of those that are none."""

    def __init__(self) -> None:
        self._pieces: defaultdict[str, list[Any]] = defaultdict(list)
        self.rejects: list[Reject] = []
        self.next_offsets: dict[tuple[str, int], int] = {}
        self.counts: Counter[str] = Counter()  # by topic
        self.oldest_ms: dict[str, int] = {}  # by topic: when the broker appended its oldest record
        self._bytes, self._since_s = 0, 0.0

    def add(self, topic: Topic, partition: int, records: Sequence[Record], now_s: float) -> None:
        """Take what follows in one partition; the first records of a batch start its age."""
        if not self.records:
            self._since_s = now_s
        rows, rejects = read(topic, partition, records)
        self._pieces[topic.table or ""].append(rows)
        self.rejects += rejects
        self.counts[topic.name] += len(records)
        self._bytes += rows.nbytes + sum(len(reject.record.value or b"") for reject in rejects)
        self.next_offsets[topic.name, partition] = records[-1].offset + 1
        oldest = self.oldest_ms.get(topic.name, records[0].timestamp)
        self.oldest_ms[topic.name] = min(oldest, records[0].timestamp)

    @property
    def records(self) -> int:
        """Return how many it holds."""
        return self.counts.total()

    @property
    def is_full(self) -> bool:
        """Tell whether it is to take no more."""
        return self.records >= MAX_RECORDS or self._bytes >= MAX_BYTES

    def is_due(self, now_s: float) -> bool:
        """Tell whether it is to be written now."""
        return self.is_full or (self.records > 0 and now_s - self._since_s >= MAX_AGE_S)

    def tables(self) -> dict[str, Any]:
        """Return the rows of each table that has any."""
        whole = {table: pa.concat_tables(pieces) for table, pieces in self._pieces.items()}
        return {table: rows for table, rows in whole.items() if rows.num_rows}
