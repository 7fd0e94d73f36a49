"""Stock Faust recovering a table from a changelog: says `ready` when the table may be used."""

import sys
from tempfile import mkdtemp

import faust

from tests.bench.progress import say


def create_app(kafka: str, changelog: str, run: str) -> faust.App:
    """Return an app whose table's changelog is the topic *changelog*."""
    app = faust.App(
        run,
        broker=f"kafka://{kafka}",
        datadir=mkdtemp(),
        topic_partitions=4,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    kept = app.topic(changelog, **raw)
    table = app.Table("state", partitions=4, key_type=bytes, value_type=bytes, changelog_topic=kept)

    @app.agent(app.topic(f"{run}-input", partitions=4))
    async def use(stream: faust.Stream[bytes]) -> None:
        async for value in stream:
            table[value] = value

    @table.on_recover
    async def recovered() -> None:
        say("ready", keys=len(table.data.data))

    return app


if __name__ == "__main__":
    worker = faust.Worker(create_app(*sys.argv[1:4]), loglevel="WARN", redirect_stdouts=False)
    say("began")
    worker.execute_from_commandline()
