"""Videos and pictures of a request: where they come from, and how they are opened."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import os
import re
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

import anyio.to_thread

from ..base.errors import ApiError, bad_request, not_found
from .fetch import Fetcher
from .store import MediaStore

_OWN = re.compile(
    r"/?(?:v1/)?(?:(files)/(file-[0-9a-f]{32})(?:/content)?|(videos)/(video_[0-9a-f]{32})(?:/content)?)"
)
_ID = re.compile(r"file-[0-9a-f]{32}|video_[0-9a-f]{32}")
_DATA = re.compile(
    r"data:(?:(?:video|image)/[\w.+-]+|application/octet-stream)?(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.I
)


@dataclass(frozen=True)
class Media:
    """A video or picture that a message shows, not opened yet.

    kind: "base64", "file", "video" (made here) or "url". value: the base64 text, the id or the URL.
    frames: how many frames are looked at; None for the bundle's number, 1 of a picture. where: the field.
    """

    kind: str
    value: str
    frames: int | None
    where: str

    @functools.cached_property
    def identity(self) -> str:
        """The same for the same video sent again."""
        value = hashlib.sha256(self.value.encode()).hexdigest() if self.kind == "base64" else self.value
        return f"{self.kind}:{value}:{self.frames}"


def parse_media(part: dict[str, Any], where: str, own_host: str) -> Media:
    """The video or picture of a part of a message. own_host: the request's Host. ApiError (400)."""
    kind = part.get("type")
    if kind == "video_url":
        return _from_url(_inner(part, "video_url", "url", where), where, own_host, None)
    if kind == "image_url":
        return _from_url(_inner(part, "image_url", "url", where), where, own_host, 1)
    if kind == "input_video":
        return Media("base64", _inner(part, "input_video", "data", where), None, where)
    if kind == "file":
        file = part.get("file")
        if isinstance(file, dict) and file.get("file_data") is not None:
            return _from_url(_inner(part, "file", "file_data", where), where, own_host, None)
        return _from_url(_inner(part, "file", "file_id", where), where, own_host, None)
    raise bad_request(
        f"{where}.type is {kind!r}; text, video_url, input_video, image_url and file are read",
        f"{where}.type",
        "unsupported_content",
    )


def parse_reference(value: Any, name: str, own_host: str) -> Media:
    """The video or picture that a video is made from: a data URL, an id or a link, or an object with one of
    file_id, image_url and video_url. name: of the field. own_host: the request's Host. ApiError (400).
    """
    if isinstance(value, str) and value:
        return _from_url(value, name, own_host, None)
    if isinstance(value, dict) and len(value) == 1:
        ((key, url),) = value.items()
        if key in ("file_id", "image_url", "video_url"):
            url = url.get("url") if isinstance(url, dict) else url
            if not isinstance(url, str) or not url:
                raise bad_request(f"{name}.{key} must be a string", f"{name}.{key}")
            return _from_url(url, name, own_host, 1 if key == "image_url" else None)
    raise bad_request(
        f"{name} must be a file of a form, a data URL, an id or a link, or an object with file_id, "
        "image_url or video_url",
        name,
    )


def _inner(part: dict[str, Any], name: str, key: str, where: str) -> str:
    inner = part.get(name)
    value = inner.get(key) if isinstance(inner, dict) else inner
    if not isinstance(value, str) or not value:
        raise bad_request(f"{where}.{name}.{key} must be a string", f"{where}.{name}.{key}")
    return value


def _from_url(url: str, where: str, own_host: str, frames: int | None) -> Media:
    if head := _DATA.match(url):
        return Media("base64", url[head.end() :], frames, where)
    if url[:5].lower() == "data:":
        raise bad_request(f"{where}: a data URL holds a video or picture in base64", where, "invalid_url")
    if _ID.fullmatch(url):
        return Media("file" if url.startswith("file-") else "video", url, frames, where)
    try:
        parts = urlsplit(url)
        own = parts.netloc in ("", own_host) and parts.scheme in ("", "http", "https")
    except ValueError:
        raise bad_request(f"{where}: the URL cannot be read", where, "invalid_url") from None
    if own and (found := _OWN.fullmatch(parts.path)):
        return Media("file", found[2], frames, where) if found[1] else Media("video", found[4], frames, where)
    return Media("url", url, frames, where)


class MediaReader:
    """Opens what messages show.

    store: files and videos. limit: bytes of one, and of all together that other servers send for a request.
    """

    def __init__(self, store: MediaStore, fetcher: Fetcher, limit: int) -> None:
        self._store, self._fetcher, self._limit = store, fetcher, limit

    def check(self, media: Media, owner: str) -> None:
        """Refuses what cannot be opened, without opening it. ApiError (400, 404, 413)."""
        if media.kind == "base64":
            self.check_size(len(media.value) * 3 // 4 - 2, media)
        if media.kind == "url":
            self._fetcher.check(media.value, media.where)
        if media.kind in ("file", "video"):
            self._path(media, owner)

    def check_size(self, size: int, media: Media) -> None:
        """Refuses more bytes than one request may have. ApiError (413) names this video."""
        if size > self._limit:
            raise ApiError(413, f"{media.where} has more than {self._limit} bytes", "too_large", media.where)

    async def open(self, media: Media, owner: str) -> bytes | IO[bytes]:
        """The bytes, or an open file that the caller closes. ApiError."""
        self.check(media, owner)
        if media.kind == "url":
            return await self._fetcher.fetch(media.value, media.where)
        if media.kind == "base64":
            return await anyio.to_thread.run_sync(_decoded, media)
        try:
            # By its number: a message about it then does not show the path.
            return open(os.open(self._path(media, owner), os.O_RDONLY | os.O_CLOEXEC), "rb")
        except OSError:
            raise not_found(f"{media.where}: {media.value}") from None

    def _path(self, media: Media, owner: str) -> Any:
        record = self._store.find(media.value, media.kind, owner)
        if record is None:
            raise not_found(f"{media.where}: {media.value}")
        if media.kind == "video" and record["status"] != "completed":
            raise bad_request(f"{media.where}: the video {media.value} is not made yet", media.where)
        return self._store.path(record)


def _decoded(media: Media) -> bytes:
    try:
        data = base64.b64decode(media.value, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"{media.where} is not base64", media.where, "invalid_base64") from None
    if not data:
        raise bad_request(f"{media.where} is empty", media.where)
    return data
