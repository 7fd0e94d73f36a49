"""`gridwatch case …`: look at one case."""

from typing import Literal

import cyclopts
import msgspec

from infra.case.ledger import explanation
from infra.case.words import text
from infra.settings import Settings
from infra.show import Json, out, show

app = cyclopts.App(name="case", help="One case: why its deadlines are when they are.")


@app.command
def explain(case: str, *, lang: Literal["zh", "en"] = "zh", json: Json = False) -> None:
    """Show every interval of every clock of a case: counted or not, and why, to the second.

    Args:
        case: its number.
        lang: of the text.
        json: print one object; its codes are the same in every language.
    """
    found = explanation(Settings(), case)
    if json:
        show(msgspec.to_builtins(found), as_json=True)
    else:
        out.print(text(found, lang), end="", soft_wrap=True, markup=False)
