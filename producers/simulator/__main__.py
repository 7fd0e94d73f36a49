"""`python -m producers.simulator`: a demo district that lives until SIGTERM."""

import argparse
import asyncio
import signal
import sys

import uvloop

from infra import logs
from infra.local.journal import Journal
from infra.settings import Settings
from producers.simulator.people import People
from producers.simulator.street import Street
from schemas.errors import EXIT_SETUP, SetupError
from schemas.policy import load_policy
from schemas.registry import load_registry


async def live(settings: Settings, *, seed: int, reports_per_s: float, cameras: int) -> None:
    """Run people and cameras of the district until SIGTERM, then let them finish.

    Raises:
        SetupError: a data file of the district is wrong.
    """
    registry, policy = load_registry(settings.district_dir), load_policy(settings.district_dir)
    with Journal(settings.data_dir / "journal.jsonl") as journal:
        people = People(settings, registry, policy, journal, seed)
        stopping = asyncio.Event()

        def stop() -> None:
            people.stop()
            stopping.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        living = [Street(settings, registry, journal, cameras).run(stopping)]
        if reports_per_s > 0:
            living.append(people.run(reports_per_s))
        await asyncio.gather(*living)


def main() -> None:
    """Parse the command line and live."""
    logs.configure("simulator")
    parser = argparse.ArgumentParser(prog="gridwatch simulate", description="A demo district that lives.")
    parser.add_argument("--seed", type=int, default=7, help="decides all that happens")
    parser.add_argument("--rate", type=float, default=8.0, help="reports a second; 0 leaves the people out")
    parser.add_argument("--cameras", type=int, default=32, help="how many cameras are up")
    options = parser.parse_args()
    try:
        uvloop.run(live(Settings(), seed=options.seed, reports_per_s=options.rate, cameras=options.cameras))
    except SetupError as error:
        logs.logger().error("simulator_cannot_start", reason=str(error))
        sys.exit(EXIT_SETUP)


if __name__ == "__main__":
    main()
