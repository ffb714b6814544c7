"""A video that grows or slides along from turn to turn: only its new frames are encoded."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import g4v

from . import synthetic_bundle as toy
from .talking import History, ask, chain, load, text_of, video


@pytest.fixture(scope="module", params=["clip", "mplug-owl-video"])
def kept(request, tmp_path_factory):
    """An assistant that keeps frames, its words, and whether its encoder sees each frame by itself."""
    folder = tmp_path_factory.mktemp("bundle")
    vocabulary = toy.write_bundle(folder, keeps_frames=True, flavour=request.param)
    return load(folder), vocabulary, request.param == "clip"


def film(levels):
    return np.concatenate([video(level, 1) for level in levels])


def test_new_frames_alone_are_encoded_and_all_are_seen(kept):
    """Each turn asks for a checksum that is right only if the video tokens are those of all its frames."""
    assistant, vocabulary, frame_by_frame = kept
    chat, history = assistant.chat(), History(vocabulary)
    videos = [
        ([10, 20, 30], 3),
        ([10, 20, 30, 80], 1),  # grows
        ([20, 30, 80, 90], 1),  # slides
        ([20, 30, 80, 90], 0),  # the same once more
        ([80, 90], 0),  # shrinks
        ([5, 5, 5, 80], 1),  # frames that are alike
        ([200], 1),
    ]
    seen = set()
    for levels, fresh in videos:
        history.ask("tell h", round(float(np.mean(levels))))
        expected = history.checksum()
        events = ask(chat, "tell h", film(levels))
        assert text_of(events) == f"#{expected:02}"
        history.answer([vocabulary.history + expected])
        done = events[-1]
        assert done.video_frames == len(levels)
        # Frames that look at their neighbours are other frames in another video.
        known = tuple(levels) in seen
        assert done.encoded_frames == (fresh if frame_by_frame else 0 if known else len(levels))
        seen.add(tuple(levels))
    assert ask(chat, "say a")[-1].video_frames == 0
    assert ask(assistant.chat(), "say a", film([20, 30]))[-1].encoded_frames == 2  # another chat


def test_a_stopped_turn_leaves_no_frame_half_known(kept):
    assistant, vocabulary, _ = kept
    chat, history = assistant.chat(), History(vocabulary)
    for levels in ([1, 2, 3], [2, 3, 255, 4]):  # white frames take their time
        stream = chat.send("say a", film(levels))
        stream.cancel()
        with contextlib.suppress(g4v.Cancelled):
            list(stream)
            # The turn was quicker.
            history.ask("say a", round(float(np.mean(levels))))
            history.answer(chain(vocabulary, "a"))
    history.ask("tell h", round(float(np.mean([2, 3, 8]))))
    assert text_of(ask(chat, "tell h", film([2, 3, 8]))) == f"#{history.checksum():02}"


def test_the_public_event_tells_it(tmp_path):
    toy.write_bundle(tmp_path, keeps_frames=True)
    chat = g4v.load(tmp_path).chat()
    done = [list(chat.send("say a", video=film(levels)))[-1] for levels in ([1, 2], [1, 2, 3], [2, 3])]
    # Short videos are seen slower: their frames several times.
    assert [(d.video_frames, d.encoded_frames) for d in done] == [(toy.FRAMES, n) for n in (2, 1, 0)]
