"""The daily reconciliation, beside the sink in its process: a thread of its own, over the last day."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Final

from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from confluent_kafka import KafkaException
from msgspec.structs import asdict

from consumers.warehouse.reconcile import keep, last_kept, reconcile
from infra.clickhouse import Role, connect
from infra.clock import utc_now
from infra.logs import logger
from infra.settings import Settings
from schemas.errors import GridwatchError

EVERY: Final = timedelta(days=1)
OVER: Final = timedelta(days=1, hours=1)  # so that no record falls between two
_LOOK_EVERY_S: Final = 3600.0  # the first look is an hour after the start, too: a start has enough to do
_PATIENCE_S: Final = 600.0  # for one answer about a large table


async def every_day(settings: Settings, group: str) -> None:
    """Reconcile once a day, for as long as the task runs; whichever sink looks first does it for all."""
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            await asyncio.to_thread(reconcile_if_due, settings, group, utc_now)
        except (GridwatchError, ClickHouseError, KafkaError, KafkaException) as error:
            logger().error("reconciliation_put_off", reason=str(error))


def reconcile_if_due(settings: Settings, group: str, now: Callable[[], datetime]) -> bool:
    """Compare the last day's records with the tables unless that was done within a day; tell whether it was done now.

    Raises:
        UnavailableError: broker or warehouse does not answer.
        SetupError: the tables are not those of this release.
    """
    with closing(connect(settings, Role.WRITER, timeout_s=_PATIENCE_S)) as client:
        at, last = now(), last_kept(client)
        if last is not None and at - last < EVERY:
            return False
        findings = asyncio.run(reconcile(settings, client, group=group, since=at - OVER))
        keep(client, at, findings)
    for finding in findings:
        if not finding.is_right:
            logger().error("sink_rows_wrong", **asdict(finding))
    logger().info("sink_reconciled", records=sum(finding.records for finding in findings))
    return True
