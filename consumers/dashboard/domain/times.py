"""Instants as people read them: one zone for the whole page, always printed. Pure."""

from datetime import UTC, datetime, tzinfo


def local(at: datetime, zone: tzinfo) -> str:
    """Return *at* as `2026-11-23 15:20:05 (UTC+8)`."""
    there = at.astimezone(zone)
    return f"{there:%Y-%m-%d %H:%M:%S} ({zone_name(there)})"


def clock(at: datetime, zone: tzinfo) -> str:
    """Return *at* as `15:20:05`, for places beside which the zone is printed."""
    return f"{at.astimezone(zone):%H:%M:%S}"


def zone_name(there: datetime) -> str:
    """Return the offset of a local instant as `UTC+8` or `UTC+5:30`."""
    minutes = int((there.utcoffset() or UTC.utcoffset(there)).total_seconds()) // 60
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours}" + (f":{rest:02}" if rest else "")


def utc(at: datetime) -> str:
    """Return *at* as RFC 3339 in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
