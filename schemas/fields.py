"""Field types that several records share, with their bounds."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with zone")]
GridId = Annotated[str, Meta(pattern=r"^[0-9]{15}$", description="district 6 + street 3 + village 3 + grid 3 digits")]
RecordId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,80}$", description="unique id given by the source")]
CaseId = Annotated[str, Meta(pattern=r"^[0-9]{15}-[a-z2-7]{10}$", description="grid id, dash, 10 base-32 characters")]
CameraId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
PersonId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,40}$", description="roster id, never a name")]
ItemCode = Annotated[str, Meta(pattern=r"^[0-9]{5}$", description="two-level catalogue code, 2 + 3 digits")]
MediaRef = Annotated[
    str,
    Meta(pattern=r"^(photo:[0-9a-f]{64}|https?://[^\s@]{1,500})$", description="a stored photo, or where one is"),
]
Text = Annotated[str, Meta(max_length=4000)]
Millis = Annotated[int, Meta(ge=0, description="milliseconds")]
Longitude = Annotated[float, Meta(ge=-180, le=180, description="WGS-84")]
Latitude = Annotated[float, Meta(ge=-90, le=90, description="WGS-84")]
