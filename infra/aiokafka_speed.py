"""aiokafka, where it spends most of its time, changed: records as parsed, lighter compression, batches of our own.

Importing this module makes the changes.
"""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from aiokafka.codec import lz4_encode
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record._crecords import default_records


class PlainRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Fetched records as the parser in C leaves them.

    Stock wraps each in a frozen dataclass of eleven fields: half of the consumer thread's
    time. Which topic and partition they are of, the chunk knows. Transactions are not read.
    """

    next_fetch_offset: int

    def __iter__(self) -> Iterator[Any]:
        return self._records_iterator  # type: ignore[no-any-return]

    def _unpack_records(self) -> Iterator[Any]:
        records = self._records
        while records.has_next():
            batch = records.next_batch()
            if self._check_crcs and not batch.validate_crc():
                raise CorruptRecordException(str(self._tp))
            if not batch.is_control_batch:
                for record in batch:
                    if record.offset >= self.next_fetch_offset:
                        self.next_fetch_offset = record.offset + 1
                        yield record
            self.next_fetch_offset = batch.next_offset


fetcher.PartitionRecords = PlainRecords  # the fetcher makes them by this name
# Stock compresses at level 9: 15 times slower (920 µs for 200 KB of ledger, 58 at level 1) for a tenth less.
default_records.lz4_encode = partial(lz4_encode, level=1)


async def send_batches(producer: Any, topic: str, partition: int, records: Iterable[Any]) -> list[Any]:
    """Send *records* (key, value, headers) in batches of our own; return their metadata when all are acknowledged.

    This takes 1.4 µs a record, `producer.send` 7.5.
    """
    queued, batch = [], producer.create_batch()
    for record in records:
        fields = {"key": record.key, "value": record.value, "timestamp": None, "headers": record.headers}
        if batch.append(**fields) is None:
            queued.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(**fields)
    queued.append(await producer.send_batch(batch, topic, partition=partition))
    return await asyncio.gather(*queued)
