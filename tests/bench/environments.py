"""Environments of peers whose pins conflict with ours: built on demand from locked lists, then kept.

To lock again: `uv pip compile --generate-hashes --universal --python-version 3.11 NAME.in -o NAME.txt`.
"""

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from schemas.errors import UnavailableError
from tests.conftest import ROOT

_LISTS = Path(__file__).parent / "peers"
_KEPT = ROOT / "data" / "bench"


def python_of(peer: str) -> Path:
    """Return the interpreter of *peer*'s environment, building it the first time.

    Raises:
        UnavailableError: its packages cannot be fetched, or not installed on this platform.
    """
    wanted = _LISTS / f"{peer}.txt"
    home = _KEPT / f"{peer}-{sha256(wanted.read_bytes()).hexdigest()[:12]}"
    python = home / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
        _run(uv, "venv", "-q", "--python", sys.executable, str(home))
        try:
            _run(uv, "pip", "sync", "-q", "--python", str(python), "--require-hashes", str(wanted))
        except UnavailableError:
            shutil.rmtree(home)  # half an environment would be taken for a whole one
            raise
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(command[1], done.stderr.strip())
