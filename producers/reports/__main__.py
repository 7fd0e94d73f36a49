"""`python -m producers.reports`: the HTTP intake."""

import signal
import sys

import uvicorn

from infra import logs
from infra.settings import Settings
from producers.reports.http import create_app
from producers.reports.spool import Limits, Spool
from schemas.errors import EXIT_SETUP, SetupError

_FINISH_S = 3  # for requests on the way at SIGTERM: one waits 2 s for its lane


def main() -> None:
    """Serve until SIGTERM; exit 78 when the set-up is wrong."""
    logs.configure("intake")
    settings = Settings()
    limits = Limits(
        entries=settings.spool_reports, size_bytes=settings.spool_mib << 20, free_bytes=settings.spool_free_mib << 20
    )
    try:
        with Spool(settings.data_dir / "spool", limits) as spool:
            logs.logger().info("spool_open", pending=spool.pending, cut_bytes=spool.cut_bytes)
            _serve(settings, spool)
    except SetupError as error:
        logs.logger().error("intake_cannot_start", reason=str(error))
        sys.exit(EXIT_SETUP)


def _serve(settings: Settings, spool: Spool) -> None:
    # Uvicorn stops in order, then raises the signal again: left alone it would look like a kill.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(settings, spool),
        host=settings.host,
        port=settings.intake_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_FINISH_S,
    )


if __name__ == "__main__":
    main()
