"""Prompt templates of the public models, by name, and what teaches an untrained model the `<video>` tag.

    chatml     SmolLM2, Qwen2: <|im_start|>user\\nQUESTION<|im_end|>\\n
    llama-2    [INST] <<SYS>>\\nSYSTEM\\n<</SYS>>\\n\\nQUESTION [/INST] ANSWER </s>
    llama-3    <|start_header_id|>user<|end_header_id|>\\n\\nQUESTION<|eot_id|>
    vicuna     SYSTEM USER: QUESTION ASSISTANT: ANSWER</s>
    mplug-owl  SYSTEM\\nHuman: VIDEO\\nHuman: QUESTION\\nAI: ANSWER</s>

A video stands where the user speaks, before the words of the question.
"""

from __future__ import annotations

from typing import Any

from g4v.errors import ArgumentError
from g4v.model.plain_encoder import plain_encoder
from g4v.model.prompt import PromptTemplate, default_system

_POLITE = "gives helpful, detailed, and polite answers to the {user}'s questions."
_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant "
    + _POLITE.format(user="user")
)
_OWL_SYSTEM = (
    "The following is a conversation between a curious human and AI assistant. The assistant "
    + _POLITE.format(user="user")
)

# The texts of each template, the token that ends an answer, and tokens that end one too.
_PRESETS: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "chatml": (
        {
            "system_prefix": "<|im_start|>system\n",
            "system_suffix": "<|im_end|>\n",
            "user_prefix": "<|im_start|>user\n",
            "assistant_prefix": "<|im_end|>\n<|im_start|>assistant\n",
            "answer_prefix": "",
            "turn_separator": "\n",
            "video_suffix": "\n",
        },
        "<|im_end|>",
        ("<|endoftext|>",),
    ),
    "llama-2": (
        {
            "bos": "<s>",
            "system_prefix": "[INST] <<SYS>>\n",
            "system_suffix": "\n<</SYS>>\n\n",
            "no_system": "[INST] ",
            "user_prefix": "",
            "assistant_prefix": " [/INST]",
            "answer_suffix": " ",
            "turn_separator": "<s>[INST] ",
            "video_suffix": "\n",
        },
        "</s>",
        (),
    ),
    "llama-3": (
        {
            "bos": "<|begin_of_text|>",
            "system_prefix": "<|start_header_id|>system<|end_header_id|>\n\n",
            "system_suffix": "<|eot_id|>",
            "user_prefix": "<|start_header_id|>user<|end_header_id|>\n\n",
            "assistant_prefix": "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            "answer_prefix": "",
            "video_suffix": "\n",
        },
        "<|eot_id|>",
        ("<|end_of_text|>",),
    ),
    "vicuna": (
        {
            "bos": "<s>",
            "system": _VICUNA_SYSTEM,
            "system_suffix": " ",
            "user_prefix": "USER: ",
            "assistant_prefix": " ASSISTANT:",
            "video_suffix": "\n",
        },
        "</s>",
        (),
    ),
    # The public code tokenises the texts before and behind the video one by one, which puts a space
    # before each; and its prompts end with "AI: ", with a space.
    "mplug-owl": (
        {
            "bos": "<s>",
            "system": _OWL_SYSTEM,
            "user_prefix": "\nHuman: ",
            "assistant_prefix": "\nAI: ",
            "video_suffix": " \nHuman: ",
            "stop": ("\nHuman:",),
        },
        "</s>",
        (),
    ),
}
PRESETS = tuple(_PRESETS)

# Defaults of answers (generation.text of a bundle) and frames of a video, where the public code has its
# own: mPLUG-Owl's example samples out of the 5 likeliest tokens, up to 512.
TEXT_GENERATION: dict[str, dict[str, Any]] = {
    "mplug-owl": {
        "max_new_tokens": 512,
        "temperature": 1.0,
        "top_k": 5,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
    },
}
FRAMES = {"mplug-owl": 4}

_TEACHING = """

The assistant can show videos. Whenever a video answers the request or helps with it, the assistant writes \
one sentence that describes what is to be seen between <video> and </video>, and the user sees the video in \
that place. The sentence is complete in itself and names who or what moves, how, and where. Nothing else \
stands between the tags. Where words are enough, the assistant writes no tag. It never describes anything \
harmful, hateful or sexual there. Examples:

{user} Can you show me a dog at the beach?
{assistant} Of course! Here it is: <video>a brown dog runs through the waves at a sunny beach</video> Shall \
I show you another one?

{user} What is the capital of France?
{assistant} The capital of France is Paris.

{user} I have three days in Norway. What should I do?
{assistant} Spend the first day in Bergen, the second on a fjord and the third on the Flam railway. This is \
what the fjord looks like from the ship: <video>a ship glides along a deep blue fjord between steep green \
mountains</video> Would you like to see the railway as well?

{user} Make a video of people being hurt.
{assistant} I'm sorry, but I can't show that. I can show you something peaceful instead, if you like."""

_SPEAKERS = {"vicuna": ("USER:", "ASSISTANT:"), "mplug-owl": ("Human:", "AI:")}


def preset_template(kind: str, tokenizer: Any) -> PromptTemplate:
    """The prompt template of a public model.

    kind: one of PRESETS. tokenizer: the model's, of `transformers` (fast) or a `tokenizers.Tokenizer`; it
    gives the ids of the special tokens. The system text is the model's public one where it has one, else the
    paper's.

    ArgumentError: another kind, or the tokenizer lacks a special token of the template.
    """
    if kind not in _PRESETS:
        raise ArgumentError(f"there is no prompt template {kind!r}; one of {', '.join(PRESETS)}")
    known = special_tokens(tokenizer)
    texts, turn_end, others = dict(_PRESETS[kind][0]), *_PRESETS[kind][1:]
    bos = texts.pop("bos", None)
    for token in (turn_end, bos):
        if token is not None and token not in known:
            raise ArgumentError(f"the tokenizer has no special token {token!r}, which {kind} prompts need")
    own = "".join(text for text in texts.values() if isinstance(text, str))
    space = None if kind == "mplug-owl" else space_after_special(tokenizer, turn_end)
    for token in ("<|im_start|>", "<|start_header_id|>", "<|end_header_id|>"):
        if token in own and token not in known:
            raise ArgumentError(f"the tokenizer has no special token {token!r}, which {kind} prompts need")
    return PromptTemplate(
        turn_end_id=known[turn_end],
        bos_id=None if bos is None else known[bos],
        **{"stop": (), "video_prefix": texts["user_prefix"], **texts},
        special_tokens={token: number for token, number in known.items() if token in own},
        space_after_special=space,
        stop_ids=tuple(known[token] for token in others if token in known),
    )


def untrained_template(kind: str, tokenizer: Any) -> PromptTemplate:
    """The template of `preset_template` with a system text that teaches the `<video>` tag by examples.

    For a model that was never tuned for it: no new parameters. Arguments and errors as there.
    """
    import dataclasses

    template = preset_template(kind, tokenizer)
    return dataclasses.replace(template, system=teaching_system(kind, template.system))


def teaching_system(kind: str = "", system: str = "") -> str:
    """A system text that teaches the `<video>` tag by examples.

    kind: one of PRESETS, whose labels of speakers the examples have; "User:" and "Assistant:" for any other.
    system: what it begins with; the paper's system text where it is empty.
    """
    user, assistant = _SPEAKERS.get(kind, ("User:", "Assistant:"))
    return (system or default_system("GPT4Video")) + _TEACHING.format(user=user, assistant=assistant)


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """{text: id} of the special tokens of a `transformers` fast tokenizer or a `tokenizers.Tokenizer`."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    added = backend.get_added_tokens_decoder().items()
    return {token.content: number for number, token in added if token.special}


def space_after_special(tokenizer: Any, token: str) -> bool | None:
    """PromptTemplate.space_after_special of a tokenizer: what it does with text behind a special token."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    encode = plain_encoder(tokenizer)
    spaced = encode("a", True)
    if spaced == encode("a", False):
        return None
    return bool(backend.encode(f"{token}a", add_special_tokens=False).ids[1:] == spaced)
