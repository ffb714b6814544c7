"""The messages of a chat request as a talk: the system text, finished exchanges, and the question."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..base.errors import ApiError, bad_request
from ..base.fields import checked_text
from ..media.sources import Media, parse_media

_LINK = re.compile(
    r"\n?<video>(?:https?://[^\s<>]*)?(?:/v1/videos/)?(video_[0-9a-f]{32})(?:/content[^\s<>]*)?</video>\n?"
)
_MOST = 4096  # messages of a request


@dataclass(frozen=True)
class Exchange:
    """What a user said, with a video or without, and the answer, captions in their <video> tags."""

    text: str
    media: Media | None
    answer: str


@dataclass(frozen=True)
class Talk:
    """All that a request says. system: None for the bundle's own."""

    system: str | None
    exchanges: tuple[Exchange, ...]
    text: str
    media: Media | None


Caption = Callable[[str], tuple[str, int] | None]
"""Caption and place (characters of the answer before it) of a video that was made here, by its id."""


def parse_messages(messages: Any, caption: Caption, own_host: str) -> Talk:
    """The talk of `messages`. Consecutive messages of one user are one, a line each.

    own_host: the request's Host, which links to this server have. ApiError (400): what cannot be expressed.
    """
    if not isinstance(messages, list) or not messages:
        raise bad_request("messages must be a list with at least one message", "messages")
    if len(messages) > _MOST:
        message = f"messages has {len(messages)} messages; at most {_MOST} are read"
        raise bad_request(message, "messages", "context_length_exceeded")
    system: list[str] = []
    exchanges: list[Exchange] = []
    texts: list[str] = []
    media: Media | None = None
    said = False  # a user's message stands open
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise bad_request(f"{where} must be an object", where)
        role = message.get("role")
        content = message.get("content")
        if role in ("system", "developer"):
            if said or exchanges:
                raise bad_request(f"{where}: a system message comes before all others", where)
            system.append("\n".join(_texts(content, f"{where}.content")))
        elif role == "user":
            found, shown = _user(content, f"{where}.content", own_host)
            if shown is not None and media is not None:
                raise bad_request(f"{where} has a second video; a question has at most one", where)
            texts, media, said = texts + found, media or shown, True
        elif role == "assistant":
            if not said:
                raise bad_request(f"{where}: an answer follows a user's message", where)
            exchanges.append(Exchange(_joined(texts, where), media, _answer(message, where, caption)))
            texts, media, said = [], None, False
        else:
            raise bad_request(
                f"{where}.role is {role!r}; it must be system, user or assistant", f"{where}.role"
            )
    if not said:
        raise bad_request("the last message must be the user's", "messages")
    opening = _joined(system, "messages") if system else None
    return Talk(opening, tuple(exchanges), _joined(texts, "messages"), media)


def tagged(content: str, videos: list[tuple[int, str]]) -> str:
    """An answer with its captions in tags. videos: place in `content`, in characters, and caption of each."""
    for place, caption in sorted(videos, key=lambda video: video[0], reverse=True):
        place = min(max(place, 0), len(content))
        content = f"{content[:place]}<video>{caption}</video>{content[place:]}"
    return content


def _joined(texts: list[str], where: str) -> str:
    return checked_text("\n".join(texts), where)


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return content
    raise bad_request(f"{where} must be a string or a list of parts", where)


def _texts(content: Any, where: str) -> list[str]:
    texts = []
    for number, part in enumerate(_parts(content, where)):
        if part.get("type") not in ("text", "refusal"):
            raise bad_request(f"{where}[{number}] must be a text", where, "unsupported_content")
        texts.append(checked_text(part.get("text", part.get("refusal")), f"{where}[{number}].text"))
    return texts


def _user(content: Any, where: str, own_host: str) -> tuple[list[str], Media | None]:
    texts: list[str] = []
    media: Media | None = None
    for number, part in enumerate(_parts(content, where)):
        here = f"{where}[{number}]"
        if part.get("type") == "text":
            texts.append(checked_text(part.get("text"), f"{here}.text"))
            continue
        found = parse_media(part, here, own_host)
        if media is not None:
            raise bad_request(f"{here} is a second video; a question has at most one", here)
        media = found
    return texts, media


def _answer(message: dict[str, Any], where: str, caption: Caption) -> str:
    """The answer with captions where the client sends a video's id or link."""
    for name in ("tool_calls", "function_call"):
        if message.get(name):
            raise bad_request(f"{where}.{name} is not supported", f"{where}.{name}", "unsupported_parameter")
    content = message.get("content")
    linked: list[tuple[str, dict[str, Any]]] = []
    texts = []
    for number, part in enumerate(_parts("" if content is None else content, f"{where}.content")):
        here = f"{where}.content[{number}]"
        if part.get("type") in ("text", "refusal"):
            texts.append(checked_text(part.get("text", part.get("refusal")), f"{here}.text"))
        else:
            linked.append((here, part))
    text = checked_text("".join(texts), f"{where}.content")
    ids = _LINK.findall(text)
    text = _LINK.sub("", text)
    if not text and isinstance(message.get("refusal"), str):
        text = checked_text(message["refusal"], f"{where}.refusal")
    videos = message.get("videos")
    if videos is not None and not (isinstance(videos, list) and all(isinstance(v, dict) for v in videos)):
        raise bad_request(f"{where}.videos must be a list of videos", f"{where}.videos")
    linked += [(f"{where}.videos[{number}]", video) for number, video in enumerate(videos or ())]
    places = {identifier: _place(identifier, {}, where, caption, len(text)) for identifier in ids}
    for here, video in linked:
        identifier = _video_id(video)
        if identifier is None and not isinstance(video.get("caption"), str):
            raise bad_request(f"{here} is no video of this server", here, "unsupported_content")
        places[identifier or here] = _place(identifier or "", video, here, caption, len(text))
    return tagged(text, list(places.values()))


def _video_id(part: dict[str, Any]) -> str | None:
    url = part.get("video_url")
    link = url.get("url") if isinstance(url, dict) else url
    found = re.search(r"video_[0-9a-f]{32}", f"{part.get('id')} {link}")
    return found[0] if found else None


def _place(identifier: str, item: dict[str, Any], where: str, caption: Caption, end: int) -> tuple[int, str]:
    """Place and caption: what the client sends, else what is known here."""
    given, place = item.get("caption"), item.get("offset")
    known = caption(identifier)
    if isinstance(given, str) and given.strip():
        text = checked_text(given, f"{where}.caption")
    elif known is not None:
        text = known[0]
    else:
        raise ApiError(
            400, f"{where}: the video {identifier} has expired; send its caption with it", "not_found", where
        )
    if isinstance(place, int) and not isinstance(place, bool):
        return place, text
    return (known[1] if known else end), text
