"""What the roll-ups are, and the SQL that writes the changed hours of one again. Pure.

A roll-up `r_x` has the columns of the view `v_x`, which is its definition. Its rows belong to buckets (hours, minutes,
days). When parts of a source table have rows that were not there before, the buckets they touch are computed again from
the view and put in with whole months replaced at once: a reader sees a month before or after, never between, and a row
inserted twice changes nothing. Sums over inserts (incremental views) would drift after kills.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

_SHORTEST_S: Final = 5.0
_LONGEST_S: Final = 20.0


class RollUp(Struct, frozen=True, kw_only=True):
    """One roll-up: its bucket column, and for each source table the bucket of a row."""

    name: str
    bucket: str
    sources: dict[str, str]

    @property
    def table(self) -> str:
        """Return what dashboards read."""
        return f"r_{self.name}"

    @property
    def next_table(self) -> str:
        """Return where months are prepared; there only during a refresh."""
        return f"r_{self.name}_next"

    @property
    def touched_table(self) -> str:
        """Return where the buckets to write are listed; there only during a refresh."""
        return f"r_{self.name}_touched"


ROLL_UPS: Final = (
    RollUp(name="case_hours", bucket="hour", sources={"case_events": "toStartOfHour(at)"}),
    RollUp(name="case_stages", bucket="opened_on", sources={"cases": "toDate(opened_at)"}),
    RollUp(name="alert_hours", bucket="hour", sources={"alerts": "toStartOfHour(at)"}),
    RollUp(name="camera_hours", bucket="hour", sources={"camera_telemetry": "toStartOfHour(observed_at)"}),
    RollUp(
        name="watch_hours",
        bucket="hour",
        sources={
            "camera_telemetry": "toStartOfHour(observed_at)",
            "reports": "toStartOfHour(received_at)",
            "visits": "toStartOfHour(received_at)",
            "case_events": "toStartOfHour(at)",
        },
    ),
    RollUp(
        name="topic_minutes",
        bucket="minute",
        sources={
            "reports": "toStartOfMinute(received_at)",
            "case_commands": "toStartOfMinute(requested_at)",
            "visits": "toStartOfMinute(received_at)",
            "camera_events": "toStartOfMinute(occurred_at)",
            "camera_telemetry": "toStartOfMinute(observed_at)",
            "case_events": "toStartOfMinute(at)",
            "case_results": "toStartOfMinute(decided_at)",
            "alerts": "toStartOfMinute(at)",
            "dead_letters": "toStartOfMinute(appended_at)",
        },
    ),
)


class Part(Struct, frozen=True, kw_only=True):
    """One active part of a source table."""

    table: str
    uuid: str  # of the table: another table under the same name starts anew
    partition: str
    name: str
    block: int  # greatest block number in it, or of the mutation that rewrote it

    @property
    def place(self) -> str:
        """Return where its block numbers grow."""
        return f"{self.table}/{self.uuid}/{self.partition}"


Seen = Mapping[str, int]  # greatest block by place


def seen_after(parts: Iterable[Part]) -> dict[str, int]:
    """Return what has been seen once *parts* are."""
    seen: dict[str, int] = {}
    for part in parts:
        seen[part.place] = max(part.block, seen.get(part.place, 0))
    return seen


def is_from_scratch(parts: Sequence[Part], seen: Seen) -> bool:
    """Tell whether everything is to be written: rows seen before may be gone, or nothing was seen."""
    if not seen:
        return bool(parts)
    return not set(seen) <= {part.place for part in parts}


def pause_s(took_s: float) -> float:
    """Return how long to wait after a refresh of *took_s* seconds: a fifth of the time is work, 30 s old is too old."""
    return min(max(_SHORTEST_S, 4 * took_s), _LONGEST_S)


def known_parts(parts: Iterable[Part], seen: Seen) -> dict[str, list[str]]:
    """Return by table the parts that hold nothing new.

    The buckets of all *other* parts are written again, not of those that are new by name: a
    part that merged meanwhile has another name, and would be missed.
    """
    known: dict[str, list[str]] = {}
    for part in parts:
        if part.block <= seen.get(part.place, -1):
            known.setdefault(part.table, []).append(part.name)
    return known


def changed_tables(parts: Iterable[Part], seen: Seen) -> set[str]:
    """Return the tables with parts that hold something new."""
    return {part.table for part in parts if part.block > seen.get(part.place, -1)}


def touched(rollup: RollUp, tables: Iterable[str], known: Mapping[str, Sequence[str]]) -> str:
    """Return the query of the buckets that *tables* touch outside of the *known* parts."""
    queries = []
    for table in sorted(tables):
        names = ", ".join(f"'{name}'" for name in known.get(table, ()))
        where = f" WHERE _part NOT IN ({names})" if names else ""
        queries.append(f"SELECT DISTINCT {rollup.sources[table]} AS bucket FROM {table}{where}")  # noqa: S608 - ours
    return " UNION DISTINCT ".join(queries)


def computed(rollup: RollUp, first: str, last: str) -> str:
    """Return the insert that prepares the touched buckets anew.

    *first* and *last* are the least and greatest of them: they let the engine leave out months and granules, which a
    set that is only known at run time does not.
    """
    return (
        f"INSERT INTO {rollup.next_table} SELECT * FROM v_{rollup.name}"  # noqa: S608 - ours
        f" WHERE {rollup.bucket} IN (SELECT bucket FROM {rollup.touched_table})"
        f" AND {rollup.bucket} BETWEEN '{first}' AND '{last}'"
    )


def kept(rollup: RollUp) -> str:
    """Return the insert that takes over the other buckets of every month with a touched one."""
    return (
        f"INSERT INTO {rollup.next_table} SELECT * FROM {rollup.table}"  # noqa: S608 - ours
        f" WHERE {rollup.bucket} NOT IN (SELECT bucket FROM {rollup.touched_table})"
        f" AND toYYYYMM({rollup.bucket}) IN (SELECT DISTINCT toYYYYMM(bucket) FROM {rollup.touched_table})"
    )


def replaced(rollup: RollUp, months: Iterable[str], vanished: Iterable[str]) -> str | None:
    """Return the statement that puts the prepared months in and takes those out that have no rows any more."""
    changes = [f"REPLACE PARTITION ID '{month}' FROM {rollup.next_table}" for month in sorted(months)]
    changes += [f"DROP PARTITION ID '{month}'" for month in sorted(vanished)]
    return f"ALTER TABLE {rollup.table} {', '.join(changes)}" if changes else None
