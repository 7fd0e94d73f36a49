"""The error tree, split by what the caller does with an error.

    GridwatchError
    ├── RecordError       this record can never be processed: dead-letter it
    ├── UnavailableError  another process did not answer: retry with back-off
    │   └── OverloadedError   it takes no more for now, and took nothing of this
    └── SetupError        the deployment is wrong: stop, exit code 78

A `RecordError` carries a machine-readable `reason` (it becomes the dead
letter's header) and, where one is at fault, the `field`.
"""

from typing import Final

EXIT_SETUP: Final = 78  # sysexits.h EX_CONFIG: restarting cannot help
EXIT_CRASH: Final = 70  # sysexits.h EX_SOFTWARE: the supervisor restarts with back-off


class GridwatchError(Exception):
    """Root of every error this product raises on purpose."""


class RecordError(GridwatchError):
    """One record cannot be processed, now or on any retry."""

    def __init__(self, reason: str, detail: str, field: str | None = None) -> None:
        super().__init__(reason, detail, field)
        self.reason, self.detail, self.field = reason, detail, field

    def __str__(self) -> str:
        at = f" at {self.field}" if self.field else ""
        return f"{self.reason}{at}: {self.detail}"


class UnavailableError(GridwatchError):
    """Another process (broker, warehouse, camera) did not answer; the act may or may not have happened."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(what, detail)
        self.what, self.detail = what, detail

    def __str__(self) -> str:
        return f"{self.what} unavailable: {self.detail}"


class OverloadedError(UnavailableError):
    """A store is at its limit; the act has not happened."""


class SetupError(GridwatchError):
    """The deployment or its data files are wrong; only a person can help."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(what, detail)
        self.what, self.detail = what, detail

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}"
