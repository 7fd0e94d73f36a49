"""The engine behind uvicorn, from open to close."""

import logging
import signal
import socket
from typing import Final

import uvicorn
import uvloop

from infra import logs
from infra.local.warehouse.access import users_of
from infra.local.warehouse.engine import open_engine
from infra.local.warehouse.server import Warehouse
from infra.settings import Settings

_STOP_WAIT_S: Final = 1  # then running queries are killed; the sink repeats what was not acknowledged
_IDLE_S: Final = 60
_log = logs.logger()


def serve(settings: Settings, listener: socket.socket, confined_by: str | None) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Raises:
        SetupError: another process owns the directory, or the engine cannot open it.
    """
    with open_engine(settings.data_dir / "warehouse", settings.clickhouse_database) as engine:
        app = Warehouse(engine, users_of(settings))
        host, port = listener.getsockname()[:2]
        _log.info("warehouse_ready", host=host, port=port, version=engine.version, confined_by=confined_by)
        uvloop.run(_serve(app, listener))  # uvicorn leaves requests unfinished; this waits until they have ended
        app.close()


async def _serve(app: Warehouse, listener: socket.socket) -> None:
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
    for stop in (signal.SIGTERM, signal.SIGINT):
        # uvicorn stops on them and then raises them again, which would end the process before the engine is closed.
        signal.signal(stop, signal.SIG_IGN)
    await uvicorn.Server(config).serve([listener])
