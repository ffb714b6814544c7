"""The page at `/`: a few files of the package, read once, with the headers that shut everything else out."""

from __future__ import annotations

import hashlib
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..base.errors import not_found

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Nothing of another site, nothing inline, no frame around the page. blob: is for videos, which scripts fetch
# with the key. Trusted types: a script cannot turn text into HTML, not even by mistake.
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    # A browser asks each time, and gets 304: after an update of g4v no old file meets a new one.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageFiles:
    """The files of the page. They hold nothing secret, and are served without a key."""

    def __init__(self) -> None:
        self._files = {
            path.name: (path.read_bytes(), _KINDS["." + path.name.rpartition(".")[2]])
            for path in resources.files("g4v.serve").joinpath("page").iterdir()
        }

    @property
    def routes(self) -> list[Route]:
        """`/` and `/page/{name}`."""
        return [Route("/", self._index), Route("/page/{name}", self._one)]

    async def _index(self, request: Request) -> Response:
        """GET: the page."""
        return self._response(request, "index.html")

    async def _one(self, request: Request) -> Response:
        """GET: a file that the page needs."""
        return self._response(request, str(request.path_params["name"]))

    def _response(self, request: Request, name: str) -> Response:
        if name not in self._files:
            raise not_found(f"the file {name[:64]!r} of the page")
        data, kind = self._files[name]
        headers = _HEADERS | {"ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"'}
        given = request.headers.get("if-none-match", "").split(",")
        if headers["ETag"] in (tag.strip().removeprefix("W/") for tag in given):
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type=kind)


def is_page(path: str) -> bool:
    """Whether a request's path is one of the page's."""
    return path == "/" or path.startswith("/page/")
