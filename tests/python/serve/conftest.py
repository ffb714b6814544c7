"""A server over an assistant without a model, inside of the test's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from g4v.serve.app import make_app
from g4v.serve.options import Options

from . import fake
from .browser import Browser, Tab
from .live import listening
from .process import until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """start(**options) -> a client of a server; `client.assistant` and `client.service` are its parts."""
    clients: list[TestClient] = []

    def start(**options: Any) -> TestClient:
        assistant = fake.Assistant()
        values = {"media_dir": tmp_path / "media", "loopback": False, "drain": 0.2} | options
        app = make_app(assistant, Options(**values))
        client: Any = TestClient(app, raise_server_exceptions=False)
        client.assistant, client.service = assistant, app.state.service
        clients.append(client)
        return client.__enter__()  # type: ignore[no-any-return]

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(start: Callable[..., TestClient]) -> TestClient:
    """A client of a server with the default options."""
    return start()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser. It must end with its module: its event loop runs on the main thread."""
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """(URL, the service's parts) of a server that listens, over the assistant whose answers a test writes.

    One is answered at a time; nobody waits.
    """
    with listening(tmp_path_factory.mktemp("media"), max_running=1, max_queued=0) as (port, service):
        yield f"http://127.0.0.1:{port}", service


@pytest.fixture
def open_tab(browser: Browser, written: tuple[str, Any]) -> Iterator[Callable[..., Tab]]:
    """open_tab(*allowed, **options) -> a tab with the page of that server."""
    tabs: list[Tab] = []

    def open_tab(*allowed: int, **options: Any) -> Tab:
        tabs.append(Tab(browser, written[0], *allowed, **options))
        return tabs[-1].__enter__()

    yield open_tab
    for tab in tabs:
        tab.__exit__(None)
    until(lambda: written[1].places.running == 0)  # the next test needs the place
