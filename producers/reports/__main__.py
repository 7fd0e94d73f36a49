"""`python -m producers.reports`: the HTTP intake."""

import sys

import uvicorn

from infra import logs
from infra.settings import Settings
from producers.reports.http import create_app
from schemas.errors import EXIT_SETUP, SetupError


def main() -> None:
    """Serve until SIGTERM; exit 78 when the set-up is wrong."""
    logs.configure("intake")
    settings = Settings()
    try:
        app = create_app(settings)
    except SetupError as error:
        logs.logger().error("intake_cannot_start", reason=str(error))
        sys.exit(EXIT_SETUP)
    uvicorn.run(app, host=settings.host, port=settings.intake_port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
