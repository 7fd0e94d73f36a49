"""Kafka's jars: resolved by jgo from Maven Central, each checked against the committed SHA-256.

`kafka/jgo.toml` names what we want; `kafka/jgo.lock.toml` is what that resolved to.
"""

import tomllib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from infra.settings import Settings
from schemas.errors import SetupError, UnavailableError

_HERE = Path(__file__).parent / "kafka"
LOCK = _HERE / "jgo.lock.toml"


def fetch_jars(settings: Settings, progress: Callable[[int, int, str], None]) -> list[Path]:
    """Return the broker's class path; download what is not there yet.

    Args:
        settings: jars are kept in `jars_dir`, apart from anybody's Maven repository.
        progress: called with (done, all, name) after each jar.

    Raises:
        UnavailableError: a jar is missing and Maven Central cannot be reached.
        SetupError: a jar is not the one that was locked.
    """
    locked = tomllib.loads(LOCK.read_text(encoding="utf-8"))["dependencies"]
    found = []
    for done, entry in enumerate(locked, start=1):
        jar = Jar(
            group=entry["groupId"], artifact=entry["artifactId"], version=entry["version"], sha256=entry["sha256"]
        )
        found.append(fetch_jar(settings, jar))
        progress(done, len(locked), found[-1].name)
    return found


class Jar(Struct, frozen=True, kw_only=True):
    """One jar of Maven Central, by its coordinates and what it must be."""

    group: str
    artifact: str
    version: str
    sha256: str
    classifier: str = ""


def fetch_jar(settings: Settings, jar: Jar) -> Path:
    """Return where *jar* is; download it when it is not there yet. Raises as `fetch_jars` does."""
    cache = settings.jars_dir.resolve()
    name = "-".join(filter(None, (jar.artifact, jar.version, jar.classifier)))
    path = cache.joinpath(*jar.group.split("."), jar.artifact, jar.version, f"{name}.jar")
    if not path.exists():
        path = _download(cache, jar)
    if sha256(path.read_bytes()).hexdigest() != jar.sha256:
        raise SetupError(str(path), "is not the locked jar; delete it and run again")
    return path


def _download(cache: Path, jar: Jar) -> Path:
    from jgo.maven import MavenContext  # noqa: PLC0415 - takes 0.4 s, and most starts download nothing

    try:
        of = MavenContext(repo_cache=cache).project(jar.group, jar.artifact).at_version(jar.version)
        return Path(of.artifact(classifier=jar.classifier).resolve())
    except Exception as error:  # jgo lets the errors of requests, urllib and its own parser through
        raise UnavailableError(
            "Maven Central",
            f"{jar.group}:{jar.artifact}:{jar.version} is not here yet and could not be fetched: {error}",
        ) from error


def lock_jars() -> int:
    """Resolve `jgo.toml` afresh, write the lock file and return the number of jars."""
    from jgo.env import EnvironmentBuilder, EnvironmentSpec  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    lock = EnvironmentBuilder(MavenContext()).resolve_lockfile(EnvironmentSpec.load(_HERE / "jgo.toml"))
    lock.save(LOCK)
    return len(lock.dependencies)
