"""Replies of the assistant about clips, each asked for once and kept in a journal."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g4v._files import make_folder, one_line, sha256
from g4v.data.endpoint.journal import Journal
from g4v.errors import Error, OutputError, RuntimeUnavailable, VideoError

if TYPE_CHECKING:
    from g4v import Assistant

_STEPS = 1  # denoising steps of a video that the assistant sends along: only the words are measured


def bundle_key(bundle: str) -> str:
    """SHA-256 of a bundle's manifest, which holds those of all its files. Raises `BundleError`."""
    from g4v._runtime import find_bundle
    from g4v.errors import BundleError

    manifest = find_bundle(bundle) / "g4v.json"
    try:
        return sha256(manifest)
    except OSError as error:
        raise BundleError(f"{manifest} cannot be read: {one_line(error)}") from None


def open_folder(out: Path | None, name: str, stack: ExitStack) -> Journal | None:
    """The journal OUT/name, locked until the stack closes; None without a folder. Raises `OutputError`."""
    if out is None:
        return None
    make_folder(out)
    return stack.enter_context(Journal(out / name))


class Replies:
    """Asks one question about one clip, each in a new chat, and remembers the replies in a journal.

    asked, remembered: how many replies were made by this run and taken from earlier ones.
    """

    def __init__(self, assistant: Assistant, key: str, seed: int, journal: Journal | None) -> None:
        self._assistant, self._key, self._seed, self._journal = assistant, key, seed, journal
        known = journal.records if journal is not None else []
        self._known = {
            r["key"]: r for r in known if r.get("type") == "reply" and isinstance(r.get("key"), str)
        }
        self._clips: dict[Path, str] = {}
        self.asked = self.remembered = 0

    def ask(self, text: str, clip: Path | None) -> dict[str, Any]:
        """text, refused (bool) and videos (captions) of the reply.

        Raises `VideoError` for a clip that cannot be read, and other errors of the public API.
        """
        named = [self._key, self._seed, _STEPS, text, None if clip is None else self._content(clip)]
        key = hashlib.sha256(json.dumps(named).encode()).hexdigest()
        if key in self._known:
            self.remembered += 1
            return self._known[key]
        reply = self._assistant.chat(seed=self._seed, steps=_STEPS).ask(text, video=clip)
        record = {
            "type": "reply",
            "key": key,
            "text": reply.text,
            "refused": reply.refused,
            "videos": [video.caption for video in reply.videos],
        }
        if self._journal is not None:
            self._journal.add(record)
        self._known[key] = record
        self.asked += 1
        return record

    def _content(self, clip: Path) -> str:
        if clip not in self._clips:
            try:
                self._clips[clip] = sha256(clip)
            except OSError as error:
                raise VideoError(f"{clip} cannot be read: {one_line(error)}") from None
        return self._clips[clip]


def ends_the_run(error: Error) -> bool:
    """Whether an error would meet every other item too, so that the run must stop."""
    from g4v.errors import BundleError, InternalError

    return isinstance(error, (RuntimeUnavailable, BundleError, InternalError, OutputError))
