"""Types of arguments with units: times."""

from __future__ import annotations

import argparse
import re

_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """Seconds of "200ms", "30s" or "5m", more than 0. argparse.ArgumentTypeError: another form."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|[smhd]?)", text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time, such as 200ms, 30s or 5m")
    return float(match[1]) * _SECONDS[match[2]]
