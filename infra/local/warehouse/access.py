"""Who may ask the warehouse what: two users, and what the engine itself is granted.

chDB knows one user. What it may reach is in its configuration: no READ or WRITE source, so no
table function leaves the machine (`sql` and `confine` are the other two walls). Which of *our*
users may write, and how much and how long a query may run, is decided here, outside SQL.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from msgspec import Struct

from infra.local.warehouse.faults import AUTHENTICATION_FAILED, QueryError
from infra.settings import Settings

READER_LIMIT_S: Final = 30.0
_QUERY_BYTES: Final = 1_500_000_000
_ENGINE_BYTES: Final = 4_000_000_000
# Of one query; a client may ask for less. In SQL these names are refused to whom they bind. What is read is bounded
# by time.
READER_CAPS: Final = {
    "max_memory_usage": 1_000_000_000,
    "max_result_rows": 10_000_000,
    "max_temporary_data_on_disk_size_for_query": 4_000_000_000,
}

_ENGINES: Final = ("MergeTree", "ReplacingMergeTree", "AggregatingMergeTree", "SummingMergeTree", "Memory", "Null")
_GRANTS: Final = (
    "SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP, TRUNCATE, OPTIMIZE, SHOW, SYSTEM VIEWS"
    " ON {database}.*",
    "SELECT ON system.*",
    "SELECT ON INFORMATION_SCHEMA.*",
    "SELECT ON information_schema.*",
    "CREATE TEMPORARY TABLE, KILL QUERY ON *.*",
    *(f"TABLE ENGINE ON {engine}" for engine in _ENGINES),
)
# Settings whose value is SQL that our lexer does not see, another language, or the path of a file.
_FIXED: Final = (
    "dialect", "polyglot_dialect", "allow_experimental_kusto_dialect", "allow_experimental_prql_dialect",
    "allow_experimental_polyglot_dialect", "enable_json_ast_dialect", "enable_trino_dialect",
    "additional_result_filter", "additional_table_filters", "filter", "select", "order", "sort",
    "parallel_replicas_custom_key", "implicit_table_at_top_level", "allow_experimental_eval_table_function",
    "input_format_values_interpret_expressions", "input_format_values_deduce_templates_of_expressions",
    "format_avro_schema_registry_url", "url_base",
    "format_schema", "format_schema_source", "format_schema_message_name", "output_format_schema",
    "format_template_resultset", "format_template_row", "input_format_record_errors_file_path",
    "rename_files_after_processing", "default_view_definer", "function_implementation",
)  # fmt: skip
_CLOSED: Final = (
    "input_format_values_interpret_expressions",
    "input_format_values_deduce_templates_of_expressions",
)


class User(Struct, frozen=True, kw_only=True):
    """One name the warehouse answers to."""

    name: str
    password: str
    writes: bool
    limit_s: float | None  # of one request, streaming included
    caps: Mapping[str, int] = {}  # settings that the user may lower and never lift

    @property
    def fixed(self) -> frozenset[str]:
        """Return the settings that the user may not write in SQL: the caps, and what bounds a result held whole."""
        return frozenset({*self.caps, "max_result_bytes"}) if self.caps else frozenset()

    def capped(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return *settings* with every cap of the user in them; a smaller number than the cap stands."""
        return dict(settings) | {
            name: value if (value := settings.get(name, "")).isdecimal() and 0 < int(value) < cap else str(cap)
            for name, cap in self.caps.items()
        }


def users_of(settings: Settings) -> dict[str, User]:
    """Return the writer and the reader by name."""
    users = (
        User(
            name=settings.clickhouse_user,
            password=settings.clickhouse_password.get_secret_value(),
            writes=True,
            limit_s=None,
        ),
        User(
            name=settings.analyst_user,
            password=settings.analyst_password.get_secret_value(),
            writes=False,
            limit_s=READER_LIMIT_S,
            caps=READER_CAPS,
        ),
    )
    return {user.name: user for user in users}


def authenticate(users: Mapping[str, User], headers: Mapping[str, str], parameters: Mapping[str, str]) -> User:
    """Return who asks, by basic authentication, `X-ClickHouse-User`/`-Key`, or `user` and `password`.

    Raises:
        QueryError: no such user, or another password.
    """
    name = parameters.get("user") or headers.get("x-clickhouse-user", "")
    password = parameters.get("password") or headers.get("x-clickhouse-key", "")
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        name, password = _basic(token)
    user = users.get(name)
    if user is None or not hmac.compare_digest(user.password.encode(), password.encode()):
        raise QueryError(
            AUTHENTICATION_FAILED,
            f"{name[:40]}: Authentication failed: password is incorrect, or there is no user with such name. "
            "(AUTHENTICATION_FAILED)",
        )
    return user


def _basic(token: str) -> tuple[str, str]:
    try:
        name, _, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password


def write_configuration(directory: Path, database: str) -> Path:
    """Write the engine's configuration into *directory*; return the file that chDB is pointed at."""
    users, server = directory / "users.xml", directory / "server.xml"
    users.write_text(_users_xml(database), encoding="utf-8")
    server.write_text(
        "<clickhouse>"
        f"<users_config>{escape(str(users))}</users_config>"
        f"<max_server_memory_usage>{_ENGINE_BYTES}</max_server_memory_usage>"
        "<access_control_improvements><table_engines_require_grant>true</table_engines_require_grant>"
        "</access_control_improvements>"
        "</clickhouse>",
        encoding="utf-8",
    )
    return server


def _users_xml(database: str) -> str:
    grants = "".join(f"<query>GRANT {escape(grant.format(database=database))}</query>" for grant in _GRANTS)
    closed = "".join(f"<{name}>0</{name}>" for name in _CLOSED)
    fixed = "".join(f"<{name}><const/></{name}>" for name in _FIXED)
    memory = f"<max_memory_usage><max>{_QUERY_BYTES}</max></max_memory_usage>"
    return (
        "<clickhouse><profiles><default>"
        f"<max_memory_usage>{_QUERY_BYTES}</max_memory_usage>{closed}<constraints>{memory}{fixed}</constraints>"
        "</default></profiles><quotas><default/></quotas><users><default>"
        "<password/><networks><ip>::1</ip></networks><profile>default</profile><quota>default</quota>"
        f"<grants>{grants}</grants></default></users></clickhouse>"
    )
