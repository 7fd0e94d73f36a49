"""The same loop with rows: read as the sink reads, decode, `client.insert` of Python rows, commit.

With *size* 1 every row has an insert of its own.
"""

import asyncio
import sys
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from clickhouse_connect.driver import Client

from consumers.warehouse.domain.rows import ce_id, column_names
from consumers.warehouse.sink import open_consumer
from infra import logs
from infra.clickhouse import Role, connect
from infra.settings import Settings
from schemas import codec
from schemas.topics import CAMERA_TELEMETRY
from tests.bench.progress import Progress, say

_NAMES = column_names("camera_telemetry")
_content = attrgetter(*_NAMES[: _NAMES.index("topic")])


def _row(partition: int, record: Any) -> list[Any]:
    seen = codec.decode(CAMERA_TELEMETRY, record.value)
    appended_at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    where = (CAMERA_TELEMETRY.name, partition, record.offset, appended_at)
    return [*_content(seen), *where, ce_id(CAMERA_TELEMETRY, partition, record)]


async def _sink(settings: Settings, client: Client, group: str, *, records: int, size: int) -> None:
    progress = Progress(records)
    consumer = open_consumer(settings, group)
    consumer.subscribe([CAMERA_TELEMETRY.name])
    await consumer.start()
    while progress.seen < records:
        found = await consumer.getmany(timeout_ms=100, max_records=size)
        rows = [_row(place.partition, record) for place, of in found.items() for record in of]
        if rows:
            client.insert("camera_telemetry", rows, column_names=_NAMES)
            await consumer.commit()
            progress.add(len(rows))
    say("last", records=progress.seen)
    await consumer.stop()


def main(run: str, records: int, size: int) -> None:
    """Sink until *records* rows are in."""
    logs.configure("bench")
    settings = Settings()
    client = connect(settings, Role.WRITER)
    asyncio.run(_sink(settings, client, run, records=records, size=size))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
