"""/v1/videos, and videos of answers, over an assistant without a model."""

from __future__ import annotations

import base64
import re
import time
from typing import Any

import pytest

from .talk import answer, ask, chunks, fault, finished, user


def create(client: Any, prompt: str, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/videos", json={"prompt": prompt, **fields})
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def test_a_video_from_its_caption(client) -> None:
    made = create(client, "a star", seed=5, model="fake", user="me")
    assert made["object"] == "video" and made["status"] in ("queued", "in_progress")
    assert made["model"] == "fake" and made["prompt"] == "a star" and made["error"] is None
    done = finished(client, made["id"])
    assert done["status"] == "completed" and done["progress"] == 100
    assert done["completed_at"] >= done["created_at"] and done["expires_at"] > done["completed_at"]
    assert done["seconds"] == "0.25" and done["size"] == "16x16" and done["seed"] == 5
    assert client.assistant.made == [{"prompt": "a star", "seed": 5}]
    content = client.get(f"/v1/videos/{made['id']}/content")
    assert content.headers["content-type"] == "video/mp4" and content.content[4:8] == b"ftyp"
    part = client.get(f"/v1/videos/{made['id']}/content", headers={"Range": "bytes=4-7"})
    assert part.status_code == 206 and part.content == b"ftyp"
    tag = {"If-None-Match": content.headers["etag"]}
    assert client.get(f"/v1/videos/{made['id']}/content", headers=tag).status_code == 304


def test_options_reach_the_generator(client) -> None:
    made = create(client, "a", size="32x16", seconds="0.5", fps=4, num_inference_steps=3, guidance_scale=1.5,
                  negative_prompt="blurred", scheduler="euler", seed=1)  # fmt: skip
    finished(client, made["id"])
    assert client.assistant.made == [
        {"prompt": "a", "seed": 1, "width": 32, "height": 16, "frames": 2, "steps": 3, "guidance_scale": 1.5,
         "negative_prompt": "blurred", "scheduler": "euler", "fps": 4.0}
    ]  # fmt: skip
    assert client.get(f"/v1/videos/{made['id']}").json()["seconds"] == "0.5"


def test_a_form_says_the_same(client) -> None:
    fields = {"prompt": "a", "seed": "3", "num_frames": "4", "size": "16x16", "guidance_scale": "2.5"}
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    made = client.post("/v1/videos", content=form(fields), headers=kind).json()
    finished(client, made["id"])
    assert client.assistant.made[0]["frames"] == 4 and client.assistant.made[0]["guidance_scale"] == 2.5


def form(fields: dict[str, str]) -> bytes:
    parts = [f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    return ("".join(parts) + "--b--\r\n").encode()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"size": "big"}, "size"),
        ({"size": "16x16", "width": 16}, "size"),
        ({"seconds": "soon"}, "seconds"),
        ({"seconds": "-1"}, "seconds"),
        ({"seconds": "1000"}, "seconds"),
        ({"seconds": "1", "num_frames": 8}, "seconds"),
        ({"num_frames": 1025}, "num_frames"),
        ({"fps": 0}, "fps"),
        ({"image_reference": "x"}, "image_reference"),
        ({"input_reference": ""}, "input_reference"),
        ({"input_reference": 5}, "input_reference"),
        ({"input_reference": {"url": "x"}}, "input_reference"),
        ({"input_reference": {"file_id": "x", "image_url": "y"}}, "input_reference"),
        ({"input_reference": {"file_id": 5}}, "input_reference.file_id"),
        ({"input_reference": "data:text/plain,x"}, "input_reference"),
        ({"input_reference": "https://example.org/clip.mp4"}, "input_reference"),
        ({"strength": 0.5}, "strength"),
        ({"strength": 1.5, "input_reference": "data:;base64,AAAA"}, "strength"),
        ({"strength": 0, "input_reference": "data:;base64,AAAA"}, "strength"),
        ({"n": 2}, "n"),
        ({"extra_params": {"a": 1}}, "extra_params"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_what_cannot_be_made_is_refused(client, fields: dict[str, Any], param: str) -> None:
    body = ({} if param == "prompt" else {"prompt": "a"}) | fields
    error = fault(client.post("/v1/videos", json=body), 400)
    assert error["param"] == param
    assert client.get("/v1/videos").json()["data"] == []


def test_the_core_checks_sizes_before_the_job_is_made(client) -> None:
    assert (
        "multiple of 8" in fault(client.post("/v1/videos", json={"prompt": "a", "width": 63}), 400)["message"]
    )


def test_a_file_in_the_form_is_refused(client) -> None:
    response = client.post("/v1/videos", data={"prompt": "a"}, files={"video_reference": b"x"})
    assert fault(response, 400)["param"] == "video_reference"


def test_a_video_from_a_video_or_a_picture(client) -> None:
    """As OpenAI's client sends it: a form's file, or an object; and the ways in which chats name one."""
    data = base64.b64encode(b"clip").decode()
    stored = client.post(
        "/v1/files", files={"file": ("a.mp4", b"stored")}, data={"purpose": "user_data"}
    ).json()
    made = create(client, "a")
    finished(client, made["id"])
    ways: list[tuple[Any, bytes | None, bool]] = [
        (f"data:video/mp4;base64,{data}", b"clip", False),
        ({"image_url": f"data:image/png;base64,{data}"}, b"clip", True),
        ({"video_url": f"data:video/mp4;base64,{data}"}, b"clip", False),
        ({"file_id": stored["id"]}, b"stored", False),
        (made["id"], None, False),
        ({"video_url": f"/v1/videos/{made['id']}/content"}, None, False),
    ]
    for reference, sent, picture in ways:
        body = {"prompt": "b", "input_reference": reference, "strength": 0.4, "num_frames": 2}
        found = client.post("/v1/videos", json=body)
        assert found.status_code == 200, found.text
        read, one, values = client.assistant.sources[-1]
        assert one is picture and (sent is None or read == sent)
        assert values["strength"] == 0.4 and values["frames"] == 2
        finished(client, found.json()["id"])
        assert client.assistant.made[-1]["source"].shape == (1, 16, 16, 3)
        assert client.assistant.made[-1]["strength"] == 0.4
    fields, file = {"prompt": "c", "strength": "0.5"}, {"input_reference": ("a.png", b"form", "image/png")}
    response = client.post("/v1/videos/sync", data=fields, files=file)
    assert response.status_code == 200, response.text
    assert client.assistant.sources[-1][:2] == (b"form", False)
    assert client.assistant.made[-1]["strength"] == 0.5
    for sent, code in ((b"no video", "invalid_video"), (b"no encoder", "unsupported_parameter")):
        error = fault(client.post("/v1/videos", data=fields, files={"input_reference": sent}), 400)
        assert (error["code"], error["param"]) == (code, "input_reference")
    both = {"prompt": "c", "input_reference": f"data:video/mp4;base64,{data}"}
    assert "twice" in fault(client.post("/v1/videos", data=both, files=file), 400)["message"]
    missing = {"prompt": "c", "input_reference": {"file_id": "file-" + "0" * 32}}
    fault(client.post("/v1/videos", json=missing), 404)


def test_a_failed_video_is_told_with_200(client) -> None:
    for prompt, code in (("broken", "runtime_error"), ("unsafe", "content_filter")):
        made = create(client, prompt)
        done = finished(client, made["id"])
        assert done["status"] == "failed" and done["error"]["code"] == code
        assert fault(client.get(f"/v1/videos/{made['id']}/content"), 422)["code"] == code


def test_pages_of_the_list(client) -> None:
    ids = [create(client, f"a {k}")["id"] for k in range(5)]
    for identifier in ids:
        finished(client, identifier)
    page = client.get("/v1/videos?limit=2").json()
    assert [v["id"] for v in page["data"]] == ids[:2:-1] and page["has_more"]
    assert page["first_id"] == ids[4] and page["last_id"] == ids[3]
    rest = client.get(f"/v1/videos?after={ids[3]}").json()
    assert [v["id"] for v in rest["data"]] == ids[2::-1] and not rest["has_more"]
    ascending = client.get("/v1/videos?order=asc&limit=1").json()
    assert [v["id"] for v in ascending["data"]] == ids[:1]
    for query in ("limit=0", "limit=101", "limit=x", "order=up", "after=video_x"):
        fault(client.get(f"/v1/videos?{query}"), 400)


def test_the_line_has_an_order_and_an_end(start) -> None:
    client = start(max_queued_videos=2)
    first = create(client, "slow one")
    until = time.monotonic() + 5
    while client.service.jobs.waiting and time.monotonic() < until:
        time.sleep(0.002)
    second, third = create(client, "two"), create(client, "three")
    response = client.post("/v1/videos", json={"prompt": "four"})
    assert fault(response, 429)["code"] == "queue_full" and response.headers["Retry-After"]
    positions = [client.get(f"/v1/videos/{v['id']}").json()["position"] for v in (first, second, third)]
    assert positions == [0, 1, 2]
    assert fault(client.get(f"/v1/videos/{first['id']}/content"), 404)["code"] == "video_not_ready"
    began = time.monotonic()
    for video in (second, first):
        assert client.delete(f"/v1/videos/{video['id']}").json()["deleted"]
    assert finished(client, third["id"])["status"] == "completed"
    assert time.monotonic() - began < 1.5, "the first one takes 2 seconds"
    fault(client.get(f"/v1/videos/{first['id']}"), 404)
    assert [made["prompt"] for made in client.assistant.made] == ["slow one", "three"]
    assert 'g4v_videos_total{outcome="cancelled"} 2.0' in client.get("/metrics").text


def test_a_video_at_once(client) -> None:
    response = client.post("/v1/videos/sync", json={"prompt": "a"})
    assert response.status_code == 200 and response.content[4:8] == b"ftyp"
    assert client.get(f"/v1/videos/{response.headers['x-video-id']}").json()["status"] == "completed"
    assert fault(client.post("/v1/videos/sync", json={"prompt": "unsafe"}), 422)["code"] == "content_filter"


def test_a_video_at_once_that_takes_too_long(start) -> None:
    client = start(timeout=0.1)
    assert fault(client.post("/v1/videos/sync", json={"prompt": "slow"}), 504)["code"] == "timeout"
    assert client.service.jobs.unfinished == 0 and client.get("/v1/videos").json()["data"] == []


def test_an_answer_with_a_video(client) -> None:
    whole = answer(client, "show a red star", seed=2, num_inference_steps=3)
    message = whole["choices"][0]["message"]
    (video,) = message["videos"]
    assert video["status"] == "completed" and video["progress"] == 100 and video["type"] == "video_url"
    assert video["caption"] == "a red star" and video["seed"] == 2 * 1000003 and video["index"] == 0
    assert video["video_url"]["url"] == f"http://testserver/v1/videos/{video['id']}/content"
    assert client.assistant.made == [{"prompt": "a red star", "steps": 3, "seed": 2000006}]
    assert client.get(video["video_url"]["url"]).content[4:8] == b"ftyp"
    assert client.get("/v1/videos").json()["data"][0]["id"] == video["id"]


def test_a_stream_with_a_video(client) -> None:
    *found, end = chunks(client, "show a red star")
    assert end == "[DONE]"
    states = [v for c in found for v in c["choices"][0]["delta"].get("videos", [])]
    assert states[0]["status"] == "queued" and states[-1]["status"] == "completed"
    assert len({v["id"] for v in states}) == 1
    progress = [v["progress"] for v in states]
    assert progress == sorted(progress) and progress[-1] == 100
    assert found[-1]["choices"][0]["finish_reason"] == "stop", "after the video"


def test_text_alone_makes_no_video(client) -> None:
    whole = answer(client, "show a red star", modalities=["text"])
    (video,) = whole["choices"][0]["message"]["videos"]
    assert video["status"] == "skipped" and video["id"] is None and video["video_url"] is None
    assert client.assistant.made == []
    said = [user("show a red star"), whole["choices"][0]["message"], "say more"]
    again = answer(client, *said)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0, "the caption is in the history"


def test_a_withheld_video(client) -> None:
    (video,) = answer(client, "show unsafe signs")["choices"][0]["message"]["videos"]
    assert video["status"] == "withheld"
    fault(client.get(f"/v1/videos/{video['id']}/content"), 422)
    (video,) = answer(client, "show broken things")["choices"][0]["message"]["videos"]
    assert video["status"] == "failed" and video["error"]["code"] == "runtime_error"


def test_a_full_line_of_videos_fails_the_video_alone(start) -> None:
    client = start(max_queued_videos=1)
    create(client, "slow one")
    create(client, "slow two")
    while client.service.jobs.waiting < 1:
        create(client, "slow two")
    whole = answer(client, "show a star")
    (video,) = whole["choices"][0]["message"]["videos"]
    assert (
        video["status"] == "failed" and video["error"]["code"] == "queue_full" and video["video_url"] is None
    )
    assert whole["choices"][0]["message"]["content"] == "Look:  Done."


def test_a_video_of_an_answer_that_is_deleted_ends_the_wait(client) -> None:
    import threading

    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(answer(client, "show slow stars")))
    thread.start()
    until = time.monotonic() + 5
    while not (data := client.get("/v1/videos").json()["data"]) and time.monotonic() < until:
        time.sleep(0.002)
    client.delete(f"/v1/videos/{data[0]['id']}")
    thread.join(5)
    (video,) = found[0]["choices"][0]["message"]["videos"]
    assert video["status"] == "failed" and video["error"]["code"] == "cancelled"


def test_links_in_the_text_carry_their_right(start, tmp_path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("key-one-0123456789", "utf-8")
    client = start(videos_in_text=True, api_key_file=keys)
    client.headers["Authorization"] = "Bearer key-one-0123456789"
    content = answer(client, "show a star")["choices"][0]["message"]["content"]
    url = re.fullmatch(r"Look:  Done\.\n<video>(http://testserver/v1/videos/\S+)</video>\n", content)
    assert url, content
    del client.headers["Authorization"]
    assert client.get(url[1]).content[4:8] == b"ftyp"
    assert client.head(url[1]).status_code == 200
    fault(client.get(url[1].partition("?")[0]), 401)
    fault(client.get(url[1] + "0"), 401)
    fault(client.delete(url[1].replace("/content", "")), 401)
    fault(client.get(url[1].replace("/content", "")), 401)
    fault(ask(client, "hello"), 401)
