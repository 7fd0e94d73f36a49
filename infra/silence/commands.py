"""`gridwatch silence …`: keep alerts of cameras quiet for a while, and see what is."""

from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import cyclopts
import msgspec
from cyclopts import Parameter
from msgspec.structs import replace

from infra.clock import utc_now
from infra.kafka import Producer, read_to_end
from infra.reference import in_force
from infra.settings import Settings
from infra.show import Json, show
from schemas import codec
from schemas.alerts import AlertKind
from schemas.calendar import load_calendar
from schemas.errors import RecordError, SetupError
from schemas.registry import Registry, load_registry
from schemas.silences import Silence
from schemas.topics import SILENCES

app = cyclopts.App(name="silence", help="Keep alerts of cameras quiet for a while: road works, a street without power.")

_SEND_S = 30.0


@app.command
def add(
    area: str,
    *,
    until: datetime,
    author: str,
    reason: str,
    since: datetime | None = None,
    kind: Annotated[list[AlertKind] | None, Parameter(negative="")] = None,
    camera: Annotated[list[str] | None, Parameter(negative="")] = None,
    json: Json = False,
) -> None:
    """Silence an area: what lasts beyond the end fires then, and what was told before still gets its end.

    It counts for running workers within a second. Alerts of deadlines cannot be silenced.

    Args:
        area: code of a grid, village, street or the district.
        until: its end; without a zone, in the district's.
        author: roster id of who answers for it.
        reason: why, for whoever looks.
        since: its beginning; without it, now.
        kind: of alerts, several times; without it, all that the policy in force has rules for.
        camera: of the area, several times; without it, all of them.
        json: print one object.
    """
    settings, now = Settings(), utc_now()
    registry = load_registry(settings.district_dir)
    zone = ZoneInfo(load_calendar(settings.district_dir).zone)
    first, last = ((at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC) for at in (since or now, until))
    chosen = _by_grid(registry, area, camera)
    if author not in registry.people:
        raise SetupError("--author", f"{author} is not on the roster")
    if last <= max(first, now):
        raise SetupError("--until", "is over before it begins")
    if last > now + timedelta(milliseconds=SILENCES.retention_ms):
        raise SetupError("--until", "is later than the topic remembers, and could not be ended; make another one then")
    kinds = _kinds(settings, kind)
    ident = f"{area}-{now:%Y%m%dT%H%M%S%f}"
    silences = [
        Silence(
            silence_id=ident,
            grid_id=grid_id,
            kinds=kinds,
            cameras=cameras,
            since=first,
            until=last,
            author=author,
            reason=reason,
        )
        for grid_id, cameras in chosen.items()
    ]
    _send(settings, _checked(silences), now)
    show(_row(silences), as_json=json)


@app.command
def end(silence_id: str, *, json: Json = False) -> None:
    """End a silence now.

    Args:
        silence_id: as `list` shows it.
        json: print one object.
    """
    settings, now = Settings(), utc_now()
    found = [silence for silence in _known(settings).get(silence_id, ()) if silence.until > now]
    if not found:
        raise SetupError(silence_id, "is no silence, or is over")
    ended = [replace(silence, until=now) for silence in found]
    _send(settings, ended, now)
    show(_row(ended), as_json=json)


@app.command(name="list")
def list_silences(*, every: Annotated[bool, Parameter(name="--all", negative="")] = False, json: Json = False) -> None:
    """Show the silences that are not over.

    Args:
        every: those too that are, as far as the topic goes back.
        json: print a list.
    """
    now = utc_now()
    found = [group for group in _known(Settings()).values() if every or max(each.until for each in group) > now]
    show([_row(group) for group in found], as_json=json)


def _by_grid(registry: Registry, area: str, cameras: list[str] | None) -> dict[str, list[str]]:
    """Return the grids of *area* that are meant, each with the cameras that are, or none for all of them."""
    if area not in {*registry.places, *registry.grids}:
        raise SetupError("area", f"{area} is no grid, village, street or district")
    grids = [grid_id for grid_id in registry.grids if grid_id.startswith(area)]
    if cameras is None:
        return {grid_id: [] for grid_id in grids}
    found = {grid_id: [c.id for c in registry.cameras_of.get(grid_id, []) if c.id in cameras] for grid_id in grids}
    if missing := set(cameras) - {camera for group in found.values() for camera in group}:
        raise SetupError("--camera", f"{', '.join(sorted(missing))}: not in {area}")
    return {grid_id: group for grid_id, group in found.items() if group}


def _checked(silences: list[Silence]) -> list[Silence]:
    try:
        return msgspec.convert(msgspec.to_builtins(silences), list[Silence])
    except msgspec.ValidationError as error:
        raise SetupError("silence", str(error)) from error


def _kinds(settings: Settings, asked: list[AlertKind] | None) -> list[AlertKind]:
    """Return the kinds to silence: those asked for, or all that have a rule."""
    found = in_force(settings)
    ruled = list(found.policies[found.edition.policy].alert_rules)
    without = [kind for kind in asked or () if kind not in ruled]
    if without or not ruled:
        raise SetupError("--kind", f"{', '.join(without) or 'any'}: the policy in force has no rule to hold it back by")
    return asked or ruled


def _known(settings: Settings) -> dict[str, list[Silence]]:
    """Return every silence by its id, as its grids have it now."""
    found: dict[str, dict[str, Silence]] = defaultdict(dict)
    for message in read_to_end(settings, SILENCES):
        with suppress(RecordError):
            silence: Silence = codec.decode(SILENCES, message.value())
            found[silence.silence_id][silence.grid_id] = silence
    return {ident: list(by_grid.values()) for ident, by_grid in found.items()}


def _send(settings: Settings, silences: list[Silence], at: datetime) -> None:
    """Send a record for each grid; return when the broker has all of them."""
    with Producer(settings, "silence") as producer:
        sent = [
            producer.send(
                SILENCES,
                key=silence.grid_id,
                ce_id=f"{silence.silence_id}/{silence.grid_id}/{silence.until.isoformat()}",
                at=at,
                value=silence,
            )
            for silence in silences
        ]
        for each in sent:
            each.result(_SEND_S)


def _row(silences: list[Silence]) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(silences[0])
    row.pop("grid_id")
    cameras = [camera for silence in silences for camera in silence.cameras]
    return row | {"kinds": ", ".join(silences[0].kinds), "cameras": ", ".join(cameras), "grids": len(silences)}
