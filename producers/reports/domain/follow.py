"""The six characters by which a resident, known to nobody, follows a case. Pure."""

import hmac
from base64 import b32encode
from typing import Final

CODE_LENGTH: Final = 6  # 30 bits; the door lets 60 guesses a minute through


def follow_code(secret: bytes, case_id: str) -> str:
    """Return the code of a case: nothing but *secret* leads to it."""
    return b32encode(hmac.digest(secret, case_id.encode(), "sha256")[:5]).decode()[:CODE_LENGTH]


def opens(code: str, secret: bytes, case_id: str) -> bool:
    """Tell whether *code* is the case's, however it was typed; takes the same time for every wrong one."""
    return hmac.compare_digest(code.strip().upper().encode(), follow_code(secret, case_id).encode())
