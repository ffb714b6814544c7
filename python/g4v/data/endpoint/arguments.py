"""Options of an endpoint: its address, its key, and how many and how patient its requests are."""

from __future__ import annotations

import argparse
import ipaddress
import os
from urllib.parse import urlsplit

from g4v._command import at_least, number_from
from g4v._console import report_warning
from g4v.errors import ArgumentError


def add_endpoint_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--concurrency, --timeout, --retries and --backoff, for `g4v.data.endpoint.client.Limits`."""
    add = parser.add_argument
    add("--concurrency", type=at_least(1, 256), default=8, metavar="N", help="requests at once (default: 8)")
    add("--timeout", type=number_from(0.1), default=120.0, metavar="S", help="of one request (default: 120)")
    add("--retries", type=at_least(0), default=6, metavar="N", help="after 429, 5xx, time limit (default: 6)")
    add(
        "--backoff", type=number_from(0), default=1.0, metavar="S", help="first wait; it doubles (default: 1)"
    )


def check_base_url(url: str) -> str:
    """The address without a final slash; ArgumentError: it is no http(s) address, or has a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ArgumentError("the base URL must look like https://host/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ArgumentError(
            "the base URL must have no user, password or query; the key goes into OPENAI_API_KEY"
        )
    return url.rstrip("/")


def sends_key_in_clear(url: str) -> bool:
    """Whether a key sent to this address would cross a network unencrypted."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return False
    try:
        return not ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return True


def address_and_key(base_url: str | None, whose: str = "") -> tuple[str, str | None]:
    """The checked address and the key of an endpoint; the key is None without one.

    base_url: as given by --base-url; None takes OPENAI_BASE_URL. The key is OPENAI_API_KEY; a warning says
    where it would cross a network unencrypted. whose: for messages, such as " for the judge".
    ArgumentError: no address, a bad one, or a key with characters that no key has.
    """
    url = base_url or os.environ.get("OPENAI_BASE_URL")
    if not url:
        raise ArgumentError(f"no endpoint{whose}: give --base-url or set OPENAI_BASE_URL")
    url = check_base_url(url)
    key = (os.environ.get("OPENAI_API_KEY") or "").strip() or None
    if key and not (key.isascii() and key.isprintable()):
        raise ArgumentError("OPENAI_API_KEY has characters that no key has")
    if key and sends_key_in_clear(url):
        report_warning("the base URL is http: the key crosses the network unencrypted")
    return url, key
