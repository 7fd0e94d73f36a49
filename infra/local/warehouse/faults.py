"""What a client of the warehouse is told when its request fails: ClickHouse's code, its text, an HTTP status."""

import re
from typing import Final

from schemas.errors import GridwatchError

BAD_ARGUMENTS: Final = 36
CHECKSUM_MISMATCH: Final = 40
SYNTAX_ERROR: Final = 62
TIMEOUT_EXCEEDED: Final = 159
READONLY: Final = 164
TOO_MANY_QUERIES: Final = 202
NETWORK_ERROR: Final = 210
QUERY_ID_TAKEN: Final = 216
SESSION_IS_LOCKED: Final = 373
UNKNOWN_COMPRESSION: Final = 91
QUERY_WAS_CANCELLED: Final = 394
ACCESS_DENIED: Final = 497
AUTHENTICATION_FAILED: Final = 516
TOO_LARGE: Final = 307
UNKNOWN: Final = 1002

# The statuses ClickHouse itself answers with; every other code is a 500.
_STATUS = {
    6: 400, 27: 400, 36: 400, 40: 400, 46: 404, 47: 404, 53: 400, 60: 404, 62: 400, 81: 404, 91: 400, 115: 400,
    159: 408, 164: 403, 202: 429, 216: 409, 241: 500, 307: 413, 372: 404, 373: 409, 497: 403, 516: 403,
}  # fmt: skip
_ENGINE_TEXT = re.compile(r"Code: (\d+)\. DB::Exception: (.*)", re.S)


class QueryError(GridwatchError):
    """One request cannot be answered; the client is told why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text

    def __str__(self) -> str:
        return f"Code: {self.code}. DB::Exception: {self.text}"

    @property
    def status(self) -> int:
        """Return the HTTP status that goes with the code."""
        return _STATUS.get(self.code, 500)


def from_engine(error: Exception) -> QueryError:
    """Read code and text out of what the engine raised."""
    found = _ENGINE_TEXT.search(str(error))
    if found is None:
        return QueryError(UNKNOWN, f"{error} (UNKNOWN_EXCEPTION)")
    # The engine repeats its own prefix when an error passes through several layers.
    return QueryError(int(found[1]), re.sub(r"^(Code: \d+\. DB::Exception: )+", "", found[2]))
