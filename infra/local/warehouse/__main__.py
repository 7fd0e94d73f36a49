"""`python -m infra.local.warehouse`: the embedded ClickHouse, on loopback unless told otherwise."""

import socket
import sys
from typing import Final

from infra import logs
from infra.local.warehouse.confine import confine
from infra.settings import Settings
from schemas.errors import EXIT_SETUP, SetupError

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


def main() -> None:
    """Serve the directory `warehouse` of the data directory; exit code 78 when that cannot work."""
    logs.configure("warehouse")
    settings = Settings()
    try:
        with _listen(settings) as listener:
            confined_by = confine(settings.data_dir / "warehouse")
            from infra.local.warehouse.serve import serve  # noqa: PLC0415 - the engine, which `confine` comes before

            serve(settings, listener, confined_by)
    except SetupError as error:
        _log.error("warehouse_cannot_start", reason=str(error))
        sys.exit(EXIT_SETUP)


if __name__ == "__main__":
    main()
