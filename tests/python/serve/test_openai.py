"""OpenAI's own client against `g4v serve`, over the embedded bundle."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from .process import Server

openai = pytest.importorskip("openai")
pytestmark = [
    pytest.mark.slow,
    # The client says so of each call of videos: OpenAI's own service has ended, the shape has not.
    pytest.mark.filterwarnings("ignore:The Sora API"),
]

ASK = "Show me a red circle moving left"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("openai")
    key = "key-of-the-test-0123456789"
    (folder / "keys").write_text(key, "utf-8")
    with Server(folder, "--api-key-file", str(folder / "keys"), key=key) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
            yield client


def ask(client: Any, text: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="tiny", messages=messages, **fields)


def test_models(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_an_answer(client: Any) -> None:
    whole = ask(client, "Hello", temperature=0, max_tokens=20, seed=1)
    assert whole.choices[0].message.content and whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert ask(client, "Hello", max_tokens=2).choices[0].finish_reason == "length"


def test_a_stream_says_the_same(client: Any) -> None:
    whole = ask(client, "Hello", temperature=0)
    pieces = list(ask(client, "Hello", temperature=0, stream=True, stream_options={"include_usage": True}))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens
    with client.chat.completions.stream(
        model="tiny", messages=[{"role": "user", "content": "Hello"}]
    ) as stream:
        assert stream.get_final_completion().choices[0].message.content == text


def test_logprobs(client: Any) -> None:
    whole = ask(client, "Hello", temperature=0, logprobs=True, top_logprobs=3)
    content = whole.choices[0].logprobs.content
    joined = b"".join(bytes(token.bytes) for token in content).decode()
    assert whole.choices[0].message.content in joined
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in content)
    assert all(token.top_logprobs[0].token == token.token for token in content), (
        "temperature 0 takes the likeliest"
    )


def test_a_video_in_and_a_video_out(client: Any) -> None:
    message = ask(client, ASK).choices[0].message
    (video,) = message.videos
    assert video["status"] == "completed" and video["caption"]
    clip = client.videos.download_content(video["id"]).read()
    kept = client.files.create(file=("clip.mp4", clip), purpose="user_data")
    for part in (
        {"type": "file", "file": {"file_id": kept.id}},
        {"type": "video_url", "video_url": {"url": video["video_url"]["url"]}},
        {"type": "input_video", "input_video": {"data": base64.b64encode(clip).decode()}},
    ):
        question = [{"type": "text", "text": "What moves here?"}, part]
        whole = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": question}], temperature=0
        )
        assert "circle" in whole.choices[0].message.content, part
    talk = [{"role": "user", "content": ASK}, message.model_dump(exclude_none=True)]
    talk.append({"role": "user", "content": "Thank you"})
    again = client.chat.completions.create(model="tiny", messages=talk)
    assert again.usage.prompt_tokens_details.cached_tokens > 0


def test_files(client: Any) -> None:
    data = bytes(range(256))
    kept = client.files.create(file=("clip.mp4", data), purpose="user_data")
    assert kept.bytes == 256 and kept.filename == "clip.mp4"
    assert client.files.retrieve(kept.id).id == kept.id
    assert client.files.content(kept.id).read() == data
    assert kept.id in [file.id for file in client.files.list()]
    assert client.files.delete(kept.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(kept.id)


def test_videos(client: Any) -> None:
    made = client.videos.create_and_poll(
        prompt="a red circle moving left", model="tiny", poll_interval_ms=50, extra_body={"seed": 3}
    )
    assert made.status == "completed" and made.progress == 100 and made.size == "64x64"
    assert client.videos.retrieve(made.id).status == "completed"
    content = client.videos.download_content(made.id)
    assert content.response.headers["content-type"] == "video/mp4" and content.read()[4:8] == b"ftyp"
    again = client.videos.create(prompt="a star", extra_body={"num_inference_steps": 1})
    assert [video.id for video in client.videos.list(limit=1)][:2] == [again.id, made.id]
    assert client.videos.delete(again.id).deleted and client.videos.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(made.id)


def test_the_program_of_the_page(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "serving.md"
    (program,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    program = program.replace("http://127.0.0.1:8000/v1", str(client.base_url)).replace(
        '"none"', repr(client.api_key)
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(program, str(page), "exec"), {})
    assert (tmp_path / "circle.mp4").read_bytes()[4:8] == b"ftyp"


def test_errors_have_their_classes(client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as found:
        ask(client, "Hello", n=2)
    assert found.value.code == "unsupported_parameter" and found.value.param == "n"
    assert found.value.request_id.startswith("req_")
    with pytest.raises(openai.AuthenticationError):
        ask(client.with_options(api_key="another-key-0123456789"), "Hello")
    with pytest.raises(openai.BadRequestError) as found:
        ask(client, "word " * 3000)
    assert found.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "Hello"}])
