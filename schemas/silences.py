"""What keeps alerts quiet for a while: road works, a festival, a street without power."""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.alerts import AlertKind
from schemas.fields import CameraId, GridId, Instant, PersonId, RecordId, Text


class Silence(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A silence as one grid has it, on `silences`: firing alerts of these kinds wait for its end in [since, until).

    One for a street is a record for each of its grids, all under one id; sent again under that id it replaces what
    was, so an earlier `until` ends it.
    """

    silence_id: RecordId
    grid_id: GridId
    kinds: Annotated[list[AlertKind], Meta(min_length=1, description="of alerts that a rule of the policy governs")]
    cameras: Annotated[list[CameraId], Meta(description="these alone; none: every one of the grid")] = []
    since: Instant
    until: Instant
    author: PersonId
    reason: Annotated[Text, Meta(min_length=1)]
