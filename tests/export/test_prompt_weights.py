"""States of prompts with weights: by the definition in float64, and as compel has them."""

import math

import numpy as np
import pytest
import torch

import g4v
from g4v import _core
from g4v._runtime import onnxruntime_directories
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.run import Checkpoint

from .test_t5_pipeline import LENGTH, t5_run

PROMPTS = [
    "a red circle moving left",
    "a red++ circle moving left",
    "a (red circle)1.5 moving left",
    "a (red)0.4 circle moving left",
    "a (red)0 circle, (blue square)0.7 moving++ left",
    "(a (red)0.5 circle)1.4 moving left--",
    "a red circle moving left on black " * 4 + "and a (blue square)1.5",  # is cut
    "a (red circle moving left on black)0.5 " * 4,
    "",
]


class Reference:
    """The definition of docs/python.md, in float64. zeroed: the padding's states are 0."""

    def __init__(self, encoder, tokenizer, length, mask=False, zeroed=False):
        self.encoder, self.tokenizer, self.length = encoder.double().eval(), tokenizer, length
        self.mask, self.zeroed = mask, zeroed

    def encode(self, ids):
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        before = [] if bos is None else [bos]
        ids = [*before, *ids[: self.length - len(before) - 1], eos]
        mask = torch.zeros(1, self.length, dtype=torch.int64)
        mask[0, : len(ids)] = 1
        ids = ids + [self.tokenizer.pad_token_id] * (self.length - len(ids))
        with torch.no_grad():
            given = {"attention_mask": mask} if self.mask else {}
            states = self.encoder(torch.tensor([ids]), **given).last_hidden_state[0]
        return (states * mask[0, :, None] if self.zeroed else states).numpy()

    def weighted(self, parts):
        ids, weights = [], [] if self.tokenizer.bos_token_id is None else [1.0]
        for text, weight in parts:
            own = self.tokenizer(text, add_special_tokens=False).input_ids
            ids += own
            weights += [weight] * len(own)
        states, empty = self.encode(ids), self.encode([])
        room = self.length - 1  # the eos
        factors = np.ones(self.length)
        factors[: min(len(weights), room)] = weights[:room]
        return empty + factors[:, None] * (states - empty)

    def __call__(self, parts):
        found = [self.weighted(parts)]
        counts = [1.0]
        start, room = 0, self.length - (1 if self.tokenizer.bos_token_id is None else 2)
        for i, (text, weight) in enumerate(parts):
            cut = start >= room
            start += len(self.tokenizer(text, add_special_tokens=False).input_ids)
            if weight < 1 and not cut:
                found.append(self.weighted([*parts[:i], *parts[i + 1 :]]))
                counts.append(math.tan((1 - max(weight, 1e-5)) * math.pi / 2))
        return np.average(found, axis=0, weights=counts)


def states(bundle, texts, weighted=True):
    return _core.testing.text_states(str(bundle), texts, weighted, onnxruntime_directories())


def compare(bundle, reference):
    """The largest error, of the largest state."""
    plain = states(bundle, PROMPTS[:1], weighted=False)
    assert np.array_equal(states(bundle, PROMPTS[:1]), plain)
    worst = 0.0
    for prompt in PROMPTS:
        wanted = reference(_core.testing.prompt_weights(prompt))
        found = states(bundle, [prompt])[0]
        worst = max(worst, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    changed = states(bundle, [PROMPTS[1]]) - plain
    assert np.abs(changed).max() > 1e-3 * np.abs(plain).max(), "weights count"
    both = states(bundle, [PROMPTS[3], PROMPTS[1]])
    assert np.array_equal(both[1], states(bundle, [PROMPTS[1]])[0])
    return worst


@pytest.fixture(scope="module")
def clip(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("clip") / "bundle"
    export_bundle(run, out, only=["text_encoder", "unet", "vae_decoder"])
    return out


def parts_of(run):
    checkpoint = Checkpoint.open(run)
    return checkpoint.text_encoder(), checkpoint.tokenizer("text_encoder")


def test_states_of_clip(run, clip):
    encoder, tokenizer = parts_of(run)
    length = states(clip, [""]).shape[1]
    worst = compare(clip, Reference(encoder, tokenizer, length))
    print(f"CLIP: largest relative error {worst:.2e}")
    assert worst < 1e-5


@pytest.mark.parametrize(("kind", "masked", "zeroed"), [("t5", False, False), ("umt5", True, True)])
def test_states_of_t5(run, tmp_path, kind, masked, zeroed):
    import json

    folder, tokenizer = t5_run(run, tmp_path / "run", kind, "tokenizer.json", masked)
    out = tmp_path / "bundle"
    export_bundle(folder, out, only=["text_encoder", "unet", "vae_decoder"])
    if zeroed:
        manifest = json.loads((out / "g4v.json").read_text("utf-8"))
        manifest["components"]["text_encoder"] |= {"zero_padding": True, "load": "per_video"}
        (out / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    encoder = Checkpoint.open(folder).text_encoder()
    worst = compare(out, Reference(encoder, tokenizer, LENGTH, masked, zeroed))
    print(f"{kind}: largest relative error {worst:.2e}")
    assert worst < 1e-5


def test_states_are_those_of_compel(run, clip):
    """With DownweightMode.REMOVE: the text encoders of bundles take no mask for single tokens."""
    compel = pytest.importorskip("compel")
    encoder, tokenizer = parts_of(run)
    tokenizer.model_max_length = states(clip, [""]).shape[1]
    theirs = compel.Compel(
        tokenizer=tokenizer,
        text_encoder=encoder.float().eval(),
        downweight_mode=compel.embeddings_provider.DownweightMode.REMOVE,
        truncate_long_prompts=True,
    )
    worst = 0.0
    for prompt in filter(None, PROMPTS):  # it cannot take the empty one with this tokenizer
        with torch.no_grad():
            wanted = theirs(prompt)[0].numpy()
        found = states(clip, [prompt])[0]
        worst = max(worst, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    print(f"compel: largest relative difference {worst:.2e}")
    assert worst < 1e-5


def test_a_video_follows_them(clip):
    assistant = g4v.load(clip, device="cpu", threads=1)
    options = {"seed": 1, "steps": 2, "frames": 2, "width": 32, "height": 32, "guidance_scale": 5.0}
    plain = assistant.generate("a red circle", **options).frames
    for prompt, negative in (("a (red)2 circle", ""), ("a red circle", "(blurred)2")):
        found = assistant.generate(prompt, negative_prompt=negative, prompt_weighting=True, **options)
        assert not np.array_equal(found.frames, plain)
