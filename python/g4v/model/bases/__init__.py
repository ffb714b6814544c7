"""Public models as bases: language models, CLIP towers, and mPLUG-Owl checkpoints with the authors' deltas.

load_llm, load_tokenizer   a LlamaForCausalLM by hub name, directory or GGUF file
load_vision                a CLIPVisionModel, the vision half of a CLIPModel, or a g4v encoder folder
convert_checkpoint         mPLUG-Owl (video) checkpoints and GPT4Video delta files into a training run

`python -m g4v.model.bases convert SOURCE --out DIR` does the conversion. Pickles are read by the converter
alone, and only with PyTorch's weights_only loader.
"""

from g4v.model.bases.convert import convert_checkpoint
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.llm import load_llm, load_tokenizer
from g4v.model.bases.vision import load_vision

__all__ = ["CheckpointError", "convert_checkpoint", "load_llm", "load_tokenizer", "load_vision"]
