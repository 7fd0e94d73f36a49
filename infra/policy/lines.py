"""Where the values of a TOML file stand: `classes[1].budgets_ms.dispose` → line 15.

No TOML parser for Python keeps positions; the tree-sitter grammar does.
"""

from collections import Counter
from collections.abc import Iterator

import tree_sitter_toml
from tree_sitter import Language, Node, Parser


def lines_of(text: str) -> dict[str, int]:
    """Return the line, counted from 1, of each key, table and element of *text*, which is TOML."""
    tree = Parser(Language(tree_sitter_toml.language())).parse(text.encode())
    found: dict[str, int] = {}
    for path, line in _document(tree.root_node):
        found.setdefault(path, line)
    return found


def line_of(path: str, lines: dict[str, int]) -> int:
    """Return the line of *path*, or of the nearest thing around it that stands in the file."""
    while path not in lines:
        cut = max(path.rfind("."), path.rfind("["))
        if cut <= 0:
            return 1
        path = path[:cut]
    return lines[path]


def _document(root: Node) -> Iterator[tuple[str, int]]:
    elements: Counter[str] = Counter()
    for node in root.named_children:
        if node.type == "pair":
            yield from _pair(node, "")
        elif node.type in ("table", "table_array_element"):
            header, *rest = (child for child in node.named_children if child.type != "comment")
            path = _key(header)
            if node.type == "table_array_element":
                elements[path] += 1
                yield path, _line(node)
                path = f"{path}[{elements[path] - 1}]"
            yield path, _line(node)
            for pair in rest:
                yield from _pair(pair, path)


def _pair(node: Node, prefix: str) -> Iterator[tuple[str, int]]:
    key, value = (child for child in node.named_children if child.type != "comment")
    path = f"{prefix}.{_key(key)}" if prefix else _key(key)
    yield path, _line(node)
    yield from _value(value, path)


def _value(node: Node, path: str) -> Iterator[tuple[str, int]]:
    children = [child for child in node.named_children if child.type != "comment"]
    if node.type == "inline_table":
        for pair in children:
            yield from _pair(pair, path)
    elif node.type == "array":
        for index, element in enumerate(children):
            yield f"{path}[{index}]", _line(element)
            yield from _value(element, f"{path}[{index}]")


def _key(node: Node) -> str:
    return (node.text or b"").decode().strip("\"'")


def _line(node: Node) -> int:
    return node.start_point.row + 1
