"""Logging: one event name and key=value fields per line, on stderr; libraries join the same pipe.

A person reads aligned text (a terminal, or `GRIDWATCH_LOG=text`); a machine reads
one JSON object a line. Levels below WARNING of libraries are dropped: Faust alone would
fill a screen.
"""

import logging
import os
import sys
from typing import Any

import structlog

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def configure(process: str, *, for_people: bool = False) -> None:
    """Send this process's log lines to stderr, each with `process` bound.

    Args:
        process: its name.
        for_people: aligned text unless `GRIDWATCH_LOG` says otherwise; else that is so on terminals only.
    """
    usual = "text" if for_people or sys.stderr.isatty() else "json"
    as_text = os.environ.get("GRIDWATCH_LOG", usual) == "text"
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if as_text
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[*_SHARED, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_SHARED],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    structlog.contextvars.bind_contextvars(process=process)


def logger() -> Any:
    """Return the logger; call `log.info("event_name", key=value)`."""
    return structlog.get_logger()
