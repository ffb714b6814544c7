"""Fetching from a server of another host, over TLS, on this machine."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from g4v.serve.base.errors import ApiError
from g4v.serve.media.fetch import Fetcher

HOST, OTHER = "media.example.org", "other.example.org"
AUTHORITY = trustme.CA()


def ok(body: bytes, *headers: str) -> bytes:
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


class Site:
    """A TLS server whose answers follow from the request's path; `requests` are the heads that it got."""

    def __init__(self, pages: dict[str, Any], hosts: tuple[str, ...] = (HOST, OTHER)) -> None:
        self.pages, self.requests, self.lookups = pages, [], []  # type: ignore[var-annotated]
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        AUTHORITY.issue_cert(*hosts).configure_cert(self._context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            page = self.pages[head.split(" ")[1]]
            if callable(page):
                await page(writer)
            else:
                writer.write(page)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def fetch(
        self,
        url: str,
        *,
        allowed: tuple[str, ...] = (HOST, OTHER),
        limit: int = 1000,
        seconds: float = 5.0,
        addresses: Callable[[str], list[str]] = lambda host: ["127.0.0.1"],
        is_open: Callable[[str], bool] = lambda address: address == "127.0.0.1",
    ) -> bytes:
        """Fetches with a resolver and a rule of its own: the server is on this machine."""

        async def resolve(host: str) -> list[str]:
            self.lookups.append(host)
            return addresses(host)

        async def run() -> bytes:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
            port = server.sockets[0].getsockname()[1]
            context = ssl.create_default_context()
            AUTHORITY.configure_trust(context)
            fetcher = Fetcher(
                allowed, limit, seconds, resolve=resolve, is_open=is_open, context=context, port=port
            )
            async with server:
                return await fetcher.fetch(url, "here")

        return asyncio.run(run())

    def refused(self, url: str, **options: Any) -> ApiError:
        with pytest.raises(ApiError) as found:
            self.fetch(url, **options)
        assert found.value.param == "here" and found.value.message.startswith("here")
        return found.value


def test_a_file_is_fetched_without_credentials() -> None:
    site = Site({"/a?b=c": ok(b"a clip")})
    assert site.fetch(f"https://{HOST}/a?b=c#fragment") == b"a clip"
    (head,) = site.requests
    lines = head.lower().split("\r\n")
    assert lines[0] == "get /a?b=c http/1.1" and f"host: {HOST}" in lines
    assert not any(line.startswith(("cookie", "authorization", "referer")) for line in lines)
    assert site.lookups == [HOST], "a host is looked up once"


def test_a_chunked_body() -> None:
    page = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert Site({"/": page}).fetch(f"https://{HOST}/") == b"abcde"
    assert Site({"/": b"HTTP/1.1 200 OK\r\n\r\nuntil the end"}).fetch(f"https://{HOST}/") == b"until the end"


def test_every_hop_is_checked() -> None:
    pages = {"/1": redirect("/2"), "/2": redirect(f"https://{OTHER}/3"), "/3": ok(b"x")}
    site = Site(pages)
    assert site.fetch(f"https://{HOST}/1") == b"x"
    assert site.lookups == [HOST, HOST, OTHER]
    error = Site(pages).refused(f"https://{HOST}/1", allowed=(HOST,))
    assert error.code == "url_not_allowed" and OTHER in error.message
    for target in ("http://media.example.org/3", "file:///etc/passwd", "https://127.0.0.1/", f"https://{HOST}:8443/",
                   f"https://user@{HOST}/", "//evil.example/", "https://[::1]/"):  # fmt: skip
        site = Site({"/": redirect(target)})
        assert site.refused(f"https://{HOST}/").code == "url_not_allowed", target
        assert len(site.requests) == 1


def test_redirects_end() -> None:
    site = Site({"/": redirect("/")})
    assert "redirects more than 3" in site.refused(f"https://{HOST}/").message
    assert len(site.requests) == 4


def test_a_host_with_an_address_inside_is_not_dialled() -> None:
    inside = ["127.0.0.1", "10.0.0.1"]
    site = Site({"/": ok(b"x")})
    for addresses in (inside, inside[::-1], ["10.0.0.1"], []):
        error = site.refused(f"https://{HOST}/", addresses=lambda host, found=addresses: found)
        assert error.code == "url_not_allowed"
    assert site.requests == []


def test_a_name_that_changes_its_address_between_hops() -> None:
    site = Site({"/": redirect("/2"), "/2": ok(b"secret")})
    error = site.refused(
        f"https://{HOST}/",
        addresses=lambda host: ["127.0.0.1"] if len(site.lookups) < 2 else ["169.254.169.254"],
    )
    assert error.code == "url_not_allowed" and len(site.requests) == 1


def test_the_rule_that_is_used_knows_no_address_of_this_machine() -> None:
    from g4v.serve.media.addresses import is_open_address

    site = Site({"/": ok(b"x")})
    assert site.refused(f"https://{HOST}/", is_open=is_open_address).code == "url_not_allowed"
    assert site.requests == []


def test_a_certificate_of_another_host() -> None:
    assert "certificate" in Site({"/": ok(b"x")}, (OTHER,)).refused(f"https://{HOST}/").message


def test_large_files_end_while_they_come() -> None:
    sent: list[int] = []

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while len(sent) < 10_000:
            writer.write(b"x" * 1000)
            await writer.drain()
            sent.append(1)

    assert Site({"/": endless}).refused(f"https://{HOST}/", limit=100_000).status == 413
    assert len(sent) < 10_000


def test_slow_servers_end() -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    assert "took longer" in Site({"/": slow}).refused(f"https://{HOST}/", seconds=0.3).message


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\n\r\n", "status 206"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", "HTTP/1.1"),
        (ok(b"x", "Content-Encoding: gzip"), "compressed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, "HTTP/1.1"),
        (b"", "HTTP/1.1"),
    ],
)
def test_an_answer_that_is_no_file(page: bytes, reason: str) -> None:
    error = Site({"/": page}).refused(f"https://{HOST}/")
    assert reason in error.message and error.code == "url_failed"


def test_a_host_that_is_not_there() -> None:
    def none(host: str) -> list[str]:
        raise OSError("no such host")

    assert "cannot be reached" in Site({}).refused(f"https://{HOST}/", addresses=none).message


def test_nothing_is_fetched_unless_a_host_is_allowed() -> None:
    site = Site({"/": ok(b"x")})
    error = site.refused(f"https://{HOST}/", allowed=())
    assert error.code == "url_not_allowed" and "--allowed-media-domain" in error.message
    assert site.lookups == [] and site.requests == []
