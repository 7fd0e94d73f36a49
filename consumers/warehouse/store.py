"""Where rows go: Arrow inserts over HTTP, and dead letters for what is no row."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error

from consumers.warehouse.domain import progress, rows
from consumers.warehouse.domain.columns import columns_of
from consumers.warehouse.domain.rows import Reject
from infra.clickhouse import Role, connect, fault
from infra.deadletters import Origin, dead_letter
from infra.kafka import Producer
from infra.logs import logger
from infra.settings import Settings
from schemas.errors import SetupError
from schemas.topics import DEAD_LETTERS, ENGINE_INPUTS

_ACK_S: Final = 30.0
# A late or wrong clock may spread one batch over many months; that is no reason to refuse it.
INSERT: Final = {"max_partitions_per_insert_block": 0}


class Store:
    """Writes batches; a batch may be written again after any error, its rows stay single by their keys."""

    def __init__(self, settings: Settings, producer: Producer) -> None:
        self._settings, self._producer = settings, producer
        self._client: Client | None = None

    def write(self, tables: Mapping[str, Any], rejects: Sequence[Reject]) -> None:
        """Insert the rows of *tables* and dead-letter *rejects*; return when both are acknowledged.

        Raises:
            UnavailableError: warehouse or broker does not answer; any part may be in.
            SetupError: the tables are not those of this release.
        """
        try:
            client = self._open()
            for table, content in tables.items():
                client.insert_arrow(table, content, settings=INSERT)
        except Error as error:
            self.close()
            raise fault(error) from error
        # Of its own inputs the case engine writes the letters; a second one each would only double the count.
        self._dead_letter([reject for reject in rejects if reject.topic not in ENGINE_INPUTS])

    def _open(self) -> Client:
        if self._client is None:
            client = connect(self._settings, Role.WRITER)
            check_tables(client)
            self._client = client
        return self._client

    def _dead_letter(self, rejects: Sequence[Reject]) -> None:
        sent = []
        for reject in rejects:
            origin = Origin(topic=reject.topic.name, partition=reject.partition, offset=reject.record.offset)
            logger().warning("dead_letter", topic=origin.topic, offset=origin.offset, reason=reject.error.reason)
            value, headers = dead_letter(origin, reject.error, process="sink", value=reject.record.value)
            sent.append(self._producer.send_raw(DEAD_LETTERS.name, key=reject.record.key, value=value, headers=headers))
        for done in sent:
            done.result(_ACK_S)

    def close(self) -> None:
        """Let the connection go; the next write opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None


def check_tables(client: Client) -> None:
    """Compare the warehouse's columns with this release's before anything is read.

    Raises:
        SetupError: naming every column that is missing.
    """
    filled = {table: rows.column_names(table) for table in rows.TABLES} | {
        progress.TABLE: tuple(column.name for column in columns_of(progress.Progress)),
    }
    missing = []
    for table, names in filled.items():
        present = {str(row[0]) for row in client.query(f"DESCRIBE TABLE {table}").result_rows}
        missing += [f"{table}.{name}" for name in names if name not in present]
    if missing:
        raise SetupError("warehouse", f"{', '.join(missing)} not there: run the migrations of this release")
