"""Kafka's jars: resolved by jgo from Maven Central, each checked against the committed SHA-256.

`kafka/jgo.toml` names what we want; `kafka/jgo.lock.toml` is what that resolved to.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from jgo.env import EnvironmentBuilder, EnvironmentSpec, LockFile
from jgo.maven import MavenContext

from infra.settings import Settings
from schemas.errors import SetupError, UnavailableError

_HERE = Path(__file__).parent / "kafka"
_LOCK = _HERE / "jgo.lock.toml"


def fetch_jars(settings: Settings, progress: Callable[[int, int, str], None]) -> list[Path]:
    """Return the broker's class path; download what is not there yet.

    Args:
        settings: jars are kept in `jars_dir`, apart from anybody's Maven repository.
        progress: called with (done, all, name) after each jar.

    Raises:
        UnavailableError: a jar is missing and Maven Central cannot be reached.
        SetupError: a jar is not the one that was locked.
    """
    cache = settings.jars_dir.resolve()
    maven = MavenContext(repo_cache=cache)
    locked = LockFile.load(_LOCK).dependencies
    found = []
    for done, jar in enumerate(locked, start=1):
        path = cache.joinpath(
            *jar.groupId.split("."), jar.artifactId, jar.version, f"{jar.artifactId}-{jar.version}.jar"
        )
        if not path.exists():
            path = _download(maven, jar.groupId, jar.artifactId, jar.version)
        if sha256(path.read_bytes()).hexdigest() != jar.sha256:
            raise SetupError(str(path), "is not the locked jar; delete it and run again")
        found.append(path)
        progress(done, len(locked), path.name)
    return found


def _download(maven: MavenContext, group: str, artifact: str, version: str) -> Path:
    try:
        return Path(maven.project(group, artifact).at_version(version).artifact().resolve())
    except Exception as error:  # jgo lets the errors of requests, urllib and its own parser through
        raise UnavailableError(
            "Maven Central", f"{group}:{artifact}:{version} is not here yet and could not be fetched: {error}"
        ) from error


def lock_jars() -> int:
    """Resolve `jgo.toml` afresh, write the lock file and return the number of jars."""
    lock = EnvironmentBuilder(MavenContext()).resolve_lockfile(EnvironmentSpec.load(_HERE / "jgo.toml"))
    lock.save(_LOCK)
    return len(lock.dependencies)
