"""The warehouse's own cage: Linux's Landlock, so that SQL which slips past grants and names still finds nothing.

After `confine` the process reads what it is made of, reads and writes its directory, and opens no TCP connection and
no port; its sockets stay. What it may not read includes `/proc/self/environ`, where passwords are. It lasts for the
life of the process and is inherited by every thread started later.

The engine wants `/proc/thread-self/schedstat` for each thread of a query, and is refused: a tenth of a small query's
time goes into its own exceptions. It is left so, for `environ` is in the same directory.
"""

import os
import sys
from pathlib import Path
from typing import Final

from py_landlock import AccessFs, Landlock, LandlockDisabledError, LandlockNotAvailableError

import infra
import schemas

_FILE: Final = AccessFs.READ_FILE
_DIRECTORY: Final = AccessFs.READ_FILE | AccessFs.READ_DIR
_MADE_OF: Final = (
    sys.prefix, sys.base_prefix, "/usr/lib", "/usr/lib64", "/lib", "/lib64",
    *(path for package in (infra, schemas) for path in package.__path__),
    "/usr/share/zoneinfo", "/etc/localtime", "/dev/urandom", "/dev/null",
    "/sys/fs/cgroup", "/sys/devices/system", "/sys/kernel/mm",
    "/proc/self/maps", "/proc/stat", "/proc/meminfo", "/proc/sys/vm",
)  # fmt: skip


def confine(directory: Path) -> str | None:
    """Confine this process to *directory*; return by what, or None where the kernel cannot (before Linux 5.13).

    Kernels before 6.7 confine files only. Call it before chDB is imported: the import starts threads, and what they
    do for a query would not be confined.
    """
    directory.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(directory)  # the import keeps an engine of its own there for a moment
    cage = Landlock(strict=False)
    cage.allow_read_write(directory).add_path_rule(directory, access=AccessFs.REFER)  # renames between directories
    for path in map(Path, _MADE_OF):
        if path.exists():
            cage.add_path_rule(path, access=_DIRECTORY if path.is_dir() else _FILE)
    try:
        cage.apply()
    except (LandlockDisabledError, LandlockNotAvailableError):
        return None
    return f"landlock {cage.abi_version}"
