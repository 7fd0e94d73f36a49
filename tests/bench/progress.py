"""How a contender tells the stage where it is: one JSON object a line on its standard output."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from infra.clock import utc_now


def now_ms() -> float:
    """Return the wall clock in ms, as the broker's append times have it."""
    return utc_now().timestamp() * 1000


def say(event: str, **fields: Any) -> None:
    """Tell the stage that *event* happens now."""
    sys.stdout.write(json.dumps({"event": event, "at_ms": now_ms(), **fields}) + "\n")
    sys.stdout.flush()


class Progress:
    """Counts records that passed the aggregate and says `first` and `last`.

    `first` carries how many had passed by then: a rate counts those that came after it.
    """

    def __init__(self, records: int) -> None:
        """Expect *records* of them."""
        self._records, self.seen = records, 0

    def add(self, records: int) -> bool:
        """Count *records* more; tell whether they were the last."""
        before, self.seen = self.seen, self.seen + records
        if not before and records:
            say("first", records=records)
        return before < self._records <= self.seen

    def done(self, cells: Mapping[str, Any]) -> None:
        """Say `last`, then what was computed: a stage believes no rate without it."""
        say("last", records=self.seen)
        say("cells", cells=dict(cells))
