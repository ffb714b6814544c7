"""Cancelling the C++ runtime at every stage, and using it from many threads."""

import threading
import time

import pytest

from g4v import _core, errors

from .talking import History, ask, chain, check_history, load, names, only, text_of, video


class TestCancel:
    @pytest.mark.parametrize("delay", [0.0, 0.15])
    @pytest.mark.parametrize(
        ("text", "level"),
        [("prefill ~", None), ("encode a", 255), ("decode m", None), ("denoise g", None)],
    )
    def test_every_stage_stops_at_once_and_the_chat_goes_on(self, assistant, bundle, text, level, delay):
        history, chat = History(bundle[1]), assistant.chat(seed=0)
        check_history(chat, history)
        frames = None if level is None else video(level)
        stream = chat.send(text, frames)
        time.sleep(delay)
        started = time.perf_counter()
        chat.cancel()
        with pytest.raises(errors.Cancelled):
            while stream.next() is not None:
                pass
        assert time.perf_counter() - started < 2.0
        assert stream.next() is None
        stream.cancel()
        chat.cancel()
        check_history(chat, history)

    def test_a_cancelled_turn_leaves_nothing_of_its_video(self, assistant):
        chat = assistant.chat(seed=0)
        ask(chat, "say a", video(10))
        known = chat.bytes
        for level in range(20, 24):
            stream = chat.send("denoise g", video(level))
            while not isinstance(stream.next(), _core.VideoPromptEvent):
                pass  # its video was encoded, and its prompt read
            chat.cancel()
            stream.close()
            assert chat.bytes == known
        ask(chat, "say a", video(30))
        assert chat.bytes > known

    def test_cancel_after_the_end_changes_nothing(self, assistant, bundle):
        history, chat = History(bundle[1]), assistant.chat()
        stream = chat.send("say a")
        while chat.context_used < 20:
            time.sleep(0.001)
        stream.cancel()
        assert text_of(list(stream)) == "Hello, world."
        history.ask("say a")
        history.answer(chain(bundle[1], "a"))
        check_history(chat, history)

    def test_a_second_turn_while_one_is_under_way_is_refused(self, assistant):
        chat = assistant.chat()
        stream = chat.send("slow ~")
        with pytest.raises(errors.ArgumentError, match="still answering"):
            chat.send("say a")
        stream.close()
        assert stream.next() is None
        assert text_of(ask(chat, "say a")) == "Hello, world."

    def test_dropping_a_stream_stops_it(self, assistant):
        chat = assistant.chat()
        stream = chat.send("slow ~")
        del stream
        assert text_of(ask(chat, "say a")) == "Hello, world."

    def test_a_stream_outlives_its_chat_and_assistant(self, bundle):
        stream = load(bundle[0]).chat().send("say b")
        assert names(list(stream))[-1] == "Done"

    def test_waiting_with_a_timeout(self, assistant):
        stream = assistant.chat().send("slow ~")
        started = time.perf_counter()
        with pytest.raises(TimeoutError):
            stream.next(0.05)
        assert 0.04 < time.perf_counter() - started < 1.0
        stream.close()

    def test_a_waiting_thread_leaves_python_free(self, assistant):
        stream = assistant.chat().send("slow ~")
        outcome = []

        def wait():
            try:
                stream.next()
            except errors.Cancelled:
                outcome.append("cancelled")

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        stream.cancel()  # runs although the thread waits
        thread.join(5)
        assert outcome == ["cancelled"]

    def test_a_queued_video_is_cancelled_behind_anothers(self, assistant):
        slow = assistant.generate("slow ~")
        waiting = assistant.generate("quick")
        time.sleep(0.05)
        started = time.perf_counter()
        waiting.cancel()
        with pytest.raises(errors.Cancelled):
            list(waiting)
        assert time.perf_counter() - started < 1.0
        slow.close()
        assert "Video" in names(list(assistant.generate("quick")))


class TestThreads:
    def test_many_chats_at_once_answer_as_one_alone(self, assistant):
        def talk(seed):
            chat = assistant.chat(seed=seed)
            return [
                (names(ev), text_of(ev), [v.frames.tobytes() for v in only(ev, _core.VideoEvent)])
                for ev in (ask(chat, f"say {key}") for key in "abhjbc")
            ]

        def comparable(turns):  # Progress and Text of one turn may interleave in any order
            return [(sorted(kinds), text, videos) for kinds, text, videos in turns]

        expected = {seed: comparable(talk(seed)) for seed in range(3)}
        found, mistakes = {}, []

        def work(index):
            try:
                found[index] = comparable(talk(index % 3))
            except BaseException as error:  # noqa: BLE001
                mistakes.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not mistakes
        assert all(found[i] == expected[i % 3] for i in range(9))

    def test_cancels_from_many_threads(self, assistant):
        chat = assistant.chat(seed=0)
        for _ in range(30):
            stream = chat.send("say b")
            threads = [threading.Thread(target=chat.cancel) for _ in range(3)]
            for thread in threads:
                thread.start()
            try:
                assert names(list(stream))[-1] == "Done"
            except errors.Cancelled:
                pass
            for thread in threads:
                thread.join(10)
        stream.close()
        assert text_of(ask(assistant.chat(), "say a")) == "Hello, world."

    def test_streams_take_turns_at_the_video_thread(self, assistant):
        blocker = assistant.generate("slow ~")
        long = _core.VideoOptions(steps=300)  # so long that the readers below keep up
        both = assistant.chat(video_options=long).send("say b")
        prompts = 0
        while prompts < 2:
            prompts += isinstance(both.next(), _core.VideoPromptEvent)
        single = assistant.generate("x", long)
        finished = []

        def read(name, stream):
            for event in stream:
                if isinstance(event, _core.VideoEvent):
                    finished.append((name, event.index))

        readers = [threading.Thread(target=read, args=pair) for pair in (("both", both), ("single", single))]
        for reader in readers:
            reader.start()
        blocker.close()
        for reader in readers:
            reader.join(60)
        assert finished == [("both", 0), ("single", 0), ("both", 1)]
