"""POST /v1/chat/completions over an assistant without a model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .talk import answer, ask, bot, chunks, fault, user


def test_an_answer(client) -> None:
    whole = answer(client, "say one two", seed=3, temperature=0.5, max_tokens=9, stop=["x"], user="me")
    assert whole["object"] == "chat.completion" and whole["model"] == "fake"
    assert whole["id"].startswith("chatcmpl-")
    (choice,) = whole["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "one two ", "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert whole["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    options = client.assistant.chats[-1].options
    assert options["seed"] == 3 and options["temperature"] == 0.5 and options["max_new_tokens"] == 9
    assert options["stop"] == ("x",) and options["logprobs"] is None and options["videos"] is False


def test_max_completion_tokens_is_the_newer_name(client) -> None:
    answer(client, "say x", max_tokens=9, max_completion_tokens=5, top_k=-1, seed=-1, stop="end")
    options = client.assistant.chats[-1].options
    assert options["max_new_tokens"] == 5 and options["top_k"] == 0 and options["stop"] == ("end",)
    assert options["seed"] == 2**64 - 1


def test_without_a_seed_one_is_drawn(client) -> None:
    answer(client, "say x")
    answer(client, "say x")
    first, second = (chat.options["seed"] for chat in client.assistant.chats)
    assert first != second and 0 <= first < 2**32


def test_a_stream(client) -> None:
    *found, end = chunks(client, "say one two")
    assert end == "[DONE]"
    assert {c["object"] for c in found} == {"chat.completion.chunk"} and len({c["id"] for c in found}) == 1
    deltas = [c["choices"][0]["delta"] for c in found]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "one "}, {"content": "two "}, {}]
    assert [c["choices"][0]["finish_reason"] for c in found] == [None, None, None, "stop"]


def test_a_stream_with_usage(client) -> None:
    *_, last, end = chunks(client, "say one", stream_options={"include_usage": True})
    assert end == "[DONE]" and last["choices"] == [] and last["usage"]["total_tokens"] == 7


def test_logprobs(client) -> None:
    whole = answer(client, "say one two", logprobs=True, top_logprobs=1)
    content = whole["choices"][0]["logprobs"]["content"]
    top = {"token": "one ", "logprob": -0.5, "bytes": list(b"one ")}
    assert content[0] == top | {"top_logprobs": [top]} and len(content) == 2
    assert client.assistant.chats[-1].options["logprobs"] == 1
    streamed = chunks(client, "say one two", logprobs=True)
    assert streamed[1]["choices"][0]["logprobs"]["content"][0]["token"] == "one "
    assert client.assistant.chats[-1].options["logprobs"] == 0


def test_a_refusal_is_a_content_filter(client) -> None:
    choice = answer(client, "refuse")["choices"][0]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["refusal"] == choice["message"]["content"] == "I am sorry."
    *found, _ = chunks(client, "refuse")
    assert {"refusal": "I am sorry."} in [c["choices"][0]["delta"] for c in found]
    assert found[-1]["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"audio": {"voice": "a"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(client, fields: dict[str, Any], param: str) -> None:
    error = fault(ask(client, "hello", **fields), 400)
    assert error["code"] == "unsupported_parameter" and error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert client.assistant.chats == []


def test_what_asks_for_nothing_is_accepted(client) -> None:
    answer(client, "hello", n=1, tools=[], tool_choice="auto", response_format={"type": "text"},
           presence_penalty=0, frequency_penalty=0.0, logit_bias={}, stop=None, seed=None)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 101}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"top_p": -0.1}, "top_p"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"seed": 2**64}, "seed"),
        ({"num_frames": 0}, "num_frames"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(client, fields: dict[str, Any], param: str) -> None:
    messages = [] if "messages" in fields else ["hello"]
    body = {"model": "fake", "messages": [user(m) for m in messages]} | fields
    error = fault(client.post("/v1/chat/completions", json=body), 400)
    assert error["param"] == param and param in error["message"]


def test_options_of_videos_are_checked_by_the_core(client) -> None:
    assert "multiple of 8" in fault(ask(client, "hello", width=63), 400)["message"]


def test_unknown_fields_are_counted(client) -> None:
    answer(client, "hello", invented=1, also_invented=[2], null_is_not_given=None)
    assert "g4v_unknown_fields_total 2.0" in client.get("/metrics").text


def test_requests_are_counted_by_route_and_outcome(client) -> None:
    answer(client, "hello")
    ask(client, "hello", n=2)
    client.get("/v1/files/file-1/content")
    client.get("/nowhere/at/all")
    client.delete("/v1/models")
    text = client.get("/metrics").text
    for route, outcome in (
        ("/v1/chat/completions", "ok"),
        ("/v1/chat/completions", "rejected"),
        ("/v1/files/{id}/content", "rejected"),
        ("/v1/models", "rejected"),
        ("none", "rejected"),
    ):
        assert f'g4v_requests_total{{outcome="{outcome}",route="{route}"}} 1.0' in text, route
    assert "g4v_time_to_first_token_seconds_count 1.0" in text and "g4v_request_seconds_count 2.0" in text


def test_another_model(client) -> None:
    assert fault(ask(client, "hello", model="gpt-9"), 404)["code"] == "model_not_found"
    assert answer(client, "hello", model=None)["model"] == "fake"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"messages": NaN}'])
def test_a_body_that_is_no_request(client, body: bytes) -> None:
    fault(
        client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"}), 400
    )


def test_a_body_of_another_type(client) -> None:
    fault(client.post("/v1/chat/completions", content=b"{}", headers={"Content-Type": "text/plain"}), 415)
    fault(client.post("/v1/chat/completions", data={"a": "b"}), 415)


def test_errors_of_the_core(client, capsys: pytest.CaptureFixture[str]) -> None:
    assert fault(ask(client, "long"), 400)["code"] == "context_length_exceeded"
    assert fault(ask(client, ""), 400)["code"] == "invalid_value"
    assert fault(ask(client, "break"), 500)["code"] == "runtime_error"
    for stream in (False, True):
        capsys.readouterr()
        named = {"X-Request-Id": f"mine-{stream}"}
        body = {"messages": [user("break")], "stream": stream}
        client.post("/v1/chat/completions", json=body, headers=named)
        (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert line["id"] == f"mine-{stream}" and line["outcome"] == "error"
        assert line["error"] == "runtime_error" and "ONNX Runtime failed" in line["fault"]
    assert fault(ask(client, "long", stream=True), 400)["code"] == "context_length_exceeded"
    *_, text, error = chunks(client, "break")  # the first piece has been sent
    assert text["choices"][0]["delta"] == {"content": "Br"}
    assert error["error"]["code"] == "runtime_error"
    assert client.service.places.running == 0


def test_each_message_is_a_turn(client) -> None:
    answer(client, {"role": "system", "content": "Be terse."}, "one", bot("two"), "three")
    chat = client.assistant.chats[-1]
    assert chat.system == "Be terse."
    assert chat.history == [("one", "two", None), ("three", "You said: three", None)]
