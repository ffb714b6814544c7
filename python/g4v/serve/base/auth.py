"""Who may ask: keys of a file, requests of the same site, and links that carry their own right."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from ...errors import ArgumentError


class Keys:
    """The keys of a file: one on a line; empty lines and those that begin with # are left out.

    A file that was changed is read again. One that has become unreadable or empty leaves the keys as they
    were, and `new_fault` says why. Without a file everybody is let in, as the owner "".
    ArgumentError: the file cannot be read, or has no key.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._digests: tuple[bytes, ...] = ()
        self._state: tuple[int, int, int] | None = None
        self._fault, self._told = "", ""
        if path is not None:
            self._digests = self._read(path)

    @property
    def needed(self) -> bool:
        """Whether a request needs a key."""
        return self._path is not None

    def new_fault(self) -> str:
        """Why the file cannot be read again, once; else ""."""
        fault = "" if self._fault == self._told else self._fault
        self._told = self._fault
        return fault

    def owner(self, authorization: str | None) -> str | None:
        """Whose request it is, 16 hexadecimal digits of the key's SHA-256; None where the key is wrong.

        authorization: the header, "Bearer KEY". All keys are compared, each in constant time.
        """
        if self._path is None:
            return ""
        self._refresh(self._path)
        scheme, _, key = (authorization or "").partition(" ")
        given = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        found = False
        for digest in self._digests:
            found |= hmac.compare_digest(digest, given)
        return given.hex()[:16] if found and scheme.lower() == "bearer" else None

    def _refresh(self, path: Path) -> None:
        try:
            if self._stat(path) != self._state:
                self._digests, self._fault = self._read(path), ""
        except (OSError, ArgumentError) as error:
            self._fault = str(error)

    def _read(self, path: Path) -> tuple[bytes, ...]:
        try:
            state, text = self._stat(path), path.read_text("utf-8-sig")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
            raise ArgumentError(f"--api-key-file {path}: cannot be read: {reason}") from None
        lines = (line.strip() for line in text.splitlines())
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ArgumentError(f"--api-key-file {path}: has no key; write one on a line")
        if any(not key.isascii() or not key.isprintable() for key in keys):
            raise ArgumentError(
                f"--api-key-file {path}: has a key with other characters than ASCII; change it"
            )
        if any(len(key) < 16 for key in keys):
            raise ArgumentError(
                f"--api-key-file {path}: has a key of fewer than 16 characters; use longer ones"
            )
        self._state = state
        return tuple(hashlib.sha256(key.encode("utf-8")).digest() for key in keys)

    @staticmethod
    def _stat(path: Path) -> tuple[int, int, int]:
        found = os.stat(path)
        return found.st_mtime_ns, found.st_size, found.st_ino


def is_loopback(host: str) -> bool:
    """Whether a server that listens on this host is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_foreign(host: str | None, origin: str | None) -> bool:
    """Whether a page of another site may have sent a request to a server without keys.

    host: the header; a name other than this machine's was pointed at it (DNS rebinding). origin: the header
    that browsers send with requests of scripts.
    """
    if not is_loopback(_host_of(f"//{host or ''}")):
        return True
    return origin is not None and urlsplit(origin).netloc != host


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class Links:
    """Signatures of links to videos, for players that send no key. secret: 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, identifier: str, seconds: float) -> str:
        """A signature of this video's link that holds for so long."""
        until = int(time.time() + seconds)
        return f"{until}-{self._digest(identifier, until)}"

    def holds(self, identifier: str, signature: str) -> bool:
        """Whether a signature is ours, of this video, and of now."""
        until, _, digest = signature.partition("-")
        if not (until.isascii() and until.isdigit() and len(until) < 12):
            return False
        right = hmac.compare_digest(
            self._digest(identifier, int(until)).encode(), digest.encode("utf-8", "replace")
        )
        return right and int(until) >= time.time()

    def _digest(self, identifier: str, until: int) -> str:
        message = f"{identifier}:{until}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()
