"""Conversations of a bundle with packed weights, beside those of the graph in it."""

import json
import shutil

import pytest

import g4v

QUESTIONS = ["Hello", "What is that?", "And now?", "Go on"]


@pytest.fixture(scope="module")
def of_graph(bundle, tmp_path_factory):
    """The bundle as it was before there were packed weights."""
    folder = tmp_path_factory.mktemp("graph") / "bundle"
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / "g4v.json").read_text("utf-8"))
    (variant,) = manifest["components"]["decoder"]["variants"]
    packed = variant.pop("packed")
    variant["files"].remove(packed)
    del manifest["files"][packed]
    (folder / packed).unlink()
    (folder / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    return g4v.load(folder, threads=1)


@pytest.fixture(scope="module")
def packed(bundle):
    return g4v.load(bundle, threads=2)


def test_info_says_who_runs_the_decoder(packed, of_graph):
    providers = [assistant.info["components"]["decoder"]["provider"] for assistant in (packed, of_graph)]
    assert providers == ["g4v", "cpu"]


def test_tokens_are_those_of_the_graph(packed, of_graph):
    """Greedy ones; weights are float32."""
    for first in QUESTIONS:
        texts = []
        for assistant in (packed, of_graph):
            chat = assistant.chat(temperature=0, max_new_tokens=12, seed=0)
            texts.append(chat.ask(first).text)
        assert texts[0] == texts[1] != ""


def test_a_cancelled_turn_leaves_no_trace(packed):
    wanted = packed.chat(temperature=0, max_new_tokens=12, seed=0).ask("Hello").text
    for _ in range(300):  # a turn may be over before it is cancelled
        chat = packed.chat(temperature=0, max_new_tokens=12, seed=0)
        stream = chat.send("What is that?")
        chat.cancel()
        try:
            for _ in stream:
                pass
        except g4v.Cancelled:
            assert chat.ask("Hello").text == wanted
            return
    pytest.fail("no turn was cancelled")


def test_a_file_that_does_not_fit_is_refused(bundle, tmp_path):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    (folder / "decoder.packed").write_bytes((folder / "decoder.packed").read_bytes()[:-64])
    with pytest.raises(g4v.BundleError, match="decoder.packed"):
        g4v.load(folder, verify="size")
