"""The district's grids by name, from the edition in force: analysts join them, and no grid is left out."""

from datetime import datetime
from typing import Final

from clickhouse_connect.driver import Client

from infra.reference import in_force
from infra.settings import Settings
from schemas.grid import District

TABLE: Final = "grids"
_PATIENCE_S: Final = 3.0  # whoever waits for the broker has roll-ups to refresh
_COLUMNS: Final = ("registry", "grid_id", "name", "name_en", "village_id", "village", "street_id", "street", "as_of")


def take_up(settings: Settings, client: Client, now: datetime) -> bool:
    """Put the grids of the edition in force into the warehouse, unless they are the newest there; tell whether it did.

    Raises:
        SetupError: nothing is published.
        UnavailableError: the broker does not answer.
        clickhouse_connect.driver.exceptions.Error: the warehouse does not, or has no such table.
    """
    reference = in_force(settings, _PATIENCE_S)
    [[newest]] = client.query("SELECT argMax(registry, as_of) FROM grids").result_rows
    if newest == reference.edition.registry:
        return False
    client.insert(TABLE, rows(reference.registry, reference.edition.registry, now), column_names=_COLUMNS)
    return True


def refresh(client: Client) -> None:
    """Write `v_grids` down for dashboards, whose queries take a third less without it, if a take-up came since.

    Raises:
        clickhouse_connect.driver.exceptions.Error: the warehouse does not answer, or has no such table.
    """
    if client.command("SELECT (SELECT max(as_of) FROM grids) = (SELECT max(as_of) FROM r_grids)"):
        return
    client.command("DROP TABLE IF EXISTS r_grids_next SYNC")
    client.command("CREATE TABLE r_grids_next AS r_grids")
    client.command("INSERT INTO r_grids_next SELECT * FROM v_grids")
    client.command("ALTER TABLE r_grids REPLACE PARTITION tuple() FROM r_grids_next")  # at once: never half of them
    client.command("DROP TABLE r_grids_next SYNC")


def rows(district: District, registry: str, now: datetime) -> list[list[object]]:
    """Return one row a grid, in the order of `_COLUMNS`."""
    names = {place.id: place.name for place in (*district.map.streets, *district.map.villages)}
    places = [(grid, grid.village_id, grid.village_id[:9]) for grid in district.map.grids]
    return [
        [registry, grid.id, grid.name, grid.name_en, village, names[village], street, names[street], now]
        for grid, village, street in places
    ]
