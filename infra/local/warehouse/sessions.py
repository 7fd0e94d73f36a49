"""HTTP sessions: what SET, USE and CREATE TEMPORARY TABLE leave behind for the same user's next request.

Nearly every client names a session and never uses it, so a connection is kept only from the
first statement that changes one. One request at a time owns a session: the next waits up
to a second, because a client may ask again before the last answer has been tidied away.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from infra import clock
from infra.local.warehouse.faults import SESSION_IS_LOCKED, TOO_MANY_QUERIES, QueryError

DEFAULT_TIMEOUT_S: Final = 60.0
MAX_TIMEOUT_S: Final = 3600.0
_LOCK_WAIT_S: Final = 1.0
_MAX_SESSIONS: Final = 200


class Session:
    """One session; `connection` is None until a statement has changed it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.connection: Any = None
        self.requests = 0  # running or waiting
        self.ends_at_s = 0.0


class Sessions:
    """The open sessions of all users."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Session] = {}

    @asynccontextmanager
    async def hold(self, user: str, name: str, timeout_s: float) -> AsyncIterator[Session]:
        """Own the session for one request; it ends *timeout_s* seconds after the last one.

        Raises:
            QueryError: another request has owned it for a second, or too many sessions are open.
        """
        self._drop_ended(clock.monotonic_s())
        session = self._open.setdefault((user, name), Session())
        session.requests += 1
        try:
            async with _locked(session, name):
                yield session
        finally:
            session.requests -= 1
            session.ends_at_s = clock.monotonic_s() + timeout_s
            if session.connection is None and not session.requests:
                del self._open[user, name]

    def _drop_ended(self, now_s: float) -> None:
        ended = [key for key, session in self._open.items() if not session.requests and session.ends_at_s < now_s]
        for key in ended:
            self._open.pop(key).connection.close()
        if len(self._open) >= _MAX_SESSIONS:
            raise QueryError(TOO_MANY_QUERIES, "Too many sessions are open. (TOO_MANY_SIMULTANEOUS_QUERIES)")

    def close(self) -> None:
        """Close every kept connection."""
        for session in self._open.values():
            if session.connection is not None:
                session.connection.close()
        self._open.clear()


@asynccontextmanager
async def _locked(session: Session, name: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_LOCK_WAIT_S):
            await session.lock.acquire()
    except TimeoutError:
        raise QueryError(
            SESSION_IS_LOCKED, f"Session {name[:60]} is locked by a concurrent client. (SESSION_IS_LOCKED)"
        ) from None
    try:
        yield
    finally:
        session.lock.release()
