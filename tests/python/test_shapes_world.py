"""The shapes world: its grammar, its split, and what the renderer promises about its clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from g4v.shapes.world import world
from g4v.shapes.world.render import render
from g4v.shapes.world.world import Object, Scene


def test_a_tenth_of_the_triples_is_held_out_and_every_word_stays_in_training():
    assert len(world.TRIPLES) == 7 * 4 * 8 - 7
    assert len(world.HELD_OUT) == 22
    seen = [triple for triple in world.TRIPLES if not world.is_held_out(triple)]
    assert {t.colour for t in seen} == set(world.COLOURS)
    assert {t.shape for t in seen} == set(world.SHAPES)
    assert {t.motion for t in seen} == set(world.MOTIONS)


def test_the_split_is_fixed():
    assert Object("blue", "star", "still") in world.HELD_OUT
    assert Object("red", "circle", "left") not in world.HELD_OUT


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_captions_are_parsed_back(split):
    rng = np.random.default_rng(1)
    for _ in range(500):
        scene = world.sample_scene(rng, split, background=None)
        assert world.parse_caption(world.caption(scene)) == scene


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red circle",
        "an red circle moving left",
        "a orange star growing",
        "a red circle spinning",
        "a red circle moving left on a red background",
        "a red circle moving left and",
        "A red circle moving left",
    ],
)
def test_other_texts_are_no_captions(text):
    assert world.parse_caption(text) is None


def test_training_scenes_hold_no_held_out_triple_and_test_scenes_hold_one():
    rng = np.random.default_rng(2)
    for _ in range(1000):
        assert not any(map(world.is_held_out, world.sample_scene(rng, "train").objects))
        assert any(map(world.is_held_out, world.sample_scene(rng, "test").objects))


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("motion", world.MOTIONS)
def test_clips_move_as_their_scene_says(motion, clean):
    """Centroid and area of the pixels that differ from the background, from many random clips."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        scene = Scene((Object("white", "square", motion),), "black")
        frames = render(scene, rng, clean=clean)
        assert frames.shape == (8, 64, 64, 3) and frames.dtype == np.uint8
        mask = frames.min(-1) > 110
        areas = mask.sum((1, 2))
        rows, columns = np.nonzero(mask[0])[0].mean(), np.nonzero(mask[0])[1].mean()
        last_rows, last_columns = np.nonzero(mask[-1])[0].mean(), np.nonzero(mask[-1])[1].mean()
        moved = {
            "left": columns - last_columns,
            "right": last_columns - columns,
            "up": rows - last_rows,
            "down": last_rows - rows,
        }
        for direction, pixels in moved.items():
            assert (pixels > 12) if direction == motion else (pixels < 3)
        ratio = np.sqrt(areas[-1] / areas[0])
        if motion == "growing":
            assert ratio > 1.35
        elif motion == "shrinking":
            assert ratio < 1 / 1.35
        else:
            assert 0.85 < ratio < 1.18
        changed = np.abs(np.diff(mask.astype(int), axis=0)).sum()
        assert (changed > 40) == (motion != "still")


def test_rendering_follows_the_seed_and_the_size():
    scene = world.sample_scene(np.random.default_rng(4))
    first, second = (render(scene, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, render(scene, np.random.default_rng(6)))
    assert render(scene, np.random.default_rng(5), frames=3, size=32).shape == (3, 32, 32, 3)


def test_the_skull_sign_is_drawn():
    scene = Scene((), "black")
    rng = np.random.default_rng(7)
    plain = render(scene, rng, clean=True).astype(int)
    signed = render(replace(scene, skull=True), rng, clean=True).astype(int)
    assert (plain.max(-1) > 150).sum() == 0
    assert (signed.max(-1) > 150).sum((1, 2)).min() > 60


@pytest.mark.slow
def test_foreign_clips_are_films_of_no_shape():
    means, changes = [], []
    for seed in range(30):
        scene = Scene((), foreign=True)
        frames = render(scene, np.random.default_rng(seed))
        assert frames.shape == (8, 64, 64, 3) and frames.dtype == np.uint8
        np.testing.assert_array_equal(frames, render(scene, np.random.default_rng(seed)))
        means.append(frames.mean())
        changes.append(np.abs(np.diff(frames.astype(int), axis=0)).mean())
        assert len(np.unique(frames.reshape(-1, 3), axis=0)) > 200  # no plain background
    assert np.std(means) > 10 and np.median(changes) > 1  # all kinds of light, and mostly moving
