"""Stock Faust as its documentation shows it: an agent, a table, one event at a time."""

import asyncio
import sys
from tempfile import mkdtemp

import faust

from tests.bench.fold import add, decode
from tests.bench.progress import Progress


def create_app(kafka: str, topic: str, run: str, records: int) -> faust.App:
    """Return the app; every setting that is not needed to run here is Faust's default."""
    app = faust.App(
        run,
        broker=f"kafka://{kafka}",
        datadir=mkdtemp(),
        topic_partitions=4,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    totals = app.Table("totals", partitions=4)
    progress = Progress(records)

    @app.agent(app.topic(topic, value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw"))
    async def aggregate(stream: faust.Stream[bytes]) -> None:
        async for value in stream:
            reading = decode(value)
            totals[reading.grid_id] = add(totals.get(reading.grid_id), reading.people)
            if progress.add(1):
                progress.done(totals)
                await asyncio.Event().wait()  # the stage ends this process

    return app


if __name__ == "__main__":
    faust.Worker(
        create_app(*sys.argv[1:4], int(sys.argv[4])), loglevel="WARN", redirect_stdouts=False
    ).execute_from_commandline()
