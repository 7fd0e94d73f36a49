"""`python -m pipelines`: one worker of the case engine."""

import sys

import faust

from infra import logs
from infra.settings import Settings
from pipelines.app import create_app
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
    worker = faust.Worker(app, loglevel="WARN", override_logging=False, redirect_stdouts=False, quiet=True)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
