"""What travels on `reference`: contents under their hash, and the edition that says which are in force.

    policy:<hash>    a `Policy`; every one is kept, since open cases hold the one they were opened under
    registry:<hash>  a `District`, without people's names
    edition          an `Edition`; the latest counts

Contents come first and are acknowledged before the edition that names them, so whoever reads the
topic finds what the edition promises, whenever the publisher died.
"""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from schemas.errors import SetupError
from schemas.fields import Instant
from schemas.grid import District
from schemas.policy import Policy

EDITION: Final = "edition"
_POLICY: Final = "policy:"
_REGISTRY: Final = "registry:"

Hash = Annotated[str, Meta(pattern="^[0-9a-f]{16}$", description="first 16 hex digits of SHA-256")]


class Edition(Struct, frozen=True, kw_only=True):
    """Which contents are in force, and since when."""

    policy: Hash
    registry: Hash
    published_at: Instant


class Reference(Struct, frozen=True, kw_only=True):
    """The topic as one value."""

    edition: Edition
    policies: dict[str, Policy]  # by hash, those of past editions too
    registry: District  # of the edition


def policy_key(ident: str) -> str:
    """Return the key of the policy with content address *ident*."""
    return _POLICY + ident


def registry_key(ident: str) -> str:
    """Return the key of the registry with content address *ident*."""
    return _REGISTRY + ident


def policies(records: dict[str, bytes]) -> dict[str, Policy]:
    """Return every policy of the topic by its hash."""
    found = ((key.removeprefix(_POLICY), value) for key, value in records.items() if key.startswith(_POLICY))
    return {ident: msgspec.json.decode(value, type=Policy) for ident, value in found}


def edition(records: dict[str, bytes]) -> Edition | None:
    """Return the edition in force, or None while nothing was ever published."""
    value = records.get(EDITION)
    return None if value is None else msgspec.json.decode(value, type=Edition)


def registry(records: dict[str, bytes], of: Edition) -> District | None:
    """Return the registry of an edition, or None when it is not there."""
    value = records.get(registry_key(of.registry))
    return None if value is None else msgspec.json.decode(value, type=District)


def assemble(records: dict[str, bytes]) -> Reference:
    """Return what the latest value under each key of the topic adds up to.

    Only the registry in force is read; those of past editions are for whoever looks back.

    Raises:
        SetupError: nothing is published, or a content that the edition names is not there.
    """
    found = edition(records)
    if found is None:
        raise SetupError("reference", "nothing is in force; gridwatch publish puts the district's files there")
    known, content = policies(records), registry(records, found)
    if found.policy not in known or content is None:
        raise SetupError("reference", f"a content of the edition of {found.published_at.isoformat()} is missing")
    return Reference(edition=found, policies=known, registry=content)


def latest(records: Iterable[tuple[bytes | None, bytes | None]]) -> dict[str, bytes]:
    """Return the last value under each key, without those that were taken back."""
    found: dict[str, bytes] = {}
    for key, value in records:
        if key is not None and value is not None:
            found[key.decode()] = value
        elif key is not None:
            found.pop(key.decode(), None)
    return found
