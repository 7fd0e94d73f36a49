"""`gridwatch replay`: dead letters go back."""

import time
from collections import Counter
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from infra.clock import utc_now
from infra.deadletters import Origin
from infra.replay import letters
from infra.replay.letters import Finding, Selection, State
from infra.settings import Settings
from infra.show import Json, show
from infra.topics.commands import topic_named
from schemas.errors import SetupError

_err = Console(stderr=True, highlight=False)


def replay(
    *,
    reason: Annotated[list[str] | None, Parameter(negative="")] = None,
    topic: str | None = None,
    partition: int | None = None,
    offset: int | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = 20,
    attempts: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    rate: Annotated[float, Parameter(validator=Number(gt=0))] = 10.0,
    yes: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Put the records of dead letters back on their topics; without --yes only show which.

    A record is never replayed twice: run it as often as you like. docs/operations.md tells when.

    Args:
        reason: only letters with this reason; may be given several times.
        topic: only records of this topic; `.v1` may be left out.
        partition: only records of this partition.
        offset: only the record at this offset.
        since: only letters written since then: `2h`, `90m`, `7d` ago, or RFC 3339 with zone.
        until: only letters written before then.
        limit: replay this many at most, oldest first.
        attempts: how often one record may be replayed; more than once only by asking.
        rate: records a second.
        yes: do it.
        json: print one object a letter and line; never what a record holds.
    """
    settings = Settings()
    selection = Selection(
        reasons=frozenset(reason or ()),
        topic=topic_named(topic).name if topic else None,
        partition=partition,
        offset=offset,
        since=_instant("--since", since),
        until=_instant("--until", until),
    )
    found = letters.find(settings, selection, attempts=attempts, limit=limit)
    put_back: set[Origin] = set()
    try:
        if yes:
            for origin in letters.put_back(settings, found, rate_per_s=rate, sleep=time.sleep):
                put_back.add(origin)
    except KeyboardInterrupt:
        pass  # another run goes on from here
    finally:
        _show_letters(found, put_back, as_json=json)


def _show_letters(found: list[Finding], put_back: set[Origin], *, as_json: bool) -> None:
    """Show each letter to a script; to a person those that are ready, and how many stand otherwise."""
    states = [State.REPLAYED if finding.letter.origin in put_back else finding.state for finding in found]
    if as_json:
        for finding, state in zip(found, states, strict=True):
            show(letters.row(finding, state), as_json=True)
    elif ready := [
        letters.short_row(finding, state)
        for finding, state in zip(found, states, strict=True)
        if finding.state is State.READY
    ]:
        show(ready, as_json=False)
    counts = Counter(states)
    _err.print(", ".join(f"{n} {state}" for state, n in counts.items()) or "no dead letter matches")


def _instant(option: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else letters.instant(text, utc_now())
    except (ValueError, OverflowError) as error:
        raise SetupError(option, f"{text!r} is neither 90m, 2h or 7d nor an instant like 2026-03-09T09:00Z") from error
