"""`gridwatch backup` and `gridwatch restore`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console

from infra.backup import run
from infra.clock import utc_now
from infra.local.stack import running_stores
from infra.settings import Settings
from infra.show import Json, show

_err = Console(stderr=True, highlight=False)


def backup(directory: Path, *, json: Json = False) -> None:
    """Copy topics, committed offsets, tables, photos and reports under way into a new directory, hashes beside them.

    The stack may run meanwhile; broker and warehouse are started for as long as it takes if they do not.
    The directory holds names, phones and the secret of follow codes: keep it as you keep those.

    Args:
        directory: must not be there yet; it appears when it is whole.
        json: print what it holds as one JSON object.
    """
    settings = Settings()
    with _stores(settings):
        found = run.backup(settings, directory, utc_now(), _say)
    show(msgspec.to_builtins(found), as_json=json)


def restore(directory: Path, *, replace: Annotated[bool, Parameter(negative="")] = False, json: Json = False) -> None:
    """Put a backup back, every hash checked first; stop everything but broker and warehouse before.

    Args:
        directory: of the backup.
        replace: delete what is there; without it only an empty place is taken.
        json: print what was put back as one JSON object.
    """
    settings = Settings()
    with _stores(settings):
        found = run.restore(settings, directory, _say, replace=replace)
    show(msgspec.to_builtins(found), as_json=json)


@contextmanager
def _stores(settings: Settings) -> Iterator[None]:
    with running_stores(settings, lambda _, what, detail: _say(what, detail), time.sleep):
        yield


def _say(what: str, detail: str) -> None:
    _err.print(f"{what:>10}  {detail}", markup=False)
