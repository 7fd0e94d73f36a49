"""The sink: every topic with a table, into ClickHouse."""

import asyncio
import gc
import signal
import sys
from threading import Event

from consumers.warehouse.sink import Sink
from consumers.warehouse.store import Store
from infra import logs
from infra.kafka import Producer
from infra.provision import check_topics
from infra.settings import Settings
from schemas.errors import EXIT_CRASH, EXIT_SETUP, SetupError, UnavailableError


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    logs.configure("sink")
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        _run(Settings(), stop)
    except SetupError as error:
        logs.logger().error("sink_cannot_go_on", reason=str(error))
        sys.exit(EXIT_SETUP)
    except UnavailableError as error:
        logs.logger().error("sink_stopped", reason=str(error))
        sys.exit(EXIT_CRASH)


def _run(settings: Settings, stop: Event) -> None:
    # Records die together by the ten thousand; to look for cycles among them took a tenth of the time.
    gc.set_threshold(500_000, 20, 100)
    check_topics(settings)
    with Producer(settings, "sink") as producer:
        store = Store(settings, producer)
        try:
            asyncio.run(Sink(settings, store).run(stop.is_set))
        finally:
            store.close()


if __name__ == "__main__":
    main()
