"""The columns of a table, derived from the struct of the topic that lands in it.

A column is named as the field; fields of a nested struct are `outer_inner`. Pure.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from typing import Any

import msgspec.inspect
import pyarrow as pa
from msgspec import Struct

INSTANT = pa.timestamp("us", "UTC")


class Column(Struct, frozen=True):
    """One column: its name, its type in Arrow, and how to read it from a record."""

    name: str
    type: Any
    read: Callable[[Any], Any]


@cache
def columns_of(kind: type[Struct]) -> tuple[Column, ...]:
    """Return the columns of *kind*, in the order of its fields."""
    return tuple(_columns(msgspec.inspect.type_info(kind), "", lambda record: record))


def _columns(struct: Any, prefix: str, outer: Callable[[Any], Any]) -> Iterator[Column]:
    for field in struct.fields:
        read, inner = _reader(outer, field.name), _plain(field.type)
        if isinstance(inner, msgspec.inspect.StructType):
            yield from _columns(inner, f"{prefix}{field.name}_", read)
        elif isinstance(inner, msgspec.inspect.DictType):
            yield Column(f"{prefix}{field.name}", _arrow(inner), _items(read))
        else:
            yield Column(f"{prefix}{field.name}", _arrow(inner), read)


def _reader(outer: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    """Return what reads one field; of a nested struct that is absent, every field is."""

    def read(record: Any) -> Any:
        holder = outer(record)
        return None if holder is None else getattr(holder, name)

    return read


def _items(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda record: list(read(record).items())


def _plain(kind: Any) -> Any:
    """Return the type inside `Annotated` and `… | None`."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _plain(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        [only] = [part for part in kind.types if not isinstance(part, msgspec.inspect.NoneType)]
        return _plain(only)
    return kind


def _arrow(kind: Any) -> Any:
    match kind:
        case msgspec.inspect.StrType() | msgspec.inspect.EnumType():
            return pa.string()
        case msgspec.inspect.IntType():
            return pa.int64()
        case msgspec.inspect.FloatType():
            return pa.float64()
        case msgspec.inspect.DateTimeType():
            return INSTANT
        case msgspec.inspect.ListType():
            return pa.list_(_arrow(_plain(kind.item_type)))
        case msgspec.inspect.DictType():
            return pa.map_(_arrow(_plain(kind.key_type)), _arrow(_plain(kind.value_type)))
    raise TypeError(kind)


class Coordinates(Struct, frozen=True, kw_only=True):
    """Where a row came from; in every table."""

    topic: str
    partition: int
    offset: int
    appended_at: datetime
    ce_id: str
