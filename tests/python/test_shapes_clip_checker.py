"""The checker reads true clips right, from two renderers, and refuses deliberate errors."""

from __future__ import annotations

import numpy as np
import pytest

from g4v.shapes.eval.clip_checker import analyse, check
from g4v.shapes.world.render import render
from g4v.shapes.world.world import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, Object, Scene, caption, sample_scene

from .shapes_drawing import SHADES, Way, draw, way


def scene(*objects: tuple[str, str, str], background: str | None = "black") -> Scene:
    return Scene(tuple(Object(*values) for values in objects), background)


def misread(clips: list[tuple[np.ndarray, Scene]]) -> list[str]:
    results = [(check(frames, wanted), wanted) for frames, wanted in clips]
    return [f"{caption(wanted)}: {result.why}" for result, wanted in results if not result.ok]


# True clips


@pytest.mark.slow
def test_reads_clean_clips() -> None:
    rng = np.random.default_rng(11)
    scenes = [sample_scene(rng, "all", objects=1) for _ in range(24)]
    assert misread([(render(s, rng, clean=True), s) for s in scenes]) == []


@pytest.mark.slow
def test_reads_noisy_compressed_clips() -> None:
    rng = np.random.default_rng(12)
    scenes = [sample_scene(rng, "all", objects=1) for _ in range(30)]
    wrong = misread([(render(s, rng), s) for s in scenes])
    assert len(wrong) <= 1, wrong


@pytest.mark.slow
def test_reads_clips_of_two_objects() -> None:
    rng = np.random.default_rng(13)
    scenes = [sample_scene(rng, "all", objects=2) for _ in range(12)]
    wrong = misread([(render(s, rng), s) for s in scenes])
    assert len(wrong) <= 1, wrong


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_reads_another_renderer(shape: str) -> None:
    """Every motion of every shape, drawn by Pillow with light blur, noise and JPEG."""
    clips = []
    for i, motion in enumerate(MOTIONS):
        if (shape, motion) == ("circle", "spinning"):
            continue
        colour, background = COLOURS[i % len(COLOURS)], BACKGROUNDS[i % len(BACKGROUNDS)]
        radius = 7.0 if motion in ("growing", "shrinking") else 6.5 + i
        path = way(motion, 30, 34, radius)
        frames = draw([(shape, colour, path)], background, notch=0.4, blur=0.5, noise=4, jpeg=88, seed=i)
        clips.append((frames, scene((colour, shape, motion), background=background)))
    assert misread(clips) == []


@pytest.mark.slow
@pytest.mark.parametrize("colour", COLOURS)
def test_reads_colours_on_every_background(colour: str) -> None:
    clips = [
        (
            draw([("square", colour, way("right", y=26))], background, blur=0.4, noise=3, jpeg=90),
            scene((colour, "square", "right"), background=background),
        )
        for background in BACKGROUNDS
    ]
    assert misread(clips) == []


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [90, -130, 200, -252, 300, 315 * 7 / 8])
@pytest.mark.parametrize("shape", ["square", "triangle", "star"])
def test_follows_spins_beyond_half_a_symmetry(shape: str, degrees: float) -> None:
    frames = draw([(shape, "green", way("spinning", amount=degrees, radius=10))], blur=0.5, noise=4)
    result = check(frames, scene(("green", shape, "spinning")))
    assert result.ok, result.why


@pytest.mark.parametrize("turn", [0, 17, 33, 45])
def test_a_turned_shape_that_rests_is_still(turn: float) -> None:
    for shape in ("square", "triangle", "star"):
        path = way("still", radius=8)
        path.turn = [turn] * 8
        frames = draw([(shape, "blue", path)], "gray", noise=5)
        result = check(frames, scene(("blue", shape, "still"), background="gray"))
        assert result.ok, result.why


def test_reads_objects_that_cross_and_leave_the_frame() -> None:
    crossing = draw([("circle", "red", way("right", y=30)), ("star", "blue", way("down", x=34, radius=8))])
    result = check(crossing, scene(("blue", "star", "down"), ("red", "circle", "right")))
    assert result.ok, result.why
    leaving = draw([("square", "yellow", way("right", x=46, radius=11, amount=30))], "navy")
    result = check(leaving, scene(("yellow", "square", "right"), background="navy"))
    assert result.ok, result.why


def test_reads_two_objects_of_one_colour() -> None:
    things = [("circle", "red", way("up", x=16)), ("triangle", "red", way("growing", x=46, radius=7))]
    frames = draw(things, "gray")
    result = check(frames, scene(("red", "triangle", "growing"), ("red", "circle", "up"), background="gray"))
    assert result.ok, result.why


def test_reads_other_sizes_and_lengths() -> None:
    path = way("left", 64, 64, 18, 52, frames=16)
    frames = draw([("star", "orange", path)], "navy", size=128)
    result = check(frames, scene(("orange", "star", "left"), background="navy"))
    assert result.ok, result.why


def test_background_matters_only_where_it_is_named() -> None:
    frames = draw([("circle", "red", way("left"))], "gray")
    assert check(frames, scene(("red", "circle", "left"), background=None)).ok
    result = check(frames, scene(("red", "circle", "left"), background="navy"))
    assert not result.ok and not result.background_ok and result.colour_ok and result.motion_ok


# Deliberate errors

TRUE = [("star", "red", way("right", radius=9))]
WANTED = scene(("red", "star", "right"))


@pytest.mark.slow
@pytest.mark.parametrize("colour", [c for c in COLOURS if c != "red"])
def test_refuses_a_wrong_colour(colour: str) -> None:
    result = check(draw([("star", colour, way("right"))], noise=3), WANTED)
    assert not result.ok and not result.colour_ok and result.shape_ok and result.motion_ok


@pytest.mark.parametrize("shape", ["circle", "square", "triangle"])
def test_refuses_a_wrong_shape(shape: str) -> None:
    result = check(draw([(shape, "red", way("right"))], noise=3), WANTED)
    assert not result.ok and not result.shape_ok and result.colour_ok and result.motion_ok


@pytest.mark.slow
@pytest.mark.parametrize("motion", [m for m in MOTIONS if m != "right"])
def test_refuses_a_wrong_motion(motion: str) -> None:
    result = check(draw([("star", "red", way(motion))], noise=3), WANTED)
    assert not result.ok and not result.motion_ok and result.colour_ok and result.shape_ok


@pytest.mark.slow
@pytest.mark.parametrize("motion", ["left", "right", "up", "down", "growing", "shrinking"])
def test_refuses_reversed_and_frozen_clips(motion: str) -> None:
    frames = draw([("square", "green", way(motion, radius=8))], noise=3)
    wanted = scene(("green", "square", motion))
    assert check(frames, wanted).ok
    assert not check(frames[::-1], wanted).motion_ok
    assert not check(np.repeat(frames[3:4], 8, axis=0), wanted).motion_ok


def test_refuses_a_spin_that_is_frozen() -> None:
    frames = draw([("triangle", "white", way("spinning"))])
    assert not check(np.repeat(frames[5:6], 8, axis=0), scene(("white", "triangle", "spinning"))).ok


def test_refuses_flicker_and_vanishing() -> None:
    frames = draw(TRUE)
    assert check(frames, WANTED).ok
    empty = draw([("star", "black", way("right"))])
    for missing in ([4], [6, 7], [0], [1, 3, 5, 7], list(range(8))):
        broken = frames.copy()
        broken[missing] = empty[missing]
        assert not check(broken, WANTED).ok, missing
    flicker = frames.copy()
    flicker[::2] = flicker[::2] // 3
    assert not check(flicker, WANTED).ok


def test_refuses_frames_out_of_order() -> None:
    frames = draw(TRUE)
    assert not check(frames[[0, 4, 1, 5, 2, 6, 3, 7]], WANTED).ok
    assert not check(frames[[0, 2, 4, 6, 7, 5, 3, 1]], WANTED).ok


def test_refuses_changes_of_colour_or_shape_on_the_way() -> None:
    frames = draw(TRUE)
    for other in ([("star", "green", TRUE[0][2])], [("circle", "red", TRUE[0][2])]):
        broken = frames.copy()
        broken[4:] = draw(other)[4:]
        assert not check(broken, WANTED).ok


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_refuses_noise_and_flat_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    junk = [
        rng.integers(0, 256, (8, 64, 64, 3), dtype=np.uint8),
        np.full((8, 64, 64, 3), 128, np.uint8),
        np.clip(128 + rng.normal(0, 25, (8, 64, 64, 3)), 0, 255).astype(np.uint8),
        np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[None, None, :, None], (8, 64, 64, 3)).copy(),
    ]
    for frames in junk:
        for motion in ("still", "right"):
            assert not check(frames, scene(("red", "star", motion), background=None)).ok


def test_refuses_the_wrong_number_of_objects() -> None:
    one = draw([("circle", "red", way("left", y=18))])
    two = draw([("circle", "red", way("left", y=18)), ("square", "blue", way("still", y=46))])
    assert not check(one, scene(("red", "circle", "left"), ("blue", "square", "still"))).count_ok
    assert not check(two, scene(("red", "circle", "left"))).count_ok
    three = draw(
        [
            ("circle", "red", way("left", y=12, radius=7)),
            ("square", "blue", way("still", x=16, y=46)),
            ("square", "blue", way("still", x=48, y=46)),
        ]
    )
    assert not check(three, scene(("red", "circle", "left"), ("blue", "square", "still"))).ok


def test_attributes_belong_to_their_object() -> None:
    frames = draw([("circle", "red", way("left", y=18)), ("square", "blue", way("still", y=46))])
    assert check(frames, scene(("blue", "square", "still"), ("red", "circle", "left"))).ok
    for swapped in (
        scene(("blue", "circle", "left"), ("red", "square", "still")),
        scene(("red", "circle", "still"), ("blue", "square", "left")),
        scene(("red", "square", "left"), ("blue", "circle", "still")),
    ):
        assert not check(frames, swapped).ok


def test_refuses_what_is_between_two_words() -> None:
    steps = np.linspace(0, 1, 8)
    aslant = Way(list(20 + 22 * steps), list(20 + 22 * steps), [9.0] * 8, [0.0] * 8)
    nervous = way("right")
    nervous.y = list(32 + np.array([0, 6, -6, 7, -7, 6, -6, 0.0]))
    slow = way("right", amount=7.5)
    spun = way("right")
    spun.turn = list(150 * steps)
    swelling = way("right", radius=6)
    swelling.radius = list(6 + 6 * steps)
    for path in (aslant, nervous, slow, spun, swelling):
        result = check(draw([("square", "red", path)]), scene(("red", "square", "right")))
        assert not result.motion_ok, result


def test_refuses_colours_without_a_name() -> None:
    for rgb in ((120, 70, 20), (90, 90, 90), (30, 220, 220), (60, 15, 15)):
        assert analyse(draw([("square", rgb, way("left"))])).objects[0].colour is None, rgb


@pytest.mark.slow
def test_never_accepts_the_unsafe_sign() -> None:
    rng = np.random.default_rng(3)
    for _ in range(4):
        frames = render(Scene((), "black", skull=True), rng)
        for shape in SHAPES:
            assert not check(frames, scene(("white", shape, "still"), background=None)).ok
    assert not check(draw(TRUE), Scene(WANTED.objects, "black", skull=True)).ok


def test_says_what_it_saw() -> None:
    result = check(draw([("square", "blue", way("up"))], "gray"), WANTED)
    assert "blue square up on gray" in result.why


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((8, 64, 64), np.uint8),
        np.zeros((8, 64, 64, 3), np.float32),
        np.zeros((0, 64, 64, 3), np.uint8),
    ],
)
def test_names_bad_arrays(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        analyse(frames)


def test_usual_shades_have_their_names() -> None:
    from g4v.shapes.eval.colours import background_colour, object_colour

    for name in COLOURS:
        assert object_colour(np.array(SHADES[name]))[0] == name
    for name in BACKGROUNDS:
        assert background_colour(np.array(SHADES[name])) == name
