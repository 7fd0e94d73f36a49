"""The contract on a real broker: partitions, headers, and what `topics apply` refuses."""

from random import Random

import pytest
from confluent_kafka import Producer as StockProducer
from confluent_kafka.admin import AdminClient, NewTopic
from msgspec.structs import replace

from infra.kafka import BatchProducer, Outgoing, Producer, headers, read_to_end
from infra.local.ports import free_port
from infra.provision import apply_topics, check_topics
from infra.settings import Settings
from schemas import codec
from schemas.errors import SetupError, UnavailableError
from schemas.topics import REPORTS, STATE_CHANGELOG
from tests.builders import a_report

GRIDS = [f"6101{n:011d}" for n in range(2000)]


@pytest.fixture(scope="module")
def reports(broker: Settings) -> dict[str, int]:
    """Partition of each of 2,000 grid ids, as the product's producer wrote them."""
    with Producer(broker, "test") as producer:
        for grid in GRIDS:
            report = a_report(f"r-{grid}", grid_id=grid)
            producer.send(REPORTS, key=grid, ce_id=report.report_id, at=report.occurred_at, value=report)
        assert producer.flush(30) == 0
    return {(m.key() or b"").decode(): m.partition() or 0 for m in read_to_end(broker, REPORTS)}


def test_a_grid_has_one_partition_whoever_writes(broker: Settings, reports: dict[str, int]) -> None:
    """Librdkafka with murmur2_random and aiokafka's partitioner agree on 2,000 of 2,000 grids."""
    assert reports == {grid: codec.partition_of(grid, broker.partitions) for grid in GRIDS}


def test_the_default_partitioner_would_not_do(broker: Settings, reports: dict[str, int]) -> None:
    """Librdkafka's own default puts most grids elsewhere: the setting is needed."""
    stock = StockProducer({"bootstrap.servers": broker.kafka})
    placed: dict[str, int] = {}
    for grid in GRIDS:
        stock.produce(
            "grid.state.v1", b"{}", key=grid, on_delivery=lambda _, m: placed.update({m.key().decode(): m.partition()})
        )
    stock.flush(30)

    assert sum(placed[grid] == reports[grid] for grid in GRIDS) < 0.5 * len(GRIDS)


def test_records_carry_cloudevents_and_the_brokers_time(broker: Settings, reports: dict[str, int]) -> None:
    """Headers name id, type, source and version; the timestamp is LogAppendTime."""
    message = next(read_to_end(broker, REPORTS))

    assert codec.header(headers(message), "ce_type") == "gridwatch.reports.v1"
    assert codec.header(headers(message), "ce_specversion") == "1.0"
    assert message.timestamp()[0] == 2


async def test_a_batch_says_when_the_broker_refuses_a_record(broker: Settings) -> None:
    """Sent whole and in order; a record too large for its topic is an error, whatever became of the others."""
    admin = AdminClient({"bootstrap.servers": broker.kafka})
    for created in admin.create_topics([NewTopic("small", 1, config={"max.message.bytes": "100000"})]).values():
        created.result(10)
    producer = BatchProducer(broker)
    rows = [Outgoing("small", b"k", str(n).encode(), []) for n in range(300)]

    await producer.send_all(rows)
    with pytest.raises(UnavailableError, match="MSG_SIZE_TOO_LARGE"):
        await producer.send_all([rows[0], Outgoing("small", b"k", Random(1).randbytes(200_000), []), rows[1]])

    small = replace(REPORTS, name="small")
    assert [m.value() for m in read_to_end(broker, small)][:300] == [row.value for row in rows]


def test_apply_is_idempotent(broker: Settings) -> None:
    """A second apply creates nothing."""
    assert apply_topics(broker) == []


def test_a_wrong_topic_is_named(broker: Settings) -> None:
    """A topic with another partition count stops the start-up with its name and the difference."""
    admin = AdminClient({"bootstrap.servers": broker.kafka})
    admin.delete_topics([STATE_CHANGELOG.name])[STATE_CHANGELOG.name].result(10)
    with pytest.raises(SetupError, match=f"{STATE_CHANGELOG.name} is missing"):
        check_topics(broker)
    admin.create_topics([NewTopic(STATE_CHANGELOG.name, 6, 1)])[STATE_CHANGELOG.name].result(10)

    with pytest.raises(SetupError, match=r"has 6 partitions, not 4; .* has cleanup\.policy=delete, not compact"):
        check_topics(broker)


def test_no_broker_is_said_plainly(settings: Settings) -> None:
    """A broker that is not there is unavailable, not a traceback."""
    with pytest.raises(UnavailableError, match="kafka unavailable"):
        apply_topics(settings.model_copy(update={"kafka": f"127.0.0.1:{free_port()}"}), timeout_s=1)
