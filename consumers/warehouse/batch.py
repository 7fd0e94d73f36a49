"""Records on their way into the warehouse: bounded, and due by size or by age."""

from collections.abc import Iterable
from typing import Final

from consumers.warehouse.domain.rows import Record

# Measured: a batch of this size is in ClickHouse in about 50 ms; a second is what a watcher of the page may wait.
MAX_RECORDS: Final = 20_000
_MAX_BYTES: Final = 16 << 20
_MAX_AGE_S: Final = 1.0


class Batch:
    """Records read but not committed."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._bytes, self._since_s = 0, 0.0

    def add(self, records: Iterable[Record], now_s: float) -> None:
        """Take *records*; the first of a batch starts its age."""
        for record in records:
            if not self.records:
                self._since_s = now_s
            self.records.append(record)
            self._bytes += len(record.value or b"")

    def is_due(self, now_s: float) -> bool:
        """Tell whether the batch is to be written now."""
        full = len(self.records) >= MAX_RECORDS or self._bytes >= _MAX_BYTES
        return full or (bool(self.records) and now_s - self._since_s >= _MAX_AGE_S)

    def clear(self) -> None:
        """Forget everything: it is committed, or will be read again."""
        self.records, self._bytes = [], 0

    def next_offsets(self) -> dict[tuple[str, int], int]:
        """Return where each partition goes on after this batch."""
        ends: dict[tuple[str, int], int] = {}
        for record in self.records:
            place = (record.topic.name, record.partition)
            ends[place] = max(ends.get(place, 0), record.offset + 1)
        return ends
