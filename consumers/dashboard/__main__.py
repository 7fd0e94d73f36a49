"""`python -m consumers.dashboard`: the operations page."""

import sys
from datetime import timedelta, timezone
from types import FrameType
from typing import Final

import uvicorn
from litestar import Litestar

from consumers.dashboard.web import create_app
from infra import logs
from infra.settings import Settings
from schemas.errors import EXIT_SETUP, SetupError

ZONE: Final = timezone(timedelta(hours=8))  # China has one zone and no summer time


class _Server(uvicorn.Server):
    """Ends event streams when asked to stop; uvicorn alone would wait for their clients to leave."""

    def __init__(self, config: uvicorn.Config, page: Litestar) -> None:
        super().__init__(config)
        self._page = page

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._page.state.screen.is_closing = True
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve until SIGTERM; exit 78 when the set-up is wrong."""
    logs.configure("page")
    settings = Settings()
    try:
        page = create_app(settings, ZONE)
    except SetupError as error:
        logs.logger().error("page_cannot_start", reason=str(error))
        sys.exit(EXIT_SETUP)
    config = uvicorn.Config(
        page,
        host=settings.host,
        port=settings.dashboard_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
    )
    _Server(config, page).run()


if __name__ == "__main__":
    main()
