"""`python -m pipelines`: one worker of the case engine."""

import sys

from infra import logs
from infra.settings import Settings
from pipelines.app import create_app
from pipelines.process import run
from schemas.errors import EXIT_CRASH, EXIT_SETUP, SetupError, UnavailableError


def main() -> None:
    """Run a worker until SIGTERM; exit 78 when the set-up is wrong, 70 when Kafka does not answer."""
    logs.configure("worker")
    try:
        app = create_app(Settings())
    except SetupError as error:
        logs.logger().error("worker_cannot_start", reason=str(error))
        sys.exit(EXIT_SETUP)
    except UnavailableError as error:
        logs.logger().error("worker_cannot_start", reason=str(error))
        sys.exit(EXIT_CRASH)
    run(app)


if __name__ == "__main__":
    main()
