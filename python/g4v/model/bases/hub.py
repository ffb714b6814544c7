"""Downloads models from the Hugging Face hub into its own cache."""

from __future__ import annotations

from pathlib import Path

from g4v.model.bases.errors import CheckpointError, one_line

_TEXTS = ["*.json", "*.model", "*.txt", "*.jinja"]


def download_model(name: str) -> Path:
    """The folder of a hub model "owner/name" in the hub's cache, downloaded where it is not there.

    Pickles are taken only where the model has no safetensors, and no twins in half precision.
    CheckpointError: it cannot be downloaded.
    """
    from huggingface_hub import snapshot_download

    skipped = ["*.fp16.*", "*.bf16.*", "*.index.fp16.json", "*/*"]
    try:
        for kind in ("*.safetensors", "pytorch_model*.bin"):
            folder = Path(snapshot_download(name, allow_patterns=[*_TEXTS, kind], ignore_patterns=skipped))
            if any(folder.glob(kind)):
                break
    except Exception as error:  # of the hub's client and of the network below it
        raise CheckpointError(f"{name}: cannot be loaded: {one_line(error)}") from None
    return folder
