"""The district's grids in the warehouse: as published, once an edition."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from clickhouse_connect.driver import Client

from consumers.warehouse import grids
from infra.clickhouse import Role, connect
from infra.clock import utc_now
from infra.settings import Settings
from schemas.errors import UnavailableError
from schemas.registry import load_registry
from tests.builders import seconds
from tests.conftest import eventually, process


@pytest.fixture
def client(stack: Settings) -> Iterator[Client]:
    """A writer."""
    with closing(connect(stack, Role.WRITER)) as writer:
        yield writer


def test_the_roll_ups_process_takes_the_published_grids_up(stack: Settings, client: Client) -> None:
    """Every grid has its names, and those of its village and street."""
    with process("consumers.warehouse.rollups", stack, log=stack.data_dir / "rollups.out"):
        names = "SELECT grid_id, name, name_en, village_id, street_id FROM v_grids ORDER BY grid_id"
        found = eventually(lambda: client.query(names).result_rows, within_s=30, what="the grids are there")

    expected = sorted(load_registry(stack.district_dir).grids.values(), key=lambda grid: grid.id)
    assert found == [(grid.id, grid.name, grid.name_en, grid.id[:12], grid.id[:9]) for grid in expected]
    assert client.query("SELECT countIf(village = '' OR street = '') FROM v_grids").result_rows == [(0,)]


def test_an_edition_is_taken_up_once_and_the_newest_counts(stack: Settings, client: Client) -> None:
    """What an edition before had and this one has not is no grid any more; nobody waits for a broker that is away."""
    now = utc_now()
    grids.take_up(stack, client, now)
    whole = client.query("SELECT count() FROM v_grids").result_rows
    assert not grids.take_up(stack, client, now)
    _dashboards_agree(client)

    gone = ["another", "610117009009009", "g", "g", "610117009009", "v", "610117009", "s", now + seconds(1)]
    client.insert(grids.TABLE, [gone])
    assert client.query("SELECT grid_id FROM v_grids").result_rows == [("610117009009009",)]
    _dashboards_agree(client)
    assert grids.take_up(stack, client, now + seconds(2))
    assert client.query("SELECT count() FROM v_grids").result_rows == whole

    away = stack.model_copy(update={"kafka": "127.0.0.1:1"})
    with pytest.raises(UnavailableError):
        grids.take_up(away, client, now)


def _dashboards_agree(client: Client) -> None:
    """After a refresh, what dashboards read is what the view says; a second one has nothing to do."""
    for _ in range(2):
        grids.refresh(client)
        written = client.query("SELECT * FROM r_grids ORDER BY grid_id").result_rows
        assert written == client.query("SELECT * FROM v_grids ORDER BY grid_id").result_rows != []
