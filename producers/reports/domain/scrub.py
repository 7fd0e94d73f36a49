"""Keep phone numbers out of free text. Pure.

Residents write numbers into descriptions; those travel to topics and tables where no
phone number may be. Chinese mobile numbers have 11 digits and start with 1.
"""

import re

MASK = "[电话]"

_DIGIT = "[0-9\uff10-\uff19]"
_GAP = r"[\s\-·.()\u2010-\u2015\uff08\uff09\uff0d]{0,2}"
_MOBILE = re.compile(rf"(?<!{_DIGIT})(?:(?:\+|00)?86{_GAP})?[1\uff11](?:{_GAP}{_DIGIT}){{10}}(?!{_DIGIT})")


def scrub(text: str) -> str:
    """Return *text* with every mobile number replaced by `[电话]`."""
    return _MOBILE.sub(MASK, text)
