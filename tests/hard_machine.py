"""A file system and limits of memory for one process, and what an operation uses of them."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

NEW_USER, NEW_MOUNTS, READ_ONLY, REMOUNT, PRIVATE = 0x10000000, 0x20000, 1, 32, 0x40000 | 0x4000
LARGE = 2_000_000_000


class Disk:
    """A tmpfs at a folder, in a mount namespace of its own, which ends with the process.

    OSError: this process may have none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._c = ctypes.CDLL(None, use_errno=True)
        user, group = os.getuid(), os.getgid()
        self._check(self._c.unshare(NEW_MOUNTS | (NEW_USER if user else 0)))
        if user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        self._check(self._c.mount(b"none", b"/", None, PRIVATE, None))
        self._mount(0, LARGE)

    def limit(self, free: int) -> None:
        """Leaves so many bytes."""
        self._mount(REMOUNT, max(self.used() + free, 4096))

    def refuse(self) -> None:
        """Writes nothing any more."""
        self._mount(REMOUNT | READ_ONLY, LARGE)

    def lift(self) -> None:
        """All is well again."""
        self._mount(REMOUNT, LARGE)

    def used(self) -> int:
        status = os.statvfs(self.folder)
        return (status.f_blocks - status.f_bfree) * status.f_frsize

    def _mount(self, flags: int, size: int) -> None:
        place = os.fsencode(self.folder)
        self._check(self._c.mount(b"tmpfs", place, b"tmpfs", flags, f"size={size}".encode()))

    def _check(self, failed: int) -> None:
        if failed:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def listing(folder: Path) -> dict[str, str]:
    """Names of all files below, hidden ones too, with their digests."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@contextlib.contextmanager
def need_of(found: dict[str, int], disk: Disk) -> Iterator[None]:
    """Notes the most memory and disk that is used inside."""
    before, used, over = address_space(), disk.used(), threading.Event()
    most = [0, 0]

    def look() -> None:
        while not over.is_set():
            most[0] = max(most[0], address_space() - before)
            most[1] = max(most[1], disk.used() - used)
            time.sleep(0.001)

    watch = threading.Thread(target=look)
    watch.start()
    own = address_space() - before  # the stack of that thread, and its heap
    try:
        yield
    finally:
        over.set()
        watch.join()
        largest = max((path.stat().st_size for path in disk.folder.rglob("*") if path.is_file()), default=0)
        found |= {"memory": max(most[0] - own, 0), "disk": max(most[1], largest)}
