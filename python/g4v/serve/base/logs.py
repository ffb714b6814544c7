"""Log lines: one JSON object on a line of stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from ..._console import write


def log(event: str, **values: Any) -> None:
    """Writes one line; a value of None is left out. A closed or broken stderr is no error."""
    line = {"time": round(time.time(), 3), "event": event}
    line |= {name: value for name, value in values.items() if value is not None}
    write(sys.stderr, json.dumps(line, default=str) + "\n")


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fault = record.exc_info[1] if record.exc_info else None
        log(
            "server", level=record.levelname.lower(), message=record.getMessage(), fault=fault and repr(fault)
        )


def handle_library_logs() -> None:
    """Warnings of uvicorn and asyncio become lines of this log."""
    for name in ("uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [_Handler(logging.WARNING)]
        logger.propagate = False
