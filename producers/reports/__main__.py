"""`python -m producers.reports`: the HTTP intake."""

import gc
import signal
import sys

import uvicorn

from infra import logs
from infra.settings import Settings
from producers.reports.http import MAX_BODY_BYTES, create_app
from producers.reports.quick import QuickReports
from producers.reports.spool import Limits, Spool
from schemas.errors import EXIT_SETUP, SetupError

_COLLECT_AFTER = (50_000, 20, 50)  # as set by Python, collecting cost a tenth of a report, and paused the loop
_SWITCH_S = 0.0005  # a thread that has written a group to disk waits for its turn; as set by Python 5 ms
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
    app = create_app(settings, spool)
    gc.freeze()  # catalogue, grids and libraries live as long as the process
    gc.set_threshold(*_COLLECT_AFTER)
    sys.setswitchinterval(_SWITCH_S)
    uvicorn.run(
        QuickReports(app, app.state, MAX_BODY_BYTES),
        host=settings.host,
        port=settings.intake_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_FINISH_S,
    )


if __name__ == "__main__":
    main()
