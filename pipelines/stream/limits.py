"""How many dead letters in one input are still bad records, and from when on they are a bad deploy. Pure."""

from collections import deque
from typing import Final

WINDOW: Final = 1000
MOST: Final = 50


class DeadLetterLimit:
    """Counts the records of one input partition that could not be applied."""

    def __init__(self) -> None:
        self._bad: deque[int] = deque()

    def is_exceeded_by(self, offset: int) -> bool:
        """Take one more bad record, at *offset*; tell whether the input must be stopped.

        That is when more than 50 of the last 1,000 records were bad, 5 %: one bad producer
        among many is borne, a worker that understands nothing is not.
        """
        self._bad.append(offset)
        while self._bad[0] <= offset - WINDOW:
            self._bad.popleft()
        return len(self._bad) > MOST
