"""The address of a server that is asked over HTTP."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from .errors import ArgumentError


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Address:
    """Where a server is, checked: https to any host, http to this machine alone unless it is allowed.

    Raises `ArgumentError` for another URL; nothing is looked up.
    """

    def __init__(self, url: str, allow_http: bool = False) -> None:
        refusal = _refusal(url)
        if refusal:
            raise ArgumentError(f"the URL {url!r} {refusal}")
        parts = urlsplit(url)
        self.host, self.secure = str(parts.hostname), parts.scheme == "https"
        self.port = parts.port or (443 if self.secure else 80)
        self.path = parts.path
        self.origin = f"{parts.scheme}://{parts.netloc}"
        # What a name stands for is seen when it is dialled.
        self.only_loopback = not self.secure and not allow_http
        if self.only_loopback and self.host != "localhost" and not is_loopback(self.host):
            raise ArgumentError(
                f"the URL {url!r} would send everything unencrypted to another machine; "
                "name it with https://, or allow http"
            )

    def is_origin_of(self, url: str) -> bool:
        """Whether a URL is one of the same scheme, host and port."""
        try:
            other = urlsplit(url)
            port = other.port or (443 if other.scheme == "https" else 80)
        except ValueError:
            return False
        return (other.scheme == "https", other.hostname, port) == (self.secure, self.host, self.port)


def _refusal(url: str) -> str:
    """What is wrong with a URL, as the end of a sentence; "" where nothing is."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "has characters that a URL does not have"
    try:
        parts = urlsplit(url)
        _ = parts.port
        (parts.hostname or "").encode("idna")  # as a lookup will do it
    except ValueError:  # UnicodeError is one
        return "cannot be read"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must begin with https:// and a host"
    if "@" in parts.netloc:
        return "has a user name or password; give a key by itself"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "has a query or a fragment; leave it out"
    return ""
