"""How the command shows what it found: JSON for scripts, tables for people."""

import json
import sys
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Column, Table

Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON, for scripts")]

out = Console(highlight=False)


def show(content: Any, *, as_json: bool) -> None:
    """Print a list of rows, or the fields of one thing."""
    if as_json:
        sys.stdout.write(json.dumps(content, ensure_ascii=False, default=str) + "\n")
    elif isinstance(content, list):
        table = Table(*(Column(name, overflow="fold") for name in content[0])) if content else Table()
        for row in content:
            table.add_row(*map(str, row.values()))
        out.print(table)
    else:
        for name, value in content.items():
            out.print(f"{name:>24}  {value}")
