"""The OpenAPI description against the server: routes, fields, and what schemathesis makes of it.

G4V_SCHEMATHESIS_EXAMPLES=1000 tries so many requests of each route instead of a few.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from g4v.serve.chats import request as chat_request
from g4v.serve.routes import openapi
from g4v.serve.routes.openapi_schemas import SCHEMAS
from g4v.serve.videos import request as video_request

from .live import listening

schemathesis = pytest.importorskip("schemathesis")
# As found in chats and jobs, in place of ids of nothing.
SAID = ("say hi there", "show a star", "refuse", "say one two three")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """(its URL, its parts)"""
    with listening(tmp_path_factory.mktemp("openapi"), max_queued_videos=10_000) as (port, service):
        yield f"http://127.0.0.1:{port}", service


def operations() -> list[tuple[str, str]]:
    paths = openapi.document()["paths"]
    return [(p, m) for p, found in paths.items() for m in found if m in ("get", "post", "delete")]


def test_routes(client: TestClient) -> None:
    there = {
        (route.path, method.lower())
        for route in client.app.routes  # type: ignore[attr-defined]
        for method in route.methods - {"HEAD"}
        # The page for browsers is none of the API.
        if route.path.startswith("/v1/") or len(route.path.split("/")) == 2 and hasattr(route, "endpoint")
    }
    described = set(operations())
    assert described <= there
    assert {one for one in there if one[0].startswith("/v1/")} <= described


def test_fields() -> None:
    read: dict[str, set[str]] = {"ChatRequest": set(), "VideoRequest": {"model"}}
    asked = r'fields\.(?:integer|number|text|boolean|value|inner)\("(\w+)"'
    for name, module in (("ChatRequest", chat_request), ("VideoRequest", video_request)):
        read[name] |= set(re.findall(asked, Path(str(module.__file__)).read_text("utf-8")))
        read[name] |= set(module.REFUSED)
    options = set(re.findall(asked, source_of_options()))
    read["ChatRequest"] |= options | {"max_tokens", "max_completion_tokens", *chat_request.WITHOUT_EFFECT}
    for name, names in read.items():
        assert names == set(SCHEMAS[name]["properties"]), names ^ set(SCHEMAS[name]["properties"])


def source_of_options() -> str:
    source = Path(str(video_request.__file__)).read_text("utf-8")
    return source[source.index("def video_options") : source.index("def check_video_options")]


def test_what_needs_no_key_says_so() -> None:
    found = openapi.document()
    assert [p for p, o in found["paths"].items() if o.get("get", {}).get("security") == []] == ["/health"]


@pytest.mark.parametrize(("path", "method"), operations())
def test_requests_made_of_the_description(server: tuple[str, Any], path: str, method: str) -> None:
    """No fault of the server, and every answer is as described."""
    url, service = server
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")[path][method.upper()]
    wanted = [schemathesis.checks.not_a_server_error]
    for name in ("status_code_conformance", "content_type_conformance", "response_schema_conformance"):
        wanted.append(schemathesis.checks.CHECKS.get_one(name))
    client = httpx.Client(base_url=url)
    kept = client.post("/v1/files", files={"file": ("a.mp4", b"12")}, data={"purpose": "vision"}).json()
    made = client.post("/v1/videos", json={"prompt": "slow star" if method == "delete" else "a star"}).json()
    known = {"/v1/files": kept["id"], "/v1/videos": made["id"], "/v1/models": "fake"}
    most = int(os.environ.get("G4V_SCHEMATHESIS_EXAMPLES", "0"))

    @settings(
        max_examples=most or 12,
        deadline=None,
        derandomize=not most,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), real=st.booleans(), said=st.sampled_from(SAID))
    def check(case: Any, real: bool, said: str) -> None:
        if real and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = known["/".join(path.split("/")[:3])]
        if real and isinstance(case.body, dict):
            case.body.pop("model", None)
            if "messages" in case.body:
                case.body["messages"] = [{"role": "user", "content": said}]
        case.validate_response(case.call(), checks=wanted)

    try:
        check()
    finally:
        client.close()
    assert service.places.running == 0
