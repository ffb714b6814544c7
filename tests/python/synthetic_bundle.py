"""A bundle of toy graphs whose outputs can be computed by hand: the engine is tested apart from any model.

The "language model" is a table: the next token follows from the last one alone. Texts are spelt by single
bytes, and the last byte of the user's words chooses the answer: SCRIPTS[last character] is a chain of tokens.
Some tokens are special:

    the character "h"  answers "#NN", a checksum of every row in the KV cache with its position
    the character "~"  costs a minute in whatever graph reads it, unless the run is stopped
    the character "!"  makes the logits NaN

A white video costs a minute in the encoder.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

PAD, BOS, EOS = 0, 1, 2
BYTES = 3  # id of the byte 0
HIDDEN = 4
CONTEXT = 640
VIDEO_TOKENS = 3
TRIPS = 20_000_000  # iterations of a slow run: a minute and more
FRAMES = 4
SYSTEM = "System."

SCRIPTS: dict[str, list[str]] = {
    "a": [" Hello", ", ", "wor", "ld", "."],
    "b": [" One: ", "<vid", "eo>a red", " circle</vi", "deo> and two: <video1>", "blue</video1>", " done."],
    "c": [" Fine.", "\nHu", "man:", " never shown"],
    "d": [" I'm sor", "ry, but I can't do <video>", "bad", "</video> that."],
    "e": [" I'm s", "ure."],
    "f": [" Look: <video>", "never closed"],
    "g": [" slow <video>~", "</video> text"],
    "i": [" <video> </video>empty"],
    "j": [" caf\u00e9 ", "\u4f60\u597d", " \U0001f600"],
    "k": [" a</video", ">b <", "3 <vide", "o9 <vid"],
    "l": [" first <video>x</video>", "!"],  # the next run breaks
    "m": [" then ", "~"],  # the next run is slow
}
LOOP = "z"  # answers "ping pong ping pong ..." without end


def byte_alphabet() -> list[str]:
    """The printable stand-ins of the 256 bytes in byte-level BPE."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in shown}
    hidden = (b for b in range(256) if b not in table)
    table.update({b: chr(256 + i) for i, b in enumerate(hidden)})
    return [table[b] for b in range(256)]


class Vocabulary:
    """Token strings, their successors and their flags."""

    def __init__(self) -> None:
        alphabet = byte_alphabet()
        self.spell = lambda text: "".join(alphabet[b] for b in text.encode())
        self.tokens = ["<pad>", "<s>", "</s>", *alphabet]
        self.next = [EOS] * len(self.tokens)
        for key, script in SCRIPTS.items():
            self._chain(self.byte(key), script)
        loop = self._chain(self.byte(LOOP), ["ping ", "pong "])
        self.next[loop[-1]] = loop[0]
        self.history = len(self.tokens)
        for i in range(64):
            self._add(f"#{i:02}")
        self.flags = np.zeros((len(self.tokens), HIDDEN - 1), np.float32)
        self.flags[self.byte("~"), 0] = TRIPS
        self.flags[self.byte("!"), 1] = 1
        self.flags[self.byte("h"), 2] = 1

    def byte(self, character: str) -> int:
        return BYTES + ord(character)

    def encode(self, text: str) -> list[int]:
        return [BYTES + b for b in text.encode()]

    def _add(self, text: str) -> int:
        self.tokens.append(self.spell(text))
        self.next.append(EOS)
        return len(self.tokens) - 1

    def _chain(self, start: int, texts: list[str]) -> list[int]:
        ids = []
        for text in texts:
            ids.append(self.byte(text) if len(text) == 1 else self._add(text))
            self.next[start] = ids[-1]
            start = ids[-1]
        return ids

    def embedding(self) -> np.ndarray:
        ids = np.arange(len(self.tokens), dtype=np.float32)[:, None]
        return np.ascontiguousarray(np.concatenate([ids, self.flags], axis=1))


# A run of `trips` iterations that gives exactly 0 and can be stopped between any two.
_SLEEP = """
  zero = Constant <value = float {0.0}> ()
  go = Constant <value = bool {1}> ()
  spent = Loop (trips, go, zero) <body = turn (int64 i, bool on, float before) => (bool more, float after) {
    more = Identity (on)
    after = Sin (before)
  }>
"""

_DECODER = """
<ir_version: 8, opset_import: ["" : 17]>
decoder (float[1,S,4] inputs_embeds, int32[1] seqlens_k, int32 total_sequence_length,
         float[1,1,L,4] k, float[1,1,L,4] v)
    => (float[1,1,V] logits, float[1,1,L,4] present_k, float[1,1,L,4] present_v)
{
  one = Constant <value = int64 {1}> ()
  zero_i = Constant <value = int64 {0}> ()
  axes2 = Constant <value = int64[1] {2}> ()
  rows = Squeeze (inputs_embeds, axis0)
  axis0 = Constant <value = int64[1] {0}> ()
  total = Cast <to = 7> (total_sequence_length)
  counted = Cast <to = 7> (seqlens_k)
  end = Add (counted, one)
  shape = Shape (rows)
  size = Gather (shape, zero_i)
  start = Sub (total, size)
  positions = Range (start, total, one)
  column = Unsqueeze (positions, axis1)
  axis1 = Constant <value = int64[1] {1}> ()
  nulls = Sub (column, column)
  where = Concat <axis = 1> (nulls, nulls, column)
  present_k = ScatterND (k, where, rows)
  present_v = ScatterND (v, where, rows)

  stored = Slice (present_k, axis0, end, axes2)
  ids_f = Gather <axis = 3> (stored, zero_i)
  ids = Cast <to = 7> (ids_f)
  all_positions = Range (one, after_end, one)
  end_scalar = Squeeze (end, axis0)
  after_end = Add (end_scalar, one)
  weighted = Mul (ids, all_positions)
  sum = ReduceSum <keepdims = 0> (weighted)
  sixty_four = Constant <value = int64 {64}> ()
  checksum = Mod (sum, sixty_four)
  history_id = Add (history_base, checksum)

  minus_one = Constant <value = int64 {-1}> ()
  last = Gather <axis = 0> (rows, minus_one)
  id_f = Gather (last, zero_i)
  id = Cast <to = 7> (id_f)
  table_id = Gather (next_table, id)
  three = Constant <value = int64 {3}> ()
  flag_f = Gather (last, three)
  flag = Cast <to = 9> (flag_f)
  chosen = Where (flag, history_id, table_id)
  chosen3 = Reshape (chosen, shape11)
  shape11 = Constant <value = int64[2] {1, 1}> ()
  levels = Constant <value = float[2] {0.0, 10.0}> ()
  hot = OneHot (chosen3, depth, levels)
  two = Constant <value = int64 {2}> ()
  broken = Gather (last, two)
  one_f = Constant <value = float {1.0}> ()
  whole = Sub (one_f, broken)
  maybe = Div (hot, whole)
  slow = Gather <axis = 1> (rows, one)
  slow_sum = ReduceSum <keepdims = 0> (slow)
  trips = Cast <to = 7> (slow_sum)
  SLEEP
  logits = Add (maybe, spent)
}
"""

_ENCODER = """
<ir_version: 8, opset_import: ["" : 17]>
encoder (float[T,3,4,4] pixel_values) => (float[T,2,4] features)
{
  mean = ReduceMean <axes = [1, 2, 3], keepdims = 0> (pixel_values)
  most = ReduceMax <keepdims = 0> (mean)
  white = Constant <value = float {0.996}> ()
  over = Sub (most, white)
  none = Constant <value = float {0.0}> ()
  positive = Max (over, none)
  factor = Constant <value = float {2500000000.0}> ()
  many = Mul (positive, factor)
  trips = Cast <to = 7> (many)
  SLEEP
  shape = Constant <value = int64[3] {-1, 1, 1}> ()
  column = Reshape (mean, shape)
  sum = Add (column, spent)
  wide = Constant <value = int64[3] {1, 2, 4}> ()
  features = Expand (sum, wide)
}
"""

_ABSTRACTOR = """
<ir_version: 8, opset_import: ["" : 17]>
abstractor (float[T,2,4] features) => (float[3,4] video_tokens)
{
  mean = ReduceMean <keepdims = 0> (features)
  top = Constant <value = float {255.0}> ()
  scaled = Mul (mean, top)
  level = Round (scaled)
  pattern = Constant <value = float[3,4] {1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0}> ()
  video_tokens = Mul (pattern, level)
}
"""

# The same in two: what is kept of a frame is three times its features.
_FRAME_MEMORY = """
<ir_version: 8, opset_import: ["" : 17]>
memory (float[T,2,4] features) => (float[T,2,4] memory)
{
  three = Constant <value = float {3.0}> ()
  memory = Mul (features, three)
}
"""
_FROM_MEMORY = _ABSTRACTOR.replace("features)", "memory)").replace("255.0", "85.0")

_TEXT_ENCODER = """
<ir_version: 8, opset_import: ["" : 17]>
text_encoder (int64[B,L] input_ids) => (float[B,L,4] hidden_states)
{
  hidden_states = Gather (embedding, input_ids)
}
"""

_UNET = """
<ir_version: 8, opset_import: ["" : 17]>
unet (float[B,4,F,h,w] sample, int64[1] timestep, float[B,L,4] encoder_hidden_states)
    => (float[B,4,F,h,w] prediction)
{
  one = Constant <value = int64 {1}> ()
  zero_i = Constant <value = int64 {0}> ()
  slow = Gather <axis = 2> (encoder_hidden_states, one)
  slow_sum = ReduceSum <keepdims = 0> (slow)
  trips = Cast <to = 7> (slow_sum)
  SLEEP
  ids = Gather <axis = 2> (encoder_hidden_states, zero_i)
  mean = ReduceMean <axes = [1], keepdims = 0> (ids)
  shape = Constant <value = int64[5] {-1, 1, 1, 1, 1}> ()
  text = Reshape (mean, shape)
  tenth = Constant <value = float {0.01}> ()
  text_part = Mul (text, tenth)
  t = Cast <to = 1> (timestep)
  thousandth = Constant <value = float {0.001}> ()
  time_part = Mul (t, thousandth)
  half = Constant <value = float {0.5}> ()
  noise_part = Mul (sample, half)
  a = Add (noise_part, text_part)
  b = Add (a, time_part)
  prediction = Add (b, spent)
}
"""

_VAE_DECODER = """
<ir_version: 8, opset_import: ["" : 17]>
vae_decoder (float[F,4,h,w] latents) => (float[F,3,H,W] images)
{
  start = Constant <value = int64[1] {0}> ()
  end = Constant <value = int64[1] {3}> ()
  axis = Constant <value = int64[1] {1}> ()
  colours = Slice (latents, start, end, axis)
  scales = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> ()
  large = Resize <mode = "nearest", nearest_mode = "floor", coordinate_transformation_mode = "asymmetric">
          (colours, , scales)
  low = Constant <value = float {-1.0}> ()
  high = Constant <value = float {1.0}> ()
  images = Clip (large, low, high)
}
"""

# Means of 2x2 pixels, the first colour again as fourth channel, and variances of exp(-2).
_VAE_ENCODER = """
<ir_version: 8, opset_import: ["" : 17]>
vae_encoder (float[F,3,H,W] images) => (float[F,8,h,w] moments)
{
  means = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (images)
  start = Constant <value = int64[1] {0}> ()
  end = Constant <value = int64[1] {1}> ()
  axis = Constant <value = int64[1] {1}> ()
  first = Slice (means, start, end, axis)
  four = Concat <axis = 1> (means, first)
  nothing = Sub (four, four)
  two = Constant <value = float {2.0}> ()
  variances = Sub (nothing, two)
  moments = Concat <axis = 1> (four, variances)
}
"""


def _graph(text: str, **weights: np.ndarray) -> bytes:
    model = onnx.parser.parse_model(text.replace("  SLEEP\n", _SLEEP))
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    _sort(model.graph)
    return model.SerializeToString()


def _sort(graph: onnx.GraphProto) -> None:
    """The texts above put constants where they read best; ONNX wants every node behind its inputs."""
    known = {i.name for i in graph.input} | {i.name for i in graph.initializer} | {""}
    waiting, done = list(graph.node), []
    while waiting:
        ready = [n for n in waiting if all(i in known for i in n.input)]
        assert ready, [n.name for n in waiting]
        for node in ready:
            known.update(node.output)
            done.append(node)
        waiting = [n for n in waiting if n not in ready]
    del graph.node[:]
    graph.node.extend(done)


def _decoder_graph(vocabulary: Vocabulary) -> bytes:
    size = len(vocabulary.tokens)
    text = _DECODER
    names = {"k": "past_key_values.0.key", "v": "past_key_values.0.value"}
    names |= {"present_k": "present.0.key", "present_v": "present.0.value"}
    model = onnx.load_from_string(
        _graph(
            text,
            next_table=np.array(vocabulary.next, np.int64),
            history_base=np.array(vocabulary.history, np.int64),
            depth=np.array(size, np.int64),
        )
    )
    for node in model.graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    for value in [*model.graph.input, *model.graph.output]:
        value.name = names.get(value.name, value.name)
    # The parser has no rank 0: a type without a shape is any shape.
    total = next(i for i in model.graph.input if i.name == "total_sequence_length")
    total.type.tensor_type.shape.SetInParent()
    return model.SerializeToString()


def manifest(vocab_size: int) -> dict[str, Any]:
    """Everything of g4v.json but the files."""

    def variants(stem: str) -> list[dict[str, Any]]:
        return [{"target": "cpu", "precision": "fp32", "graph": f"{stem}.onnx", "files": [f"{stem}.onnx"]}]

    return {
        "format": "g4v-bundle",
        "format_version": 1,
        "name": "synthetic",
        "assistant": "g4v",
        "description": "toy graphs",
        "created_by": "tests",
        "components": {
            "encoder": {
                "image_size": 4,
                "mean": [0.0] * 3,
                "std": [1.0] * 3,
                "hidden_size": HIDDEN,
                "tokens_per_frame": 2,
                "flavour": "clip",
                "variants": variants("encoder"),
            },
            "abstractor": {
                "hidden_size": HIDDEN,
                "output_tokens": VIDEO_TOKENS,
                "output_size": HIDDEN,
                "variants": variants("abstractor"),
            },
            "decoder": {
                "vocab_size": vocab_size,
                "hidden_size": HIDDEN,
                "layers": 1,
                "heads": 1,
                "kv_heads": 1,
                "head_dim": HIDDEN,
                "context_length": CONTEXT,
                "embedding": {"file": "embedding.bin", "dtype": "float32"},
                "variants": variants("decoder"),
            },
            "text_encoder": {"max_length": 24, "hidden_size": HIDDEN, "variants": variants("text_encoder")},
            "unet": {"latent_channels": 4, "cross_attention_dim": HIDDEN, "variants": variants("unet")},
            "vae_decoder": {
                "latent_channels": 4,
                "scale_factor": 2,
                "scaling_factor": 2.0,
                "variants": variants("vae_decoder"),
            },
        },
        "tokenizers": {
            "decoder": {"file": "tokenizer.json"},
            "text_encoder": {"file": "tokenizer.json", "bos": BOS, "eos": EOS, "pad": PAD},
        },
        "prompt": {
            "system": SYSTEM,
            "video_prefix": "\nHuman: ",
            "user_prefix": "\nHuman: ",
            "assistant_prefix": "",  # the user's last byte chooses the answer
            "bos_id": BOS,
            "turn_end_id": EOS,
            "stop": ["\nHuman:"],
            "video_open": "<video>",
            "video_close": "</video>",
            "refusal_openings": ["I'm sorry, but I can't", "I cannot"],
        },
        "frame_sampling": {"frames": FRAMES},
        "generation": {
            "text": {
                "max_new_tokens": 256,
                "temperature": 0.0,
                "top_k": 0,
                "top_p": 1.0,
                "repetition_penalty": 1.0,
            },
            "video": {
                "frames": 3,
                "width": 8,
                "height": 6,
                "fps": 8,
                "steps": 5,
                "guidance_scale": 3.0,
                "negative_prompt": "bad",
                "scheduler": {
                    "type": "ddim",
                    "num_train_timesteps": 1000,
                    "beta_start": 0.00085,
                    "beta_end": 0.012,
                    "beta_schedule": "scaled_linear",
                    "prediction_type": "v_prediction",
                    "rescale_betas_zero_snr": True,
                    "timestep_spacing": "trailing",
                    "steps_offset": 0,
                    "set_alpha_to_one": True,
                    "clip_sample": False,
                },
            },
        },
        "licences": [],
        "provenance": {},
    }


def tokenizer(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "format": "g4v-tokenizer",
        "format_version": 1,
        "type": "byte_level_bpe",
        "normalizer": "none",
        "pre_tokenizer": "gpt2",
        "prefix_space": "never",
        "unk_token": None,
        "fuse_unk": False,
        "ignore_merges": False,
        "special_tokens": {"<pad>": PAD, "<s>": BOS, "</s>": EOS},
        "added_tokens": {},
        "vocab": vocabulary.tokens,
        "merges": [],
    }


def write_bundle(
    folder: Path,
    without: tuple[str, ...] = (),
    keeps_frames: bool = False,
    flavour: str = "clip",
    video_to_video: bool = False,
) -> Vocabulary:
    """Writes the bundle; components named in `without` are left out of it.

    keeps_frames: the abstractor is of two graphs. flavour: of the encoder. video_to_video: with a VAE's
    encoder.
    """
    vocabulary = Vocabulary()
    embedding = vocabulary.embedding()
    files = {
        "encoder.onnx": _graph(_ENCODER),
        "abstractor.onnx": _graph(_ABSTRACTOR),
        "decoder.onnx": _decoder_graph(vocabulary),
        "text_encoder.onnx": _graph(_TEXT_ENCODER, embedding=embedding),
        "unet.onnx": _graph(_UNET),
        "vae_decoder.onnx": _graph(_VAE_DECODER),
        "embedding.bin": embedding.tobytes(),
        "tokenizer.json": json.dumps(tokenizer(vocabulary)).encode(),
    }
    about = manifest(len(vocabulary.tokens))
    about["components"]["encoder"]["flavour"] = flavour
    if keeps_frames:
        files |= {"abstractor.onnx": _graph(_FROM_MEMORY), "memory.onnx": _graph(_FRAME_MEMORY)}
        (variant,) = about["components"]["abstractor"]["variants"]
        variant |= {"memory_graph": "memory.onnx", "files": ["abstractor.onnx", "memory.onnx"]}
    if video_to_video:
        files["vae_encoder.onnx"] = _graph(_VAE_ENCODER)
        variant = {"target": "cpu", "precision": "fp32", "graph": "vae_encoder.onnx"}
        about["components"]["vae_encoder"] = {"variants": [variant | {"files": ["vae_encoder.onnx"]}]}
    for name in without:
        del about["components"][name]
    about["files"] = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "g4v.json").write_text(json.dumps(about), encoding="utf-8")
    return vocabulary


if __name__ == "__main__":
    import sys

    write_bundle(Path(sys.argv[1]), video_to_video="--video-to-video" in sys.argv)
