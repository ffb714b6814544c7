"""Recipes of the base language model, its tokenizer and its prompt template.

Steps, rates and seeds are those that the checked-in weights were trained with.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from g4v.model.presets import TINY
from g4v.model.prompt import PromptTemplate, default_system
from g4v.shapes.recipe.loop import LoopSettings, Part
from g4v.shapes.recipe.recipes import Recipe, write_nothing
from g4v.shapes.recipe.results import checkpoint_of, save_half, start_from
from g4v.shapes.recipe.tokenizers import BOS_ID, EOS_ID, load_tokenizer, train_byte_level_bpe

if TYPE_CHECKING:
    from g4v.shapes.recipe.language import BaseLanguagePart

VOCABULARY = 1536


def language_tokenizer(out: Path) -> Any:
    """The language model's tokenizer, of transformers: that of OUT, or trained where OUT has none yet."""
    folder = out / "work" / "tokenizer"
    if not (folder / "tokenizer.json").exists() and (out / "llm" / "tokenizer.json").exists():
        return load_tokenizer(out / "llm")
    if not (folder / "tokenizer.json").exists():
        from g4v.shapes.dialogues import iter_corpus_for_tokenizer

        system = default_system("g4v")
        texts = [system] * 50 + list(iter_corpus_for_tokenizer(20_000, seed=5))
        train_byte_level_bpe(texts, VOCABULARY).save_pretrained(folder)
    return load_tokenizer(folder)


def template() -> PromptTemplate:
    """The prompt template of the embedded default."""
    from g4v.shapes.dialogues import REFUSAL_OPENINGS

    return PromptTemplate(
        turn_end_id=EOS_ID,
        bos_id=BOS_ID,
        system=default_system("g4v"),
        refusal_openings=tuple(REFUSAL_OPENINGS),
    )


def _language_part(out: Path, kind: type[BaseLanguagePart]) -> Part:
    from transformers import LlamaForCausalLM

    tokenizer = language_tokenizer(out)
    config = TINY.llama_config(len(tokenizer), bos_token_id=BOS_ID, eos_token_id=EOS_ID, pad_token_id=0)
    return kind(LlamaForCausalLM(config), tokenizer, template())


def _build_bindings(out: Path) -> Part:
    from g4v.shapes.recipe.language import BindingsPart

    return _language_part(out, BindingsPart)


def _build_base(out: Path) -> Part:
    from g4v.shapes.recipe.language import BaseLanguagePart

    return start_from(_language_part(out, BaseLanguagePart), checkpoint_of(out, "bindings"))


def _build_words(out: Path) -> Part:
    from transformers import LlamaForCausalLM

    from g4v.shapes.recipe.language import PlainWordsPart

    part = _language_part(out, PlainWordsPart)
    first = LlamaForCausalLM.from_pretrained(out / "llm", local_files_only=True, dtype="float32")
    part.model.load_state_dict(first.state_dict())
    return part


def _finish_base(out: Path, part: Part) -> None:
    best: Any = part.best_model()
    tokenizer = language_tokenizer(out)  # before OUT/llm, where it may stand, is replaced
    save_half(best, out / "llm")
    tokenizer.save_pretrained(out / "llm")


LANGUAGE_RECIPES = {
    "bindings": Recipe(
        _build_bindings,
        write_nothing,
        LoopSettings(steps=900, learning_rate=1.5e-3, ema=None, seed=12, warmup=50, decay=0.0, muon=True),
    ),
    "base": Recipe(
        _build_base,
        _finish_base,
        LoopSettings(steps=22000, learning_rate=8e-4, ema=None, seed=4, warmup=200, decay=0.15, muon=True),
    ),
    "base-words": Recipe(
        _build_words,
        _finish_base,
        LoopSettings(steps=3000, learning_rate=2e-4, ema=0.98, seed=22, warmup=40, decay=0.8, muon=True),
    ),
}
