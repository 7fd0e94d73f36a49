"""`python -m infra.local.warehouse`: the embedded ClickHouse, on loopback unless told otherwise."""

import asyncio
import logging
import signal
import socket
import sys
from typing import Final

import uvicorn

from infra import logs
from infra.local.warehouse.access import users_of
from infra.local.warehouse.engine import Engine, open_engine
from infra.local.warehouse.server import Warehouse
from infra.settings import Settings
from schemas.errors import EXIT_SETUP, SetupError

_STOP_WAIT_S: Final = 1  # then running queries are killed; the sink repeats what was not acknowledged
_IDLE_S: Final = 60
_BACKLOG: Final = 128
_log = logs.logger()


def _listen(settings: Settings) -> socket.socket:
    """Bind the one address given; port 0 takes a free one.

    Raises:
        SetupError: the port is taken, or the host is not ours.
    """
    family = socket.AF_INET6 if ":" in settings.clickhouse_host else socket.AF_INET
    try:
        listener = socket.create_server(
            (settings.clickhouse_host, settings.clickhouse_port), family=family, backlog=_BACKLOG
        )
        # Accepted sockets inherit it. asyncio sets it only on sockets that name their protocol, which these do not:
        # 45 ms an answer against 5.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise SetupError("warehouse", f"cannot listen on {settings.clickhouse_url}: {error.strerror}") from error
    return listener


async def _serve(engine: Engine, settings: Settings, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT."""
    app = Warehouse(engine, users_of(settings))
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_STOP_WAIT_S,
    )
    # An answer broken off on purpose is an error in uvicorn's eyes; our own are logged where they happen.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    host, port = listener.getsockname()[:2]
    for stop in (signal.SIGTERM, signal.SIGINT):
        # uvicorn stops on them and then raises them again, which would end the process before the engine is closed.
        signal.signal(stop, signal.SIG_IGN)
    _log.info("warehouse_ready", host=host, port=port, version=engine.version)
    await uvicorn.Server(config).serve([listener])
    app.close()


def main() -> None:
    """Serve the directory `warehouse` of the data directory; exit code 78 when that cannot work."""
    logs.configure("warehouse")
    settings = Settings()
    try:
        with (
            _listen(settings) as listener,
            open_engine(settings.data_dir / "warehouse", settings.clickhouse_database) as engine,
        ):
            asyncio.run(_serve(engine, settings, listener))
    except SetupError as error:
        _log.error("warehouse_cannot_start", reason=str(error))
        sys.exit(EXIT_SETUP)


if __name__ == "__main__":
    main()
