"""Whatever a client sends, it is answered with what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from g4v.serve.app import make_app
from g4v.serve.options import Options

from . import fake

GONE = "video_" + "0" * 32
VALUES = [
    *(None, True, False, 0, 1, -1, 2, 1.5, -0.0, 1e308, 2**63, 2**64, 10**400, float("nan")),
    *("", "x", "say hi", "show a", "\x00", "\ud800", "1", GONE, "data:;base64,AAAA", "https://a.b/"),
    *({"type": "text", "text": "say a"}, {"type": "file", "file": {"file_id": "file-" + "0" * 32}}),
    *({"type": "video_url", "video_url": {"url": "data:;base64,AAAA"}}, {"role": "user", "content": "x"}),
    {"id": GONE, "caption": "c", "offset": 10**30},
]
FIELDS = """
content type text video_url url input_video data file file_id videos id caption offset refusal
tool_calls messages model n stop seed temperature top_p top_k stream stream_options include_usage
logprobs top_logprobs modalities max_tokens repetition_penalty num_inference_steps guidance_scale scheduler
negative_prompt num_frames width height prompt size seconds fps user tools response_format other
""".split()
value = st.recursive(
    st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=6,
)
fields = st.dictionaries(st.sampled_from(FIELDS), value, max_size=3)
role = st.sampled_from(["user", "user", "assistant", "system", "tool"])
message = st.builds(
    lambda role, content, more: {"content": content, **more, "role": role}, role, value, fields
)
chat = st.builds(lambda messages, more: {"messages": messages, **more}, st.lists(message, max_size=4), fields)
video = st.builds(lambda more: {"prompt": "a", **more}, fields)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("any")
    app = make_app(fake.Assistant(), Options(media_dir=folder, loopback=False, drain=0.1))  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(("path", "bodies"), [("/v1/chat/completions", chat), ("/v1/videos", video)])
def test_no_body_is_a_fault_of_the_server(client: Any, path: str, bodies: Any) -> None:
    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(bodies | value)
    def check(body: Any) -> None:
        headers = {"Content-Type": "application/json"}
        response = client.post(path, content=json.dumps(body), headers=headers)
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            assert response.json()["error"]["code"] != "internal_error"

    check()
    assert client.app.state.service.places.running == 0
