"""Ours: the sink as the product runs it; it tells how many rows are acknowledged, and how fresh they were."""

import asyncio
import gc
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consumers.warehouse.domain.rows import Reject
from consumers.warehouse.sink import Sink
from consumers.warehouse.store import Store
from infra import logs
from infra.kafka import Producer
from infra.settings import Settings
from tests.bench.progress import Progress, now_ms, say


class ToldStore(Store):
    """Tells the stage of every write that is acknowledged."""

    def __init__(self, settings: Settings, producer: Producer, *, records: int, stale: int) -> None:
        """Expect *records* rows; the first *stale* of them waited for the sink to start: their age says nothing."""
        super().__init__(settings, producer)
        self.progress, self._stale, self._ages_ms, self.has_all = Progress(records), stale, [np.empty(0)], False

    def write(self, tables: Mapping[str, Any], rejects: Sequence[Reject]) -> None:
        """Write, and keep how old each row was when the warehouse had it."""
        super().write(tables, rejects)
        rows = tables["camera_telemetry"]
        if self.progress.seen >= self._stale:
            self._ages_ms.append(now_ms() - rows["appended_at"].to_numpy().astype("int64"))
        if self.progress.add(rows.num_rows):
            say("last", records=self.progress.seen, freshness_ms=self._quantiles())
            self.has_all = True

    def _quantiles(self) -> dict[str, float]:
        ages = np.concatenate(self._ages_ms)
        if not ages.size:
            return {}
        return {name: float(np.quantile(ages, q)) for name, q in (("p50", 0.5), ("p99", 0.99), ("worst", 1.0))}


def main(run: str, records: int, stale: int) -> None:
    """Sink until *records* rows are in."""
    logs.configure("bench")
    gc.set_threshold(500_000, 20, 100)  # as the product's process
    settings = Settings()
    with Producer(settings, "sink") as producer:
        store = ToldStore(settings, producer, records=records, stale=stale)
        asyncio.run(Sink(settings, store, group=run).run(lambda: store.has_all))
        store.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
