"""Where rows go: Arrow inserts over HTTP, and dead letters for what is no row."""

from collections.abc import Sequence
from typing import Final

from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import Error

from consumers.warehouse.domain import rows
from consumers.warehouse.domain.rows import Record, Reject
from infra.clickhouse import Role, connect, fault
from infra.deadletters import Origin, dead_letter
from infra.kafka import Producer
from infra.logs import logger
from infra.settings import Settings
from schemas.errors import SetupError
from schemas.topics import DEAD_LETTERS, ENGINE_INPUTS

_ACK_S: Final = 30.0
# A late or wrong clock may spread one batch over many months; that is no reason to refuse it.
_INSERT: Final = {"max_partitions_per_insert_block": 0}


class Store:
    """Writes batches; a batch may be written again after any error, its rows stay single by their keys."""

    def __init__(self, settings: Settings, producer: Producer) -> None:
        self._settings, self._producer = settings, producer
        self._client: Client | None = None

    def write(self, records: Sequence[Record]) -> None:
        """Insert the rows of *records* and dead-letter the rest; return when both are acknowledged.

        Raises:
            UnavailableError: warehouse or broker does not answer; any part of the batch may be in.
            SetupError: the tables are not those of this release.
        """
        by_table, undecodable = rows.read(records)
        # Of its own inputs the case engine writes the letters; a second one each would only double the count.
        rejects = [reject for reject in undecodable if reject[0].topic not in ENGINE_INPUTS]
        try:
            client = self._open()
            for table, found in by_table.items():
                content, unstorable = rows.arrow(table, found)
                client.insert_arrow(table, content, settings=_INSERT)
                rejects += unstorable
        except Error as error:
            self.close()
            raise fault(error) from error
        self._dead_letter(rejects)

    def _open(self) -> Client:
        if self._client is None:
            client = connect(self._settings, Role.WRITER)
            _check_tables(client)
            self._client = client
        return self._client

    def _dead_letter(self, rejects: Sequence[Reject]) -> None:
        sent = []
        for record, error in rejects:
            logger().warning("dead_letter", topic=record.topic.name, offset=record.offset, reason=error.reason)
            origin = Origin(topic=record.topic.name, partition=record.partition, offset=record.offset)
            value, headers = dead_letter(origin, error, process="sink", value=record.value)
            sent.append(self._producer.send_raw(DEAD_LETTERS.name, key=record.key, value=value, headers=headers))
        for done in sent:
            done.result(_ACK_S)

    def close(self) -> None:
        """Let the connection go; the next write opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _check_tables(client: Client) -> None:
    """Compare the warehouse's columns with this release's before anything is read.

    Raises:
        SetupError: naming every column that is missing.
    """
    missing = []
    for table in dict.fromkeys(topic.table for topic in rows.SUNK if topic.table):
        present = {str(row[0]) for row in client.query(f"DESCRIBE TABLE {table}").result_rows}
        missing += [f"{table}.{column.name}" for column in rows.columns(table) if column.name not in present]
    if missing:
        raise SetupError("warehouse", f"{', '.join(missing)} not there: run the migrations of this release")
