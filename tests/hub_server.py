"""A local stand-in for the Hugging Face hub: it serves folders OWNER/NAME below a root over HTTP."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    root: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            return self._describe(self.root / parts[2] / parts[3], "/".join(parts[2:4]), parts[4:])
        if len(parts) > 4 and parts[2] == "resolve":
            return self._send_file(self.root / parts[0] / parts[1], "/".join(parts[4:]), with_body)
        return self._fail("EntryNotFound")

    def _describe(self, folder: Path, name: str, rest: list[str]) -> None:
        if not folder.is_dir():
            return self._fail("RepoNotFound")
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        if rest[:1] == ["tree"]:
            entries = [
                {
                    "type": "file",
                    "path": file,
                    "size": (folder / file).stat().st_size,
                    "oid": _etag(folder / file),
                }
                for file in files
            ]
            return self._send(json.dumps(entries).encode(), {"Content-Type": "application/json"})
        about = {"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": []}
        about |= {"downloads": 0, "likes": 0, "siblings": [{"rfilename": file} for file in files]}
        return self._send(json.dumps(about).encode(), {"Content-Type": "application/json"})

    def _send_file(self, folder: Path, file: str, with_body: bool) -> None:
        path = folder / file
        if not path.is_file():
            return self._fail("EntryNotFound")
        if with_body:
            self.asked.append(f"{folder.parent.name}/{folder.name}/{file}")
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(path)}"', "Accept-Ranges": "bytes"}
        return self._send(path.read_bytes(), headers, with_body)

    def _send(self, body: bytes, headers: dict[str, str], with_body: bool = True) -> None:
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body and self.command == "GET":
            self.wfile.write(body)

    def _fail(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


@contextmanager
def serve_hub(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves the folders below `root`; gives the address, and a list that fills with the files downloaded."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"root": root, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
