"""`gridwatch topics …` and `gridwatch tail`: the contract, and what is on it."""

import json
import os
import sys
from typing import Any

import cyclopts
from confluent_kafka import Consumer, KafkaException

from infra.kafka import consumer, headers
from infra.provision import apply_topics
from infra.settings import Settings
from infra.show import Json, out, show
from schemas.errors import SetupError, UnavailableError
from schemas.topics import BY_NAME, TOPICS, Topic

app = cyclopts.App(name="topics", help="Kafka topics as code.")

_BROKER_S = 10.0  # a person waits no longer for a broker that is not there


@app.command
def apply() -> None:
    """Create the topics that are missing; the rest must already be right."""
    created = apply_topics(Settings(), timeout_s=_BROKER_S)
    out.print(f"{len(created)} created, {len(TOPICS) - len(created)} already right")


@app.command(name="list")
def list_topics(*, json: Json = False) -> None:
    """Show the contract: every topic, its key, who writes it."""
    rows = [
        {"topic": t.name, "key": t.key, "writer": t.writer, "cleanup": t.cleanup, "zh": t.zh, "en": t.en}
        for t in TOPICS
    ]
    show(rows, as_json=json)


def tail(topic: str, *, limit: int | None = None, from_beginning: bool = False, json: Json = False) -> None:
    """Follow a topic: one line a record.

    Args:
        topic: its name; `.v1` may be left out.
        limit: stop after this many records.
        from_beginning: start at the earliest record, not at the end.
        json: print each record with its coordinates and headers as one JSON object.
    """
    name = topic_named(topic).name
    if BY_NAME[name].restricted:
        raise SetupError(name, "is restricted: it may hold personal data")
    start = "earliest" if from_beginning else "latest"
    reader = consumer(Settings(), f"gridwatch-tail-{os.getpid()}", **{"auto.offset.reset": start})
    shown = 0
    try:
        _check_is_there(reader, name)  # what is not there would be waited for in silence
        reader.subscribe([name])
        while limit is None or shown < limit:
            message = reader.poll(0.5)
            if message is not None and message.error() is None:
                shown += 1
                sys.stdout.write(_line(message, as_json=json) + "\n")
                sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    finally:
        reader.close()


def topic_named(name: str) -> Topic:
    """Return one of our topics; `.v1` may be left out.

    Raises:
        SetupError: there is no such topic.
    """
    found = BY_NAME.get(name) or BY_NAME.get(f"{name}.v1")
    if found is None:
        raise SetupError(name, "is no topic of ours; gridwatch topics list shows them")
    return found


def _check_is_there(reader: Consumer, topic: str) -> None:
    try:
        found = reader.list_topics(topic, timeout=_BROKER_S).topics[topic]
    except KafkaException as error:
        raise UnavailableError("kafka", str(error)) from error
    if found.error is not None:
        raise SetupError(topic, "is not on the broker; gridwatch topics apply creates it")


def _line(message: Any, *, as_json: bool) -> str:
    value = (message.value() or b"").decode(errors="replace")
    if not as_json:
        return f"{message.partition()}/{message.offset()} {value}"
    named = {name: (content or b"").decode(errors="replace") for name, content in headers(message)}
    key = (message.key() or b"").decode(errors="replace")
    record = {"partition": message.partition(), "offset": message.offset(), "key": key, "headers": named}
    return json.dumps(record | {"value": value}, ensure_ascii=False)
