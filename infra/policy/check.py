"""What is wrong with a policy file, each fault with its line and field."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import NODEFAULT

from infra.policy.lines import line_of, lines_of
from schemas.calendar import load_calendar
from schemas.district_files import Fault, load_toml
from schemas.errors import SetupError
from schemas.policy import ITEMS_FILE, POLICY_FILE, Catalogue, Policy, PolicyFile, assemble, faults

_PLACE = re.compile(r"(?P<reason>.*) \(at (line (?P<line>\d+).*|end of document)\)$")
_PATH = re.compile(r"(?P<reason>.*?)( - at (`key` in )?`\$\.?(?P<path>.*)`)?$")


def check(file: Path, directory: Path) -> list[Fault]:
    """Return every fault of *file*, a `policy.toml`, as the policy of the district in *directory*; none: it can count.

    Raises:
        SetupError: the file cannot be read, or the district's own items or calendar are wrong.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(str(file), str(error)) from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [_syntax(file.name, str(error), text)]
    lines = lines_of(text)
    found = [*_shape(content)] or [*_sense(content, directory)]
    placed = [(line_of(path, lines), path, reason) for path, reason in found]
    return [
        Fault(file=file.name, at=f"line {line}", field=path, reason=reason) for line, path, reason in sorted(placed)
    ]


def candidate(file: Path, directory: Path) -> Policy:
    """Return the policy that the district in *directory* would have with *file*.

    Raises:
        SetupError: the file is wrong; the text names lines and fields.
    """
    found = check(file, directory)
    if found:
        raise SetupError("policy", "; ".join(map(str, found)))
    return assemble(_catalogue(directory), load_toml(file, PolicyFile), load_calendar(directory))


def _syntax(name: str, text: str, content: str) -> Fault:
    match = _PLACE.match(text)
    line = match["line"] if match and match["line"] else str(content.count("\n") + 1)
    return Fault(file=name, at=f"line {line}", field="TOML", reason=match["reason"] if match else text)


def _shape(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what has the wrong type or lies out of bounds: each field, and each element of a list, by itself."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(PolicyFile)}
    for name in content.keys() - fields.keys():
        yield name, "is no field of a policy"
    for name, field in fields.items():
        if name in content:
            yield from _misfits(content[name], field.type, name)
        elif field.default is NODEFAULT and field.default_factory is NODEFAULT:
            yield name, "is missing"


def _misfits(value: Any, kind: Any, path: str) -> Iterator[tuple[str, str]]:
    element = _element(kind)
    if isinstance(value, list) and element is not None:
        inner = [misfit for index, part in enumerate(value) for misfit in _misfits(part, element, f"{path}[{index}]")]
        if inner:
            yield from inner
            return
    if (found := _misfit(value, kind)) is not None:
        below, reason = found
        if below.endswith("[...]"):  # msgspec does not say which key of a table
            below = _key_at_fault(value, below.removesuffix("[...]"), kind)
        yield f"{path}.{below}".rstrip("."), reason


def _key_at_fault(value: dict[str, Any], name: str, kind: Any) -> str:
    """Return the first key of the table *name* that is wrong by itself, as a path."""
    for key, entry in value[name].items():
        if _misfit(value | {name: {key: entry}}, kind) is not None:
            return f"{name}.{key}"
    return name


def _element(kind: Any) -> Any:
    """Return the struct that a list is made of."""
    inspected = msgspec.inspect.type_info(kind)
    while isinstance(inspected, msgspec.inspect.Metadata):
        inspected = inspected.type
    item = inspected.item_type if isinstance(inspected, msgspec.inspect.ListType) else None
    return item.cls if isinstance(item, msgspec.inspect.StructType) else None


def _misfit(value: Any, kind: Any) -> tuple[str, str] | None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        match = _PATH.match(str(error))
        return (match["path"] or "", match["reason"]) if match else ("", str(error))
    return None


def _sense(content: dict[str, Any], directory: Path) -> Iterator[tuple[str, str]]:
    """Yield what contradicts itself or the district's items."""
    policy = msgspec.convert(content, PolicyFile)
    for fault in faults(_catalogue(directory), policy):
        if fault.file == POLICY_FILE:
            yield f"{fault.at}.{fault.field}", fault.reason
        elif fault.field == "sla":  # a class has gone that items name
            yield "classes", fault.reason
        else:
            raise SetupError(fault.file, str(fault))


def _catalogue(directory: Path) -> Catalogue:
    return load_toml(directory / ITEMS_FILE, Catalogue)
