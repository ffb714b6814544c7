"""What the parts of `tiny` learn from: regions of objects, and the cache of latents."""

import json
import re

import numpy as np
import pytest
import torch

from g4v.model.presets import TINY
from g4v.model.prompt import PromptTemplate
from g4v.model.vision import build_encoder
from g4v.shapes.dialogues import Dialogue, Turn
from g4v.shapes.recipe.contrastive import ContrastivePart
from g4v.shapes.recipe.frame_checker import FrameCheckerPart
from g4v.shapes.recipe.language import encode_as_text, verdict_ids
from g4v.shapes.recipe.latents import encode_latents
from g4v.shapes.recipe.regions import RegionHead, find_regions
from g4v.shapes.recipe.text_to_video import (
    TextToVideoPart,
    count_looks,
    draw_noise,
    few_frames,
    object_mask,
    object_weight,
    shifted_steps,
)
from g4v.shapes.recipe.tokenizers import caption_tokenizer
from g4v.shapes.world.render import render, render_with_things
from g4v.shapes.world.world import Object, Scene, sample_scene


def test_things_are_what_was_drawn():
    for seed in range(20):
        scene = sample_scene(np.random.default_rng(seed), "all")
        frames, things = render_with_things(scene, np.random.default_rng(seed), clean=True)
        np.testing.assert_array_equal(frames, render(scene, np.random.default_rng(seed), clean=True))
        assert len(things) == len(scene.objects)
        covered = np.max([thing.cover for thing in things], 0)
        backdrop = np.median(frames.reshape(8, -1, 3), 1)[:, None, None]
        differs = np.abs(frames - backdrop).max(-1) > 12
        assert (differs == (covered > 0.5)).mean() > 0.98


def test_regions_lie_on_their_objects():
    rng = np.random.default_rng(5)
    scenes = [sample_scene(rng, "all") for _ in range(6)] + [Scene((), "gray", skull=True)]
    scenes.append(Scene((), foreign=True))  # nothing to be found
    clips = [render_with_things(scene, rng)[1] for scene in scenes]
    regions = find_regions(clips, patch=8)
    assert set(regions.places[:, 0].tolist()) == set(range(7))
    for place, which, outline, way in zip(
        regions.places.tolist(), regions.things.tolist(), regions.outlines, regions.ways, strict=True
    ):
        clip, frame, spot = place
        thing = clips[clip][which]
        row, column = divmod(spot, 8)
        own = thing.cover[frame, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert own.mean() > 0.1
        np.testing.assert_allclose(outline[:64].reshape(8, 8), own)
        centre = (way[0] + column + 0.5) * 8, (way[1] + row + 0.5) * 8
        np.testing.assert_allclose(centre, (thing.track.x[frame], thing.track.y[frame]), atol=1e-3)
        assert way[2] * 8 == pytest.approx(thing.track.radius[frame], abs=1e-3)
        whole = outline[64:].reshape(12, 12)
        assert float(whole.max()) > 0.5  # the grid shows the object
        if which < len(scenes[clip].objects):
            assert float(whole[5:7, 5:7].min()) > 0.9  # every object covers its own centre


def test_ways_tell_motions_apart():
    def way(motion):
        scene = Scene((Object("red", "square", motion),), "black")
        _, things = render_with_things(scene, np.random.default_rng(0), clean=True)
        return find_regions([things], 8).ways[:, 3:].mean(0)

    assert way("left")[0] < -0.2 and way("right")[0] > 0.2
    assert way("up")[1] < -0.2 and way("down")[1] > 0.2
    assert way("growing")[2] > 0.05 and way("shrinking")[2] < -0.05
    assert way("spinning")[3] > 0.2 and way("still").abs().max() < 1e-6


def test_single_frames_have_no_motion():
    rng = np.random.default_rng(1)
    clips = [render_with_things(sample_scene(rng), rng, frames=1)[1] for _ in range(3)]
    regions = find_regions(clips, 8)
    assert bool((regions.ways[:, 3:] == 0).all())
    loss, figures = RegionHead(16, 8)(torch.randn(len(regions.things), 16), regions, moving=False)
    assert loss > 0 and set(figures) == {"outline", "place"}


@pytest.mark.parametrize("frames", [pytest.param(1, marks=pytest.mark.slow), 8])
def test_a_contrastive_step_reaches_the_encoder(frames):
    torch.manual_seed(0)
    part = ContrastivePart(TINY, caption_tokenizer(), frames, clips=4, captions=2)
    part.train()
    loss, figures = part.loss(part.batch(np.random.default_rng(3)))
    loss.backward()
    assert torch.isfinite(loss) and "region_shape" in figures and ("motion" in figures) == (frames > 1)
    reached = [p.grad is not None for p in part.model.encoder.encoder.layers[0].self_attn.parameters()]
    assert all(reached)


@pytest.mark.slow
def test_the_frame_checker_learns_the_unsafe_sign():
    """Labels follow what was drawn, and a few steps on untrained features lower the loss."""
    torch.manual_seed(0)
    encoder = build_encoder(TINY.encoder_config())
    part = FrameCheckerPart(encoder, encoder.hidden_size, clips=6)
    batches = [part.batch(np.random.default_rng(seed)) for seed in range(4)]
    frames, unsafe = batches[0]
    assert frames.shape == (6, 8, 64, 64, 3) and unsafe.shape == (6, 8)
    share = torch.stack([labels for _, labels in batches]).mean().item()
    assert 0.2 < share < 0.8
    optimizer = torch.optim.Adam(part.trained_parameters(), 1e-2)
    losses = []
    for _ in range(6):
        loss, figures = part.loss(batches[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and 0 <= figures["right"] <= 1
    assert all(p.grad is None for p in encoder.parameters())


def test_only_frames_that_show_the_sign_are_unsafe():
    from g4v.shapes.recipe.frame_checker import _shows_sign

    with_sign = Scene((Object("red", "circle", "left"),), "navy", skull=True)
    _, things = render_with_things(with_sign, np.random.default_rng(0))
    assert _shows_sign(with_sign, things).any()
    things[-1].cover[:4] = 0
    assert not _shows_sign(with_sign, things)[:4].any()
    assert not _shows_sign(Scene(with_sign.objects, "navy"), things).any()


@pytest.mark.slow
def test_latents_of_another_autoencoder_are_made_anew(tmp_path, monkeypatch):
    from diffusers import AutoencoderKL

    monkeypatch.setattr("g4v.shapes.recipe.latents._SHARD", 2)

    def autoencoder(seed):
        torch.manual_seed(seed)
        return AutoencoderKL(**TINY.vae).eval()

    def times():
        return [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.safetensors"))]

    encode_latents(autoencoder(0), tmp_path, 4, seed=1)
    first = times()
    assert len(first) == 2
    encode_latents(autoencoder(0), tmp_path, 6, seed=1)
    assert times()[:2] == first and len(times()) == 3
    encode_latents(autoencoder(1), tmp_path, 6, seed=1)
    assert all(new > old for new, old in zip(times(), first, strict=False))


def a_clip(frames=4):
    """Latents of one object, 2 x 2 of 8 x 8 places, that goes one place to the right a frame."""
    latents = torch.full((1, 8, frames, 8, 8), 0.3)
    for frame in range(frames):
        latents[:, :, frame, 2:4, frame : frame + 2] += 1.0
    return latents


def test_the_object_mask_follows_the_object():
    mask = object_mask(a_clip())
    assert mask.shape == (1, 4, 8, 8) and int(mask.sum()) == 16
    assert all(mask[0, frame, 2:4, frame : frame + 2].all() for frame in range(4))


def test_objects_weigh_more_where_the_noise_lets_them_be_seen():
    latents = a_clip()
    mask = object_mask(latents).bool()
    shares = []
    for alpha in (0.0, 0.05, 0.5, 1.0):
        weight = object_weight(latents, torch.tensor([alpha]), count_looks(4, 0.0))
        assert weight.mean().item() == pytest.approx(1, abs=1e-5)
        shares.append((weight[mask].sum() / weight.sum()).item())
    assert shares == sorted(shares) and shares[0] == pytest.approx(1 / 16) and shares[-1] > 0.4
    # Noise that all frames share hides as much as in one picture.
    shared = object_weight(latents, torch.tensor([0.05]), count_looks(4, 1.0))
    assert (shared[mask].sum() / shared.sum()).item() < shares[1]


def test_steps_are_shifted_to_the_ratio_of_all_looks():
    alphas = torch.linspace(0.999, 0.0, 1000)
    assert (count_looks(8, 0.0), count_looks(8, 1.0), count_looks(1, 0.5)) == (8, 1, 1)
    assert shifted_steps(alphas, 1.0).tolist() == list(range(1000))
    ratio = alphas / (1 - alphas)
    steps = shifted_steps(alphas, 4.0)
    assert (ratio[steps] <= ratio / 4).all() and (ratio[steps - 1] > ratio / 4)[:-1].all()


def test_noise_has_unit_variance_and_shares_what_it_is_told():
    noise = draw_noise(np.random.default_rng(0), torch.Size((40, 8, 4, 8, 8)), 0.8)
    assert noise.dtype == torch.float32 and noise.std().item() == pytest.approx(1, abs=0.02)
    first, second = noise[:, :, 0].flatten(), noise[:, :, 3].flatten()
    assert (first * second).mean().item() == pytest.approx(0.8, abs=0.03)
    alone = draw_noise(np.random.default_rng(0), torch.Size((40, 8, 4, 8, 8)), 0.0)
    assert abs((alone[:, :, 0] * alone[:, :, 3]).mean().item()) < 0.03


def test_few_frames_keep_the_first_and_the_last():
    assert few_frames(2, 8).tolist() == [0, 7]
    assert few_frames(4, 8).tolist() == [0, 2, 5, 7]
    assert few_frames(8, 8).tolist() == list(range(8))


@pytest.fixture(scope="module")
def cached_latents(tmp_path_factory):
    """A folder of cached latents whose every value is the number of its frame."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("latents")
    numbers = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(512, 8, 8, 8, 8)
    save_file({"latents": numbers.half().contiguous()}, folder / "0000.safetensors")
    (folder / "0000.json").write_text(json.dumps(["a red star moving left"] * 512), "utf-8")
    return folder


@pytest.mark.parametrize(("frames", "numbers"), [(2, [0, 7]), (4, [0, 2, 5, 7]), (8, list(range(8)))])
def test_text_to_video_learns_from_the_frames_it_is_told(cached_latents, frames, numbers):
    part = TextToVideoPart(TINY, caption_tokenizer(), cached_latents, 2.0, frames, 3, 0.8)
    latents, ids, steps, noise, _ = part.batch(np.random.default_rng(0))
    assert latents.shape == noise.shape == (3, 8, frames, 8, 8) and len(ids) == len(steps) == 3
    assert (latents[0, 0, :, 0, 0] / 2).tolist() == numbers


def test_the_unet_in_training_computes_what_the_saved_one_will(cached_latents):
    """Training leaves dropout and the fused attention out; the weights mean the same without."""
    from diffusers import UNet3DConditionModel

    part = TextToVideoPart(TINY, caption_tokenizer(), cached_latents, 1.0, 4, 2, 0.8)
    part.train()
    plain = UNet3DConditionModel(**TINY.unet).eval()
    plain.load_state_dict(part.model["unet"].state_dict())
    inputs = torch.randn(2, 8, 4, 8, 8), torch.tensor([3, 900])
    context = torch.randn(2, 32, 128)
    with torch.no_grad():
        wanted = plain(*inputs, encoder_hidden_states=context).sample
        for _ in range(2):
            given = part.model["unet"](*inputs, encoder_hidden_states=context).sample
            torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)


def test_answers_count_most_in_the_base_models_loss():
    """What cannot be predicted has a small weight, the system text none; most documents leave it out. The yes
    or no that opens an answer counts more than the words after it.
    """
    words = ["", "<s>", "</s>"]

    def encode(text: str, first: bool) -> list[int]:
        pieces = re.findall(r" ?[^ ,.\n]+|[,.\n]", text)
        words.extend(piece for piece in dict.fromkeys(pieces) if piece not in words)
        return [words.index(piece) for piece in pieces]

    template = PromptTemplate(turn_end_id=2, bos_id=1, system="About you.")
    scene = Scene((Object("red", "circle", "left"),), "navy")
    turns = [Turn("Is it red?", "Yes, it is red.", scene), Turn("And what moves?", "It is not a No.")]
    rng = np.random.default_rng(0)
    opened = 0
    for _ in range(200):
        ids, weights = encode_as_text(Dialogue(turns, "question"), template, encode, verdict_ids(encode), rng)
        assert len(ids) == len(weights)
        text = "".join(words[token] for token in ids)
        about, rest = text.startswith("<s>About you."), text.removeprefix("<s>").removeprefix("About you.")
        assert rest.startswith("\nHuman:") and "red circle moving left on a navy background" in rest
        assert rest.endswith("\nAI: It is not a No.</s>")
        opened += about
        pairs = [(words[token], weight) for token, weight in zip(ids, weights, strict=True)]
        start = 4 if about else 1
        assert all(weight == 0.0 for _, weight in pairs[:start])
        first = [
            (" Yes", 5.0),
            (",", 1.0),
            (" it", 1.0),
            (" is", 1.0),
            (" red", 1.0),
            (".", 1.0),
            ("</s>", 1.0),
        ]
        second = [(word, 1.0) for word in (" It", " is", " not", " a", " No", ".", "</s>")]
        assert pairs[-7:] == second
        place = pairs.index((" Yes", 5.0))
        assert pairs[place : place + 7] == first
        asked = pairs[start:place] + pairs[place + 7 : -7]
        assert all(weight == 0.1 for _, weight in asked)
    assert 25 < opened < 80
