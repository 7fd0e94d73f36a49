"""What can be wrong with this machine or the stack, looked at one by one."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from infra.kafka import group_lag
from infra.provision import check_topics
from infra.reference import differs
from infra.settings import Settings
from schemas.errors import GridwatchError, SetupError
from schemas.policy import load_policy
from schemas.registry import load_registry

_FREE_BYTES = 2 << 30


class Check(Struct, frozen=True, kw_only=True):
    """One thing looked at."""

    name: str
    ok: bool
    detail: str


def examine(settings: Settings) -> list[Check]:
    """Look at everything; nothing is changed. A stack that is not running is not a fault."""
    checks = [_look("district", lambda: _district(settings)), _disk(settings), _kept(settings), _jars(settings)]
    if _listens(settings.kafka):
        checks.append(_look("topics", lambda: _topics(settings)))
        checks.append(_look("edition", lambda: _edition(settings)))
        checks.append(_look("lag", lambda: str(group_lag(settings, "gridwatch-cases"))))
    else:
        checks.append(Check(name="broker", ok=True, detail=f"not running at {settings.kafka}"))
    return checks


def _look(name: str, act: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, detail=act())
    except GridwatchError as error:
        return Check(name=name, ok=False, detail=str(error))


def _district(settings: Settings) -> str:
    registry, policy = load_registry(settings.district_dir), load_policy(settings.district_dir)
    return f"{len(registry.grids)} grids, {len(registry.cameras)} cameras, {len(policy.items)} items"


def _topics(settings: Settings) -> str:
    check_topics(settings)
    return "as the contract says"


def _edition(settings: Settings) -> str:
    other = differs(settings)
    if other is not None:
        raise SetupError("district", f"{other}; gridwatch publish puts the files in force")
    return "in force as the files say"


def _disk(settings: Settings) -> Check:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.data_dir).free
    return Check(name="disk", ok=free > _FREE_BYTES, detail=f"{free >> 30} GiB free in {settings.data_dir}")


def _kept(settings: Settings) -> Check:
    """Compare what the embedded broker keeps with its limit; the ledger is kept for ever, so nothing deletes it."""
    kept, limit = _size(settings.data_dir / "kafka") >> 20, settings.kafka_limit_mib
    return Check(name="broker data", ok=kept < limit, detail=f"{kept} MiB of {limit} MiB")


def _size(directory: Path) -> int:
    """Return the bytes on disk; Kafka reserves index files that are mostly holes."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def _jars(settings: Settings) -> Check:
    count = len(list(settings.jars_dir.rglob("*.jar")))
    return Check(name="jars", ok=count > 0, detail=f"{count} in {settings.jars_dir} (gridwatch fetch gets them)")


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise SetupError("kafka", f"{address!r} is not host:port")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0
