"""What several integration tests stand on."""

from collections.abc import Iterator

import pytest

from infra.migrate import migrate_warehouse
from infra.settings import Settings
from tests.warehouse import running_warehouse


@pytest.fixture(scope="module")
def stack(broker: Settings) -> Iterator[Settings]:
    """A broker and a migrated warehouse."""
    with running_warehouse(broker):
        migrate_warehouse(broker)
        yield broker
