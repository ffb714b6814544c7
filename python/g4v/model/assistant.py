"""The whole assistant in PyTorch: encoder, abstractor, language model, for training and as a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from g4v.model.abstractor import VideoAbstractor
from g4v.model.bases.llm import load_llm
from g4v.model.bases.vision import load_connector, load_vision
from g4v.model.connector import Connector
from g4v.model.prompt import VIDEO_ID, Encode, PromptTemplate
from g4v.model.vision import VideoEncoder


@dataclass(frozen=True)
class AssistantOutput:
    """What `Gpt4Video.forward` returns. loss: float scalar, None without labels. logits: float [B, L, V]."""

    loss: Tensor | None
    logits: Tensor


class Gpt4Video(nn.Module):
    """The GPT4Video assistant: a frozen encoder, the abstractor, and a LlamaForCausalLM, plain or with PEFT.

    The abstractor and the language model train whatever parameters have requires_grad; the encoder never
    does. Either of encoder and abstractor may be None where the caller gives features or video tokens, or
    text alone.
    """

    def __init__(
        self, encoder: VideoEncoder | None, abstractor: VideoAbstractor | Connector | None, llm: Any
    ) -> None:
        super().__init__()
        self.llm: Any  # annotated first: modules are otherwise typed as Tensor | Module
        self.encoder = encoder
        self.abstractor = abstractor
        self.llm = llm
        if encoder is not None:
            encoder.requires_grad_(False)
            encoder.eval()

    def train(self, mode: bool = True) -> Gpt4Video:
        super().train(mode)
        if self.encoder is not None:
            self.encoder.eval()
        return self

    def encode_video(
        self,
        pixel_values: Tensor | None = None,
        features: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> Tensor:
        """Video tokens of clips, float [B, Q+1, D], or [B, T*Q, D] of a connector of single frames.

        pixel_values: float [B, T, 3, S, S]; or features: float [B, T, N, d] of the encoder. frame_mask: bool
        [B, T], False for padding frames. ValueError: neither is given, or a part is missing.
        """
        if features is None:
            if self.encoder is None or pixel_values is None:
                raise ValueError("give features, or pixel_values to an assistant that has its encoder")
            with torch.no_grad():
                features = self.encoder(pixel_values)
        if self.abstractor is None:
            raise ValueError("this assistant has no abstractor: give video_tokens")
        return self.abstractor(features) if frame_mask is None else self.abstractor(features, frame_mask)

    def embed(self, input_ids: Tensor, video_tokens: Tensor | None) -> Tensor:
        """Input embeddings, float [B, L, D].

        input_ids: int64 [B, L]. video_tokens: float [clips, Q+1, D]; their rows take the places of VIDEO_ID,
        in reading order. ValueError: their number is not that of the places.
        """
        is_video = input_ids == VIDEO_ID
        embeds = self.llm.get_input_embeddings()(input_ids.masked_fill(is_video, 0))
        given = 0 if video_tokens is None else video_tokens.shape[0] * video_tokens.shape[1]
        wanted = int(is_video.sum())
        if given != wanted:
            raise ValueError(f"the ids have {wanted} video positions, but {given} video tokens were given")
        if video_tokens is not None:
            embeds = embeds.masked_scatter(is_video[..., None], video_tokens.to(embeds.dtype))
        return embeds

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        pixel_values: Tensor | None = None,
        features: Tensor | None = None,
        video_tokens: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> AssistantOutput:
        """Logits, and where labels are given the mean cross-entropy of the next token.

        input_ids: int64 [B, L], VIDEO_ID at video positions, right-padded.
        labels: int64 [B, L], -100 where a position does not count; shifted inside.
        attention_mask: int64 or bool [B, L]; padding on the right needs none, since attention is causal.
        At most one of: pixel_values float [clips, T, 3, S, S], features float [clips, T, N, d], video_tokens
        float [clips, Q+1, D], for all clips of the batch in reading order. frame_mask bool [clips, T].
        """
        if video_tokens is None and (features is not None or pixel_values is not None):
            video_tokens = self.encode_video(pixel_values, features, frame_mask)
        embeds = self.embed(input_ids, video_tokens)
        out = self.llm(inputs_embeds=embeds, attention_mask=attention_mask, labels=labels, use_cache=False)
        return AssistantOutput(out.loss, out.logits)

    @classmethod
    def from_checkpoint(
        cls, run: str | Path, adapter: bool = True, parts: Mapping[str, Path] | None = None
    ) -> Gpt4Video:
        """Reads encoder, abstractor, llm and, if present and wanted, adapter/ of a run, as float32.

        parts: where those stand that are not in the run's own folder, by name; llm may be a GGUF file.
        """
        run = Path(run)
        places = {name: run / name for name in ("encoder", "abstractor", "llm")} | dict(parts or {})
        llm: Any = load_llm(places["llm"])
        if adapter and (run / "adapter").is_dir():
            from peft import PeftModel

            llm = PeftModel.from_pretrained(llm, run / "adapter")
        encoder = load_vision(places["encoder"]) if places["encoder"].exists() else None
        abstractor: VideoAbstractor | Connector | None = None
        if places["abstractor"].exists():
            abstractor = load_connector(places["abstractor"])
        return cls(encoder, abstractor, llm).eval()


class ReferenceConversation:
    """A greedy conversation with a KV cache; tests compare the runtime with it token by token."""

    def __init__(
        self, model: Gpt4Video, template: PromptTemplate, encode: Encode, repetition_penalty: float = 1.0
    ) -> None:
        from transformers import DynamicCache

        self.model = model
        self.template = template
        self.encode = encode
        self.repetition_penalty = repetition_penalty
        self.cache = DynamicCache()
        self.ids: list[int] = []  # everything in the cache

    @torch.no_grad()
    def _feed(self, ids: Sequence[int], video_tokens: Tensor | None = None) -> Tensor:
        """Appends ids to the cache; returns the logits [V] of the last position."""
        embeds = self.model.embed(torch.tensor([list(ids)]), video_tokens)
        out = self.model.llm(
            inputs_embeds=embeds, past_key_values=self.cache, use_cache=True, logits_to_keep=1
        )
        self.ids += ids
        return out.logits[0, -1]

    @torch.no_grad()
    def send(
        self, text: str, features: Tensor | None = None, max_new_tokens: int = 256, allowed: int | None = None
    ) -> list[int]:
        """Answers one turn greedily.

        text: clean user text. features: float [T, N, d] of the attached clip. allowed: positions of the
        context, by default the model's max_position_embeddings. Returns the generated ids without the turn
        end, which is in the cache afterwards, whether the model produced it or not.
        """
        tokens = None if features is None else self.model.encode_video(features=features[None])
        first = not self.ids
        ids = self.template.opening_ids(self.encode) if first else []
        count = 0 if tokens is None else tokens.shape[1]
        ids += self.template.turn_ids(text, tokens is not None, count, self.encode, first)
        limit = allowed or self.model.llm.config.max_position_embeddings
        if len(self.ids) + len(ids) >= limit:
            raise ValueError(f"the conversation does not fit into {limit} positions")
        logits = self._feed(ids, tokens)
        answer: list[int] = []
        end = self.template.answer_end_ids(self.encode)
        while len(answer) < max_new_tokens and len(self.ids) + 1 < limit:
            token = int(self._penalised(logits, answer).argmax())
            if token in (self.template.turn_end_id, *self.template.stop_ids):
                end = end[-1:]
                break
            answer.append(token)
            logits = self._feed([token])
        self._feed(end)
        return answer

    def _penalised(self, logits: Tensor, answer: list[int]) -> Tensor:
        if self.repetition_penalty == 1.0 or not answer:
            return logits
        logits = logits.clone()
        seen = torch.tensor(sorted(set(answer)))
        chosen = logits[seen]
        logits[seen] = torch.where(
            chosen > 0, chosen / self.repetition_penalty, chosen * self.repetition_penalty
        )
        return logits
