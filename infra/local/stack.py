"""What the embedded stack is made of, and the run of `gridwatch up` from first start to last stop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException

from infra.clock import monotonic_s, utc_now
from infra.local import broker
from infra.local.jars import fetch_jars
from infra.local.ports import is_taken
from infra.local.summary import Summary, summarise, time_reached, work_lag
from infra.local.supervisor import Child, Part, Say, Supervisor, module
from infra.migrate import migrate_warehouse
from infra.provision import apply_topics
from infra.reference import publish
from infra.settings import Settings
from schemas.errors import SetupError, UnavailableError

PRODUCERS = ("cameras", "simulator", "intake")
CONSUMERS = ("worker", "sink", "rollups", "page", "warehouse", "broker")
_DRAIN_S = 10.0
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})


def answers(host: str, port: int, path: str) -> Callable[[Child], bool]:
    """Return a check that an HTTP address answers 200."""

    def check(_: Child) -> bool:
        connection = HTTPConnection(host, port, timeout=1)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    return check


def listens(host: str, port: int) -> Callable[[Child], bool]:
    """Return a check that something accepts connections."""
    return lambda _: is_taken(host, port)


def says(event: str) -> Callable[[Child], bool]:
    """Return a check that a process has logged *event* since it was started."""
    return lambda child: child.has_said(event)


def broker_part(settings: Settings) -> Part:
    """Return the embedded broker, fetched and formatted."""
    host, port = settings.kafka.rsplit(":", 1)
    command = tuple(broker.prepare(settings))
    return Part(name="broker", command=command, is_ready=listens(host, int(port)), shows=settings.kafka)


def warehouse_part(settings: Settings) -> Part:
    """Return the embedded warehouse."""
    ready = answers(settings.clickhouse_host, settings.clickhouse_port, "/ping")
    command = module("infra.local.warehouse")
    return Part(name="warehouse", command=command, is_ready=ready, shows=settings.clickhouse_url)


@contextmanager
def running_stores(settings: Settings, say: Say, pause: Callable[[float], None]) -> Iterator[None]:
    """Have a broker and a warehouse for the block: those that answer, or embedded ones until its end.

    Raises:
        UnavailableError: one on another machine does not answer, or an embedded one did not start.
    """
    host, port = settings.kafka.rsplit(":", 1)
    stores = (
        (host, int(port), broker_part),
        (settings.clickhouse_host, settings.clickhouse_port, warehouse_part),
    )
    missing = [(host, part) for host, port, part in stores if not is_taken(host, port)]
    if away := [host for host, _ in missing if host not in _THIS_MACHINE]:
        raise UnavailableError(", ".join(away), "does not answer")
    supervisor = Supervisor(settings, say, pause)
    try:
        supervisor.start(*(part(settings) for _, part in missing))
        yield
    finally:
        supervisor.stop(("warehouse", "broker"))


class Stack:
    """The embedded stack of one machine."""

    def __init__(
        self, settings: Settings, say: Say, pause: Callable[[float], None], simulate: tuple[str, ...] | None
    ) -> None:
        """Describe the stack; nothing starts yet.

        Args:
            settings: of every process.
            say: receives (mark, what, detail) for each event.
            pause: sleeps; raises to interrupt.
            simulate: arguments of the simulator, or None to run without one.
        """
        self._settings, self._say, self._pause = settings, say, pause
        self._simulate = simulate
        self.supervisor = Supervisor(settings, say, pause)
        self.ready_s = 0.0

    def start(self) -> None:
        """Start the stores, then everything else side by side: what comes early waits for what comes late.

        Raises:
            SetupError: another process has one of our ports.
            UnavailableError: a part did not become ready; the text says which and why.
        """
        began = monotonic_s()
        self._check_ports()
        fetch_jars(self._settings, self._progress)
        if broker.train(self._settings):
            self._say("ok", "java", f"{monotonic_s() - began:.1f} s  learned to start fast; once only")
        self.supervisor.start(broker_part(self._settings), warehouse_part(self._settings))
        self._apply_topics()
        self._publish()
        self._migrate()
        district = () if self._simulate is None else (self._district(self._simulate),)
        self.supervisor.start(*self._engine(), *district)
        self.ready_s = monotonic_s() - began

    def _check_ports(self) -> None:
        """Refuse to start beside another stack: its broker would answer for ours."""
        s = self._settings
        kafka_host, kafka_port = s.kafka.rsplit(":", 1)
        ports = {
            "kafka": (kafka_host, int(kafka_port)),
            "clickhouse_port": (s.clickhouse_host, s.clickhouse_port),
            "intake_port": (s.host, s.intake_port),
            "dashboard_port": (s.host, s.dashboard_port),
            "rtsp_port": (s.host, s.rtsp_port),
        }
        taken = [f"{name} {port}" for name, (host, port) in ports.items() if is_taken(host, port)]
        if taken:
            raise SetupError(", ".join(taken), "in use: is GridWatch running already? See gridwatch doctor")

    def _engine(self) -> tuple[Part, ...]:
        s = self._settings
        intake = answers(s.host, s.intake_port, "/readyz")
        page = answers(s.host, s.dashboard_port, "/healthz")
        return (
            Part(name="worker", command=module("pipelines"), is_ready=says("lanes_open")),
            Part(name="sink", command=module("consumers.warehouse"), is_ready=says("sink_assigned")),
            Part(name="rollups", command=module("consumers.warehouse.rollups"), is_ready=says("rollups_fresh")),
            Part(name="intake", command=module("producers.reports"), is_ready=intake, shows=s.intake_url),
            Part(
                name="page",
                command=module("consumers.dashboard"),
                is_ready=page,
                shows=f"http://{s.host}:{s.dashboard_port}",
            ),
            Part(name="cameras", command=module("producers.cameras"), is_ready=says("cameras_watched")),
        )

    def _district(self, arguments: tuple[str, ...]) -> Part:
        s = self._settings
        shows = f"rtsp://{s.host}:{s.rtsp_port}"
        street = listens(s.host, s.rtsp_port)
        return Part(name="simulator", command=module("producers.simulator", *arguments), is_ready=street, shows=shows)

    def _apply_topics(self) -> None:
        began, deadline = monotonic_s(), monotonic_s() + 30
        while True:
            try:
                created = apply_topics(self._settings, timeout_s=2.0)
                break
            except UnavailableError:
                if monotonic_s() > deadline:
                    raise
                self._pause(0.1)
        self._say("ok", "topics", f"{monotonic_s() - began:.1f} s  {len(created)} created")

    def _publish(self) -> None:
        began = monotonic_s()
        written = publish(self._settings, utc_now()).written
        self._say("ok", "district", f"{monotonic_s() - began:.1f} s  {len(written)} records published")

    def _migrate(self) -> None:
        began = monotonic_s()
        applied = migrate_warehouse(self._settings)
        self._say("ok", "tables", f"{monotonic_s() - began:.1f} s  {len(applied)} migrations applied")

    def _progress(self, done: int, of: int, name: str) -> None:
        if done == of:
            self._say("ok", "jars", f"{of} files, checksums verified")

    def run(self, seconds: float | None) -> None:
        """Look after the processes for *seconds*, or until interrupted."""
        deadline = None if seconds is None else monotonic_s() + seconds
        while deadline is None or monotonic_s() < deadline:
            self.supervisor.watch()
            self._pause(0.2)

    def finish(self) -> Summary:
        """Stop producers, let the lag drain, stop consumers, compare what independent readers saw."""
        self.supervisor.stop(PRODUCERS)
        stopped_at = utc_now()
        drained = self._until(lambda: work_lag(self._settings, "gridwatch-cases") == 0)
        drained &= self._until(lambda: min(time_reached(self._settings).values()) > stopped_at)
        self.supervisor.stop(("worker",))
        drained &= self._until(lambda: work_lag(self._settings, "gridwatch-sink") == 0)
        self.supervisor.stop(("sink",))
        summary = summarise(self._settings, ready_s=self.ready_s, unhealthy=self.supervisor.unhealthy, drained=drained)
        self.supervisor.stop(CONSUMERS)
        return summary

    def _until(self, check: Callable[[], bool]) -> bool:
        """Look after the processes until *check* holds, at most 10 s; tell whether it did."""
        deadline = monotonic_s() + _DRAIN_S
        while not check():
            if monotonic_s() > deadline:
                return False
            self.supervisor.watch()
            self._pause(0.2)
        return True

    def stop(self) -> bool:
        """Stop everything in order; tell whether each process ended by itself."""
        return self.supervisor.stop((*PRODUCERS, *CONSUMERS))
