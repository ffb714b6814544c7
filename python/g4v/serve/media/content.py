"""Bytes of stored files, whole or in ranges, with tags by which caches know them."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ..base.errors import not_found
from .store import Record


def stored_file(request: Request, path: Path, kind: str, record: Record) -> Response:
    """The response to a GET or HEAD: Range, If-Range and If-None-Match are obeyed. ApiError (404)."""
    tag = f'"{record["id"]}"'  # a record's bytes never change
    headers = {
        "ETag": tag,
        "Cache-Control": "private, max-age=3600",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    given = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    if tag in given or "*" in given:
        return Response(status_code=304, headers=headers)
    try:
        status = os.stat(path)
    except OSError:
        raise not_found(record["id"]) from None
    disposition = "inline" if kind.startswith("video/") else "attachment"
    return FileResponse(
        path,
        headers=headers,
        media_type=kind,
        stat_result=status,
        filename=record.get("filename") or path.name,
        content_disposition_type=disposition,
    )
