"""Which URLs and addresses a server may fetch from: named hosts over HTTPS, on the open internet."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_HOST = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)

# Beside what Python's ipaddress calls not global (whose table differs between its versions): ranges that lead
# to an IPv4 address inside, to other machines than the one named, or nowhere.
_REFUSED = [
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
        *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
]
_UNICAST = ipaddress.ip_network("2000::/3")


def is_domain(text: str) -> bool:
    """Whether a text is a whole domain name in ASCII: no address, no port, no wildcard."""
    return _HOST.fullmatch(text) is not None


def is_open_address(text: str) -> bool:
    """Whether an address is one of the open internet: no private, local, shared, reserved, multicast one, and
    none that carries another address (mapped, 6to4, Teredo, NAT64).
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 6 and address not in _UNICAST:
        return False
    if any(address.version == net.version and address in net for net in _REFUSED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def refusal(url: str, allowed: frozenset[str]) -> str:
    """Why a URL may not be fetched, as the end of a sentence; "" where it may.

    allowed: host names in lower case. Nothing is looked up.
    """
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "has characters that a URL does not have"
    if not url[:8].lower() == "https://":
        return "must begin with https://"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "cannot be read"
    if "@" in parts.netloc:
        return "has a user name or password"
    if port not in (None, 443) or parts.netloc.endswith(":"):
        return "names another port than 443"
    if host is None or parts.netloc.lower().removesuffix(":443") != host or not is_domain(host):
        return "does not name a host by its domain name"
    if host not in allowed:
        return f"names {host}, which is not allowed (--allowed-media-domain)"
    return ""
