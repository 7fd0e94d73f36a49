"""What the command prints."""

import json
import subprocess
import sys

_FAKE = """
import sys
from contextlib import nullcontext
from infra.logs import logger
from tests.bench import __main__ as command
from tests.bench.report import Report

def talks(on, asked):
    logger().info("migration_applied")
    return Report(bench="fake", unit="s", ours=1.0, peers={}, floor={}, ratios={}, goals={}, exact=True, details={})

command.BENCHES["grids"], command.stage = talks, nullcontext
sys.argv = ["bench", "grids", "--json"]
command.main()
"""


def test_json_is_one_object_whatever_is_logged_beside_it() -> None:
    """A script reads standard output; the benches of the warehouse log the migrations that they run."""
    ran = subprocess.run([sys.executable, "-c", _FAKE], capture_output=True, text=True, check=True)

    assert json.loads(ran.stdout)["bench"] == "fake"
    assert "migration_applied" in ran.stderr
