"""The embedded warehouse as a process of a test's own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from infra.clickhouse import Role, connect
from infra.settings import Settings
from schemas.errors import UnavailableError
from tests.conftest import eventually, process


@contextmanager
def running_warehouse(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run the warehouse of *settings*; it answers when the block begins."""
    log = settings.data_dir / "warehouse.out"
    with process("infra.local.warehouse", settings, log=log) as child:

        def answers() -> bool:
            assert child.poll() is None, log.read_text()
            try:
                connect(settings, Role.WRITER).close()
            except UnavailableError:
                return False
            return True

        eventually(answers, within_s=30, what="the warehouse answers")
        yield child
