"""The floor: confluent-kafka's consumer, which hands over records that nobody looks at."""

import sys

from confluent_kafka import Consumer

from tests.bench.progress import Progress, say


def main(kafka: str, topic: str, run: str, records: int) -> None:
    """Read *records* of *topic* and do nothing."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": run, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    progress = Progress(records)
    while True:
        batch = consumer.consume(10_000, timeout=0.1)
        if batch and progress.add(len(batch)):
            break
    say("last", records=progress.seen)
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
