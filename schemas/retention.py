"""How long the warehouse keeps the rows of each table: `retention.toml` of a district directory."""

import tomllib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from schemas.errors import SetupError

RETENTION_FILE: Final = "retention.toml"
_SHIPPED: Final = Path(__file__).parent / "district" / RETENTION_FILE


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of one table."""

    time: Annotated[str, Meta(pattern=r"^[a-z_]+$", description="column that tells how old a row is")]
    days: Annotated[int, Meta(ge=1)] | None = None  # None: for ever


Retentions = dict[Annotated[str, Meta(pattern=r"^[a-z_]+$")], Retention]


def load_retention(directory: Path) -> Retentions:
    """Read the file of *directory*; a district that has none keeps what the shipped one keeps.

    Raises:
        SetupError: it is no TOML, or a field is wrong; the text says which.
    """
    path = directory / RETENTION_FILE
    try:
        content = tomllib.loads((path if path.exists() else _SHIPPED).read_text(encoding="utf-8"))
        return msgspec.convert(content, Retentions)
    except (OSError, ValueError) as error:  # TOML's and msgspec's errors are ValueErrors
        raise SetupError(RETENTION_FILE, str(error)) from error
