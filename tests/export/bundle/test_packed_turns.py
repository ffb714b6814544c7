"""Turns of many chats, and the history of one, where the core runs the decoder itself: tokens and their
probabilities are the same, bit for bit, whichever way a conversation came about.
"""

import json
import threading

import pytest

import g4v
from packed_bundle import write_packed_bundle

QUESTIONS = ["Hello", "What is that?", "And now?", "Go on", "Why?"]
LONG = "Go on and on, go on and on"  # which the greedy answer to does without end
GREEDY = {"temperature": 0, "max_new_tokens": 12}
DRAWN = {"temperature": 1.3, "top_k": 20, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_packed_bundle(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def assistant(bundle):
    return g4v.load(bundle, threads=2)


def tokens(reply):
    return [(token.id, token.logprob, token.top) for token in reply.tokens]


def ask(chat, text, **options):
    return tokens(chat.ask(text, logprobs=2, **options))


def talk(assistant, seed, options):
    """The tokens of three turns of a chat."""
    chat = assistant.chat(seed=seed, **options)
    return [ask(chat, QUESTIONS[(seed + i) % len(QUESTIONS)]) for i in range(3)]


def together(work, count):
    """The results of work(0) ... work(count - 1) on as many threads."""
    results = [None] * count

    def run(i):
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("options", [GREEDY, DRAWN])
@pytest.mark.parametrize("turns", [1, 3, 16])
def test_turns_are_the_same_alone_and_in_company(bundle, assistant, options, turns):
    alone = [talk(assistant, seed, options) for seed in range(12)]
    other = g4v.load(bundle, threads=1, turns=turns, prompt_lookup=0)
    assert together(lambda seed: talk(other, seed, options), 12) == alone


def test_cancels_among_them_change_nothing(assistant):
    alone = [talk(assistant, seed, GREEDY) for seed in range(4)]
    ended = []

    def work(i):
        if i < 4:
            return talk(assistant, i, GREEDY)
        for _ in range(20):
            chat = assistant.chat(max_new_tokens=800, temperature=0)
            stream = chat.send(LONG)
            next(stream, None)
            chat.cancel()
            try:
                for _ in stream:
                    pass
            except g4v.Cancelled:
                ended.append(i)
            assert chat.turns in (0, 1)
        return None

    assert together(work, 8)[:4] == alone
    assert ended


def test_one_who_waits_can_be_cancelled(bundle):
    assistant = g4v.load(bundle, threads=1, turns=1)
    long = assistant.chat(max_new_tokens=800, temperature=0)
    events = long.send(LONG)
    waits = assistant.chat(**GREEDY)
    stream = waits.send("Hello")
    waits.cancel()
    with pytest.raises(g4v.Cancelled):
        list(stream)
    last = waits.send("Hello")
    answered = list(events)[-1].timings
    waited = list(last)[-1].timings
    assert answered.total_ms > 5 * waited.total_ms or waited.queue_ms > waited.decode_ms
    assert long.turns == waits.turns == 1


def test_no_thread_is_made_for_a_turn(assistant):
    from pathlib import Path

    assistant.chat(**GREEDY).ask("Hello")
    before = len(list(Path("/proc/self/task").iterdir()))
    chats = [assistant.chat(**GREEDY) for _ in range(50)]
    streams = [chat.send("Go on") for chat in chats]
    during = len(list(Path("/proc/self/task").iterdir()))
    results = [[event for stream in streams for event in stream if isinstance(event, g4v.Done)]]
    assert len(results[0]) == 50 and during == before


def test_a_fork_goes_on_as_its_origin(assistant):
    chat = assistant.chat(seed=3, **DRAWN)
    ask(chat, "Hello")
    forks = [chat.fork() for _ in range(3)]
    wanted = [ask(chat, text) for text in ("What is that?", "And now?")]
    assert (
        together(lambda i: [ask(forks[i], text) for text in ("What is that?", "And now?")], 3) == [wanted] * 3
    )
    assert chat.fork(seed=4).seed == 4 and chat.fork().seed == 3


def test_what_is_cut_off_is_forgotten(assistant):
    chat = assistant.chat(seed=3, **DRAWN)
    first = ask(chat, "Hello")
    used = chat.context_used
    second = ask(chat, "What is that?")
    ask(chat, "And now?")
    chat.truncate(1)
    assert (chat.turns, chat.context_used) == (1, used)
    assert ask(chat, "What is that?") == second
    chat.truncate(0)
    assert ask(chat, "Hello") == first
    for wrong in (2, -1):
        with pytest.raises(g4v.ArgumentError, match=f"turns is {wrong} but the chat has 1; it must be 0 to"):
            chat.truncate(wrong)
    with pytest.raises(g4v.ArgumentError, match="turns is '1'; it must be an integer"):
        chat.truncate("1")


def test_an_appended_turn_is_history(assistant):
    """The same whether it was computed alone, with others, or before a fork."""
    chat = assistant.chat(**GREEDY)
    chat.append("Hello", "Good day.")
    before = chat.context_used
    fork = chat.fork()
    wanted = ask(chat, "What is that?")
    assert ask(fork, "What is that?") == wanted
    chat.append("And now?", " Still the same.\n")
    chat.append("Go on", "")
    assert chat.turns == 4
    third = ask(chat, "Why?")
    fork.append("And now?", "Still the same.")
    fork.append("Go on", "")
    fork.append("Hello", "Another.")
    fork.truncate(4)
    assert ask(fork, "Why?") == third
    chat.truncate(1)
    assert chat.context_used == before and ask(chat, "What is that?") == wanted
    # An answer that is appended as it was given.
    given = assistant.chat(**GREEDY)
    given.append("Hello", "Good day.")
    assert given.context_used == before


def test_history_waits_for_the_end_of_a_turn(assistant):
    chat = assistant.chat(max_new_tokens=800, temperature=0)
    stream = chat.send(LONG)
    for change in (chat.fork, lambda: chat.truncate(0), lambda: chat.append("Hello", "Good day.")):
        with pytest.raises(g4v.ArgumentError, match="still answering"):
            change()
    stream.close()
    chat.append("Hello", "Good day.")
    assert chat.fork().turns == 1


def test_an_opening_is_computed_once(assistant):
    system = "Be brief, be kind, and say nothing that you do not see."
    chats = [assistant.chat(system=system, **GREEDY) for _ in range(2)]
    opening = chats[0].context_used
    replies = [chat.ask("Hello", logprobs=2) for chat in chats]
    assert tokens(replies[0]) == tokens(replies[1])
    assert [reply.cached_tokens for reply in replies] == [0, opening]
    assert replies[0].prompt_tokens == opening + replies[1].prompt_tokens


def test_memory_is_counted_and_given_back(bundle):
    assistant = g4v.load(bundle, threads=1)
    assert assistant.kv_bytes == 0
    chat = assistant.chat(system="", **GREEDY)
    chat.ask("Hello")
    page = chat.bytes
    assert assistant.kv_bytes >= page > 0
    kept = assistant.kv_bytes
    forks = [chat.fork() for _ in range(5)]
    assert assistant.kv_bytes == kept and forks[0].bytes == page  # shared until one is written to
    forks[0].ask("Hello")
    assert assistant.kv_bytes > kept
    forks.clear()
    assert assistant.kv_bytes == kept


def test_memory_has_a_limit(bundle):
    assistant = g4v.load(bundle, threads=1)
    chat = assistant.chat(**DRAWN)
    chat.ask("Hello")
    page = assistant.kv_bytes // 2 if assistant.kv_bytes > chat.bytes else chat.bytes
    small = g4v.load(bundle, threads=1, kv_memory=4 * page)
    first = small.chat(temperature=0, max_new_tokens=800)
    reply = first.ask(LONG)
    assert reply.finish_reason == "memory" and small.kv_bytes <= 4 * page
    free = assistant.chat(temperature=0, max_new_tokens=800).ask(LONG)
    assert free.text.startswith(reply.text) and free.new_tokens > reply.new_tokens > 1
    second = small.chat(**GREEDY)
    with pytest.raises(g4v.ContextFull, match="kv_memory is .*; close a chat or load the bundle"):
        second.ask("Hello " * 20)
    assert second.turns == 0
    del first, reply
    assert second.ask("Hello").finish_reason == "length"


def test_the_memory_of_one_chat_has_a_limit(bundle):
    """At the page where the limit is, with drafts and without; a fork counts what it shares."""
    answers = []
    for drafts in (0, 15):
        free = g4v.load(bundle, threads=1).chat(**GREEDY)
        free.ask("Hello")
        page = free.bytes
        assistant = g4v.load(bundle, threads=1, max_chat_kv_bytes=3 * page, prompt_lookup=drafts)
        chat = assistant.chat(temperature=0, max_new_tokens=800)
        reply = chat.ask(LONG)
        assert reply.finish_reason == "memory" and chat.bytes == 3 * page
        answers.append(tokens(reply))
        for full in (chat, chat.fork()):
            with pytest.raises(g4v.ContextFull, match="of the chat would take .* max_chat_kv_bytes is"):
                full.send("Hello")
            assert full.turns == 1
        chat.truncate(0)
        free.truncate(0)
        assert ask(chat, "Hello", max_new_tokens=12) == ask(free, "Hello")
        assert assistant.chat(**GREEDY).ask("Hello").finish_reason == "length"
    assert answers[0] == answers[1]


def test_drafts_change_nothing(bundle, assistant):
    """Long answers of a small model repeat themselves."""
    counts = []
    for options in ({"temperature": 0}, {"temperature": 0.3, "repetition_penalty": 1.05}):
        wanted = None
        for most in (0, 1, 3, 15):
            chat = g4v.load(bundle, threads=1, prompt_lookup=most).chat(seed=1, max_new_tokens=150, **options)
            *_, done = events = list(chat.send(LONG, logprobs=1))
            found = [token for event in events if isinstance(event, g4v.Text) for token in event.tokens]
            found += done.tokens
            wanted = wanted or found
            assert found == wanted
            assert done.drafted_tokens >= done.accepted_tokens and (most > 0 or done.drafted_tokens == 0)
            counts.append(done.accepted_tokens)
            ended = done.finish_reason == "length"  # by a token that was not sampled
            used = done.cached_tokens + done.prompt_tokens + done.new_tokens + ended
            assert chat.context_used == used
    # How many are put to the decoder depends on what its steps take on this machine, now.
    assert sum(counts) > 0, "drafts were right and wrong"


def test_options_of_a_turn(assistant):
    chat = assistant.chat(seed=1, **DRAWN)
    other = assistant.chat(seed=2, **DRAWN)
    assert ask(chat.fork(), "Hello", seed=2) == ask(other.fork(), "Hello")
    assert ask(chat.fork(), "Hello", temperature=0) == ask(other.fork(), "Hello", temperature=0)
    assert len(chat.fork().ask("Hello", max_new_tokens=2).tokens) == 2
    whole = chat.fork().ask("Hello").text
    stop = whole[len(whole) // 2 :][:2]
    assert chat.fork().ask("Hello", stop=[stop]).text == whole[: whole.index(stop)]
    for wrong, message in [
        ({"stop": "x"}, "stop is one text; it must be a list"),
        ({"stop": [""]}, "stop has an empty text"),
        ({"stop": ["x"] * 17}, "stop has 17 texts but may have at most 16"),
        ({"stop": ["x" * 1025]}, "1025 bytes"),
        ({"stop": [5]}, "stop is a int; it must be a string"),
        ({"logprobs": 21}, "logprobs is 21 but must be 0 to 20"),
        ({"videos": 1}, "videos is 1; it must be True or False"),
        ({"seed": -1}, "seed is -1"),
    ]:
        with pytest.raises(g4v.ArgumentError, match=message):
            chat.send("Hello", **wrong)


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_keys_and_values_have_the_type_that_is_asked_for(bundle, dtype):
    sizes = {}
    for name in ("float32", dtype):
        chat = g4v.load(bundle, threads=1, kv_dtype=name).chat(system="", **GREEDY)
        chat.ask("Hello")
        sizes[name] = chat.bytes
    head_dim = json.loads((bundle / "g4v.json").read_text("utf-8"))["components"]["decoder"]["head_dim"]
    bytes_of = {"float32": 4 * head_dim, "float16": 2 * head_dim, "int8": head_dim + 4}  # of a token and head
    assert sizes["float32"] * bytes_of[dtype] == sizes[dtype] * bytes_of["float32"]
    with pytest.raises(
        g4v.ArgumentError, match='kv_dtype is "int4" but must be "auto", "float32", "float16" or'
    ):
        g4v.load(bundle, kv_dtype="int4")
