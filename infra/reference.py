"""Put the district's files in force on `reference`, and read what is.

A worker takes what the latest edition names when it starts; files reach it by `publish` alone.
"""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from infra.kafka import Producer, read_to_end
from infra.settings import Settings
from schemas import codec, reference
from schemas.district_files import MAP_FILE
from schemas.errors import SetupError
from schemas.grid import District
from schemas.policy import Policy, load_policy, policy_hash
from schemas.reference import EDITION, Edition, Reference, policy_key, registry_key
from schemas.registry import load_registry, registry_hash
from schemas.topics import CASES, REFERENCE

_SEND_S = 30.0


class Publication(Struct, frozen=True, kw_only=True):
    """The edition in force, and the keys that had to be written for it."""

    edition: Edition
    written: list[str]


def records(settings: Settings, timeout_s: float = 30.0) -> dict[str, bytes]:
    """Return the latest value under each key of `reference`.

    Raises:
        UnavailableError: the broker does not answer in time.
    """
    found = read_to_end(settings, REFERENCE, timeout_s=timeout_s)
    return reference.latest((message.key(), message.value()) for message in found)


def in_force(settings: Settings, timeout_s: float = 30.0) -> Reference:
    """Return what the latest edition names.

    Raises:
        SetupError: nothing is published.
        UnavailableError: the broker does not answer in time.
    """
    return reference.assemble(records(settings, timeout_s))


def publish(settings: Settings, at: datetime) -> Publication:
    """Put the district's files in force at *at*; where they are already, nothing is written.

    Contents are acknowledged before the edition that names them, so a reader finds them together.

    Raises:
        SetupError: a file is wrong, and the text names entry and field; or a grid that has cases is
            not in it any more, and no worker could start.
        UnavailableError: the broker does not answer; the edition before is still in force.
    """
    policy, registry = _files(settings)
    wanted = Edition(policy=policy_hash(policy), registry=registry_hash(registry), published_at=at)
    contents: dict[str, Policy | District] = {
        policy_key(wanted.policy): policy,
        registry_key(wanted.registry): registry,
    }
    present = records(settings)
    before = reference.edition(present)
    if before is not None:
        _check_grids_stay(settings, reference.registry(present, before), registry)
    missing = {key: value for key, value in contents.items() if key not in present}
    with Producer(settings, "publish") as producer:
        for key, value in missing.items():
            _send(producer, key, key, at, value)
        if before is not None and replace(before, published_at=at) == wanted:
            return Publication(edition=before, written=list(missing))
        _send(producer, EDITION, f"{EDITION}:{at.isoformat()}", at, wanted)
    return Publication(edition=wanted, written=[*missing, EDITION])


def _check_grids_stay(settings: Settings, before: District | None, after: District) -> None:
    gone = {grid.id for grid in before.map.grids} - {grid.id for grid in after.map.grids} if before else set()
    if gone:  # else the topic, which only grows, is not read
        keys = ((message.key() or b"")[:15].decode() for message in read_to_end(settings, CASES))
        if kept := sorted(gone.intersection(keys)):
            raise SetupError(
                MAP_FILE, f"{', '.join(kept)}: a grid that has cases cannot go; keep it, or give it another outline"
            )


def differs(settings: Settings) -> str | None:
    """Return in what the district's files differ from what is in force; None when in nothing.

    Raises:
        SetupError: a file is wrong.
        UnavailableError: the broker does not answer.
    """
    policy, registry = _files(settings)
    found = reference.edition(records(settings))
    if found is None:
        return "nothing is in force"
    files = {"policy": policy_hash(policy), "registry": registry_hash(registry)}
    other = [name for name, ident in files.items() if getattr(found, name) != ident]
    return f"the files' {' and '.join(other)} differ from the edition in force" if other else None


def _files(settings: Settings) -> tuple[Policy, District]:
    """Return what is published of the files: people by id, without their names, which no worker needs."""
    content = load_registry(settings.district_dir).content
    nameless = [replace(person, name=None) for person in content.people]
    return load_policy(settings.district_dir), replace(content, people=nameless)


def _send(producer: Producer, key: str, ce_id: str, at: datetime, value: Policy | District | Edition) -> None:
    headers = codec.headers(REFERENCE, ce_id, at, "publish")
    sent = producer.send_raw(REFERENCE.name, key=key.encode(), value=codec.encode(value), headers=headers)
    sent.result(_SEND_S)
