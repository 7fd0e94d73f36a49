"""Clients of ClickHouse, the same for the embedded warehouse and for a cluster."""

import logging
from enum import StrEnum

import clickhouse_connect
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import DatabaseError, Error, OperationalError

from infra.settings import Settings
from schemas.errors import GridwatchError, SetupError, UnavailableError

_AUTHENTICATION_FAILED = 516
# Codes that say "not now": a retry may help. Everything else the server says is about the statement.
_BUSY = frozenset({159, 202, 209, 210, 241, 242, 252, 319, 373, 394, 999})


class Role(StrEnum):
    """What a client is for."""

    WRITER = "writer"  # tables, rows, migrations
    READER = "reader"  # SELECT only, within the limits of an analyst


def connect(settings: Settings, role: Role, *, timeout_s: float = 30.0) -> Client:
    """Open a client of the database; every call on it waits at most *timeout_s* for the next byte.

    A client may be used by several threads: it has no session.

    Raises:
        UnavailableError: nobody answers, or not now.
        SetupError: the user or its password is refused, or the database is not there.
    """
    user, password = {
        Role.WRITER: (settings.clickhouse_user, settings.clickhouse_password),
        Role.READER: (settings.analyst_user, settings.analyst_password),
    }[role]
    # Both log every refused connection, one with a traceback; our callers log the error they get, once.
    for library in ("clickhouse_connect", "urllib3"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        return clickhouse_connect.get_client(
            host=settings.clickhouse_host,
            port=settings.clickhouse_port,
            username=user,
            password=password.get_secret_value(),
            database=settings.clickhouse_database,
            connect_timeout=5,
            send_receive_timeout=timeout_s,
            autogenerate_session_id=False,
            query_retries=0,  # the caller retries, with back-off and a bound
        )
    except Error as error:
        raise fault(error) from error


def fault(error: Error) -> GridwatchError:
    """Translate an error of the client into ours, by what the caller does about it."""
    text = str(error.__cause__ or error).splitlines()[0]
    if error.code == _AUTHENTICATION_FAILED:
        return SetupError("warehouse", f"log-in refused: {text}")
    # Without a code the server said nothing: the connection failed, or broke before the answer.
    lost = error.code is None and (isinstance(error, OperationalError) or type(error) is DatabaseError)
    if lost or error.code in _BUSY:
        return UnavailableError("warehouse", text)
    return SetupError("warehouse", text)
