"""What `g4v serve` can be told."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


def default_media_dir() -> Path:
    """$XDG_CACHE_HOME/g4v/media, or ~/.cache/g4v/media."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "g4v" / "media"


@dataclass(frozen=True)
class Options:
    """Options of a server; `g4v serve --help` tells what each does. Sizes are bytes, times seconds."""

    media_dir: Path = field(default_factory=default_media_dir)
    share_media: bool = False
    media_ttl: float = 24 * 3600.0
    media_bytes: int = 2 << 30
    max_upload: int = 64 << 20
    max_running: int = 4
    max_queued: int = 16
    max_queued_videos: int = 16
    kv_memory: int = 1 << 30
    max_videos: int = 8
    allowed_media_domains: tuple[str, ...] = ()
    api_key_file: Path | None = None
    timeout: float = 600.0
    drain: float = 30.0
    videos_in_text: bool = False
    log_content: bool = False
    page: bool = True
    # Without a key only requests that a page of another site cannot have sent are served.
    loopback: bool = True
