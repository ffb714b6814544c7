"""Conversations are found by what was said in them."""

from __future__ import annotations

import base64
from typing import Any

from g4v.serve.chats.history import Conversations
from g4v.serve.chats.messages import Exchange, Talk
from g4v.serve.media.sources import Media

from . import fake
from .talk import answer, ask, bot, fault, user


def cached(whole: dict[str, Any]) -> int:
    return int(whole["usage"]["prompt_tokens_details"]["cached_tokens"])


def content(whole: dict[str, Any]) -> str:
    return str(whole["choices"][0]["message"]["content"])


def test_a_talk_goes_on_in_its_chat(client) -> None:
    said: list[Any] = ["say one"]
    for number in range(1, 4):
        whole = answer(client, *said)
        assert cached(whole) == fake.TOKENS * (number - 1)
        said += [bot(content(whole)), f"say more {number}"]
    assert len(client.assistant.chats) == 1
    assert len(client.service.conversations) == 1


def test_white_space_around_an_answer_changes_nothing(client) -> None:
    whole = answer(client, "say one")
    assert content(whole) == "one "
    assert cached(answer(client, "say one", bot("one"), "say two")) == fake.TOKENS


def test_an_unknown_history_is_appended(client) -> None:
    whole = answer(client, "a", bot("b"), "c", bot("d"), "say e")
    assert cached(whole) == 0 and whole["usage"]["prompt_tokens"] == 2 * fake.TOKENS + 3
    (chat,) = client.assistant.chats
    assert [exchange[:2] for exchange in chat.history] == [("a", "b"), ("c", "d"), ("say e", "e ")]
    assert cached(answer(client, "a", bot("b"), "c", bot("d"), "say e", bot("e "), "f")) == 3 * fake.TOKENS


def test_another_ending_leaves_the_first_one_as_it_was(client) -> None:
    answer(client, "say one")
    answer(client, "say one", bot("one "), "say two")
    other = answer(client, "say one", bot("one "), "say three")  # edited
    assert cached(other) == fake.TOKENS
    again = answer(client, "say one")  # regenerated
    assert cached(again) == 0 and content(again) == "one "
    kept = answer(client, "say one", bot("one "), "say two", bot("two "), "say four")
    assert cached(kept) == 2 * fake.TOKENS
    histories = [[text for text, *_ in chat.history] for chat in client.assistant.chats]
    assert histories[0] == ["say one", "say two", "say four"] and histories[1] == ["say one", "say three"]


def test_other_words_system_videos_and_owners_are_other_talks() -> None:
    assistant = fake.Assistant()
    conversations = Conversations(assistant, 0)  # type: ignore[arg-type]
    clip = Media("file", "file-1", None, "here")
    base = Talk("s", (Exchange("q", clip, "a"),), "next", None)

    def known(owner: str, talk: Talk) -> int:
        assert conversations.known(owner, talk) == 1 - len((taken := conversations.take(owner, talk)).missing)
        conversations.keep(taken)
        return 1 - len(taken.missing)

    taken = conversations.take("me", base)
    taken.append(b"")
    conversations.keep(taken)
    assert known("me", base) == 1
    assert known("you", base) == 0
    assert known("me", Talk(None, base.exchanges, "next", None)) == 0
    assert known("me", Talk("", base.exchanges, "next", None)) == 0
    for other in (Exchange("q", None, "a"), Exchange("q", clip, "b"), Exchange("p", clip, "a"),
                  Exchange("q", Media("file", "file-2", None, "here"), "a"),
                  Exchange("q", Media("file", "file-1", 1, "here"), "a")):  # fmt: skip
        assert known("me", Talk("s", (other,), "next", None)) == 0, other


def test_a_conversation_in_use_is_not_shared() -> None:
    conversations = Conversations(fake.Assistant(), 0)  # type: ignore[arg-type]
    talk = Talk(None, (Exchange("q", None, "a"),), "next", None)
    first = conversations.take("", talk)
    first.append(None)
    conversations.keep(first)
    one, two = conversations.take("", talk), conversations.take("", talk)
    assert one.chat is first.chat and two.chat is not one.chat
    assert not one.missing and len(two.missing) == 1


def test_the_oldest_go_when_the_memory_is_full() -> None:
    assistant = fake.Assistant()
    conversations = Conversations(assistant, 1000)  # type: ignore[arg-type]

    def talk(name: str) -> Talk:
        return Talk(None, (Exchange(name, None, "a"),), "next", None)

    for name in ("one", "two", "three"):
        taken = conversations.take("", talk(name))
        while taken.missing:
            taken.append(None)
        conversations.keep(taken)
    again = conversations.take("", talk("one"))  # used last
    conversations.keep(again)
    assistant.kv_bytes = 800
    freed = iter([800, 700, 700])
    type(assistant).kv_bytes = property(lambda self: next(freed))  # type: ignore[assignment]
    try:
        conversations.keep(conversations_taken := again.__class__(again.chat, [b"root"]))
    finally:
        del type(assistant).kv_bytes
    assert len(conversations_taken.keys) == 1  # of no exchange: not kept
    assert len(conversations) == 2
    assert conversations.known("", talk("two")) == 0
    assert conversations.known("", talk("three")) == conversations.known("", talk("one")) == 1


def test_captions_are_put_back(client) -> None:
    first = answer(client, "show a red star")
    message = first["choices"][0]["message"]
    assert message["content"] == "Look:  Done."
    (video,) = message["videos"]
    assert video["offset"] == 6 and video["caption"] == "a red star"
    tagged = "Look: <video>a red star</video> Done."
    assert client.assistant.chats[0].history[0][1] == tagged

    def goes_on(message: dict[str, Any]) -> None:
        assert cached(answer(client, "show a red star", message, "say yes")) == fake.TOKENS, message

    goes_on(message)
    goes_on(bot("Look:  Done.", videos=[{"id": video["id"]}]))
    goes_on(bot("Look:  Done.", videos=[{"caption": "a red star", "offset": 6, **video}]))
    url = video["video_url"]["url"]
    goes_on(bot(f"Look:  Done.\n<video>{url}?sig=1-2</video>\n"))
    goes_on(bot([{"type": "text", "text": "Look:  Done."}, {"type": "video_url", "video_url": {"url": url}}]))
    plain = answer(client, "show a red star", bot("Look:  Done."), "say yes")
    assert cached(plain) == 0, "without its video it is another talk"


def test_a_video_that_has_expired_needs_its_caption(client) -> None:
    gone = "video_" + "0" * 32
    assert fault(ask(client, "a", bot("b", videos=[{"id": gone}]), "c"), 400)["code"] == "not_found"
    answer(client, "a", bot("b", videos=[{"id": gone, "caption": "a star"}]), "c")
    assert client.assistant.chats[-1].history[0][1] == "b<video>a star</video>"


def test_an_exchange_that_does_not_fit(client) -> None:
    assert fault(ask(client, "too long", bot("b"), "c"), 400)["code"] == "context_length_exceeded"
    assert client.service.places.running == 0


def test_videos_of_the_history_are_read_once(client) -> None:
    url = "data:video/mp4;base64," + base64.b64encode(b"a clip").decode()
    shown = user("say one", {"type": "video_url", "video_url": {"url": url}})
    answer(client, shown)
    assert cached(answer(client, shown, bot("one"), "say two")) == fake.TOKENS
    answer(client, shown, bot("another"), "say two")
    videos = [[video for *_, video in chat.history] for chat in client.assistant.chats]
    assert videos == [[b"a clip", None], [b"a clip", None]]
