"""Keep phone numbers out of free text. Pure.

Residents write numbers into descriptions; those travel to topics and tables where no
phone number may be. Chinese mobile numbers have 11 digits and start with 13 to 19.
"""

import re

MASK = "[电话]"

_DIGIT = "[0-9\uff10-\uff19]"
_FIRST, _SECOND, _EIGHTY_SIX = "[1\uff11]", "[3-9\uff13-\uff19]", "[8\uff18][6\uff16]"
# What people put between groups of digits. No commas: "1、3、5、7号楼" is a list of houses.
_GAP = r"[\s\-·./_~()－／～（）\u2010-\u2015\u2212]{0,3}"
_PREFIX = rf"(?:(?:[+\uff0b]|00|\uff10\uff10)?{_EIGHTY_SIX}{_GAP})?[(（]?"
_MOBILE = re.compile(rf"(?<!{_DIGIT}){_PREFIX}{_FIRST}{_GAP}{_SECOND}(?:{_GAP}{_DIGIT}){{9}}(?!{_DIGIT})")

_ONE = re.compile(_FIRST)  # no number without it: most texts are done after a tenth of the time


def scrub(text: str) -> str:
    """Return *text* with every mobile number replaced by `[电话]`."""
    return _MOBILE.sub(MASK, text) if _ONE.search(text) else text
