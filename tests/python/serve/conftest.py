"""A server over an assistant without a model, inside of the test's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from g4v.serve.app import make_app
from g4v.serve.options import Options

from . import browser as browsers
from . import fake


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
def browser() -> Iterator[Any]:
    """A browser. It must end with its module: its event loop runs on the main thread."""
    with browsers.started() as browser:
        yield browser
