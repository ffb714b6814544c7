"""Parity of the runtime with what it was exported from: greedy tokens, each component, tokenizers.

Needs the checkpoint of the bundle and the extras "train" and "export"; everything else of `g4v.eval shapes`
runs without PyTorch.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from g4v._console import ProgressBar
from g4v.errors import ArgumentError, Error
from g4v.eval.metrics import Rate
from g4v.shapes.dialogues import sample_dialogue
from g4v.shapes.world.render import render

if TYPE_CHECKING:
    from g4v import Assistant, Reply

_NEW_TOKENS = 128
_DIFFERENT = 10  # examples kept


def require_pytorch() -> None:
    """Raises ArgumentError where the libraries of the comparison are not installed."""
    for name in ("torch", "transformers", "peft", "diffusers", "onnx"):
        if importlib.util.find_spec(name) is None:
            raise ArgumentError(
                f'--checkpoint compares with PyTorch, and {name} is missing: pip install "g4v[train,export]"'
            )
    from transformers.utils import logging

    logging.disable_progress_bar()


def _plain(text: str) -> str:
    """The text without white space: the runtime trims it around the tags of videos."""
    return "".join(text.split())


def _said(reply: Reply) -> str:
    return _plain(reply.text) + "".join(f"|{_plain(video.caption)}" for video in reply.videos)


class _Reference:
    """The checkpoint in PyTorch, float32."""

    def __init__(self, checkpoint: Path) -> None:
        from g4v.export.checkpoint.run import Checkpoint
        from g4v.model.assistant import Gpt4Video
        from g4v.model.prompt import plain_encoder

        opened = Checkpoint.open(checkpoint)
        self.model = Gpt4Video.from_checkpoint(checkpoint, parts=opened.parts)
        self.mean, self.std = opened.image_statistics()
        self.template = opened.prompt
        self.tokenizer: Any = opened.tokenizer("decoder")
        self.encode = plain_encoder(self.tokenizer)
        opening, closing = map(re.escape, (self.template.video_open, self.template.video_close))
        self.tag = re.compile(f"{opening}(.*?){closing}", re.DOTALL)

    def features(self, clip: np.ndarray) -> Any:
        import torch

        from g4v import _core

        encoder: Any = self.model.encoder
        pixels = _core.preprocess(clip, encoder.image_size, self.mean, self.std)
        with torch.no_grad():
            return encoder(torch.from_numpy(pixels)[None])[0]

    def said(self, ids: list[int]) -> str:
        """The text and the captions of an answer, as `_said` of the runtime's."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        captions = [f"|{_plain(caption)}" for caption in self.tag.findall(text)]
        return _plain(self.tag.sub(" ", text)) + "".join(captions)


def greedy(
    assistant: Assistant, checkpoint: Path, count: int, seed: int
) -> tuple[Rate, list[dict[str, Any]]]:
    """Conversations whose every turn has the tokens of PyTorch's greedy decoding, and examples that differ.

    Turns are the same if their words, captions and numbers of tokens are, and so is the length of the context
    after them. The conversations are held-out dialogues of several turns, with and without clips.
    """
    from g4v.model.assistant import ReferenceConversation

    reference = _Reference(checkpoint)
    rate = Rate()
    different: list[dict[str, Any]] = []
    with ProgressBar("greedy tokens", count, lines=True) as progress:
        for i in range(count):
            rng = np.random.default_rng([seed, i, 3])
            dialogue = sample_dialogue(rng, "test")
            while len(dialogue.turns) < 2:
                dialogue = sample_dialogue(rng, "test")
            chat = assistant.chat(seed=i, steps=1, temperature=0.0, max_new_tokens=_NEW_TOKENS)
            torch_chat = ReferenceConversation(reference.model, reference.template, reference.encode)
            same = True
            for turn in dialogue.turns:
                clip = None if turn.video is None else render(turn.video, rng)
                features = None if clip is None else reference.features(clip)
                user = reference.template.clean_user_text(turn.user)
                ids = torch_chat.send(user, features, _NEW_TOKENS)
                expected = reference.said(ids)
                try:
                    reply = chat.ask(turn.user, video=clip)
                except Error as error:
                    same, said = False, f"(failed: {error})"
                else:
                    said = _said(reply)
                    tokens = reply.new_tokens - (reply.finish_reason == "stop")
                    same = (
                        said == expected and tokens == len(ids) and chat.context_used == len(torch_chat.ids)
                    )
                if not same:
                    if len(different) < _DIFFERENT:
                        different.append({"user": turn.user, "said": said, "wanted": expected})
                    break
            rate.add(same)
            progress.step()
    return rate, different


def components(bundle: Path, checkpoint: Path) -> dict[str, float]:
    """The relative error of every float32 component against PyTorch in float64, on random inputs."""
    from g4v.export.bundle.verify import verify_bundle

    with ProgressBar("components", 1, lines=True) as progress:
        errors = verify_bundle(checkpoint, bundle)
        progress.step()
    return errors


def tokenizers(checkpoint: Path, count: int, seed: int) -> tuple[dict[str, Rate], list[str]]:
    """Random Unicode texts with the tokens of Hugging Face tokenizers, for both tokenizers of the run, and
    what differs first.
    """
    from g4v.export.checkpoint.run import Checkpoint
    from g4v.export.components.tokenizer import write_tokenizer
    from g4v.export.errors import ExportError
    from g4v.export.verify.tokenizer import verify_tokenizer

    opened, rates, different = Checkpoint.open(checkpoint), {}, []
    parts = [part for part, folder in (("decoder", "llm"), ("text_encoder", "t2v")) if opened.has(folder)]
    with (
        ProgressBar("tokenizers", len(parts), lines=True) as progress,
        tempfile.TemporaryDirectory() as folder,
    ):
        for part in parts:
            source = opened.tokenizer_source(part)
            target = Path(folder) / f"{part}.json"
            write_tokenizer(source, target)
            rates[part] = Rate(0, count)
            try:
                rates[part].right = verify_tokenizer(target, source, count, seed)
            except ExportError as error:  # it stops at the first text that differs: none counts as equal
                different.append(f"{part}: {error}")
            progress.step()
    return rates, different
