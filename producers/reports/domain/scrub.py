"""Keep phone numbers, identity numbers and mail addresses out of free text. Pure.

Residents write them into descriptions; those travel to topics and tables where none may be.
Chinese mobile numbers have 11 digits and start with 13 to 19. An identity number (GB 11643) has 18:
area, date of birth, order, and a check that may be X; the date tells it from other long numbers.
"""

import re
from typing import Final
from unicodedata import normalize

MASK: Final = "[电话]"
IDENTITY_MASK: Final = "[身份证]"
MAIL_MASK: Final = "[邮箱]"

_DIGIT = "[0-9\uff10-\uff19]"
_FIRST, _SECOND, _EIGHTY_SIX = "[1\uff11]", "[3-9\uff13-\uff19]", "[8\uff18][6\uff16]"
# What people put between groups of digits. No commas: "1、3、5、7号楼" is a list of houses.
_GAP = r"[\s\-·./_~()－／～（）\u2010-\u2015\u2212]{0,3}"
_PREFIX = rf"(?:(?:[+\uff0b]|00|\uff10\uff10)?{_EIGHTY_SIX}{_GAP})?[(（]?"
_MOBILE = re.compile(rf"(?<!{_DIGIT}){_PREFIX}{_FIRST}{_GAP}{_SECOND}(?:{_GAP}{_DIGIT}){{9}}(?!{_DIGIT})")
_IDENTITY = re.compile(rf"(?<!{_DIGIT}){_DIGIT}(?:[ \-]?{_DIGIT}){{16}}[ \-]?(?:{_DIGIT}|[XxＸｘ])(?![0-9０-９XxＸｘ])")
_BORN = re.compile(r"[0-9]{6}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_MAIL = re.compile(r"[A-Za-z0-9._%+\-]{1,64}[@＠][A-Za-z0-9\-]{1,63}(?:[.．][A-Za-z0-9\-]{1,63}){1,4}")
_ANY_DIGIT = re.compile(_DIGIT)  # most texts have none, and are done after a tenth of the time


def scrub(text: str) -> str:
    """Return *text* with every mobile number, identity number and mail address replaced by what it was."""
    if "@" in text or "＠" in text:
        text = _MAIL.sub(MAIL_MASK, text)
    if not _ANY_DIGIT.search(text):
        return text
    return _MOBILE.sub(MASK, _IDENTITY.sub(_masked_identity, text))


def _masked_identity(found: re.Match[str]) -> str:
    digits = re.sub(r"[ \-]", "", normalize("NFKC", found[0]))
    return IDENTITY_MASK if _BORN.match(digits) else found[0]
