"""Converts mPLUG-Owl (video) checkpoints and the authors' delta files into a training run.

    RUN/encoder/     the video tower            RUN/llm/      LlamaForCausalLM with its tokenizer
    RUN/abstractor/  the video abstractor       RUN/adapter/  LoRA factors as a PEFT folder
    RUN/conversion.json                         what it was made from

Two passes over the weight files. The first looks at names and shapes, so that a wrong checkpoint is refused
before anything is written; the second writes the language model shard by shard and keeps the encoder and the
abstractor (0.8 GB of 14) until the end. All goes to a temporary folder beside `out`, which is then renamed.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from g4v._files import atomic_folder, read_json, write_json
from g4v.model.bases.checkpoint_source import CheckpointSource
from g4v.model.bases.conversion import Conversion
from g4v.model.bases.errors import CheckpointError, one_line


def convert_checkpoint(
    source: str | Path, out: str | Path, llm: str | Path | None = None, base: str | Path | None = None
) -> Path:
    """Converts `source` (a checkpoint folder or a delta file) into the run `out`; returns its path.

    llm: a LlamaForCausalLM folder of safetensors that becomes the run's, instead of the checkpoint's; for a
    checkpoint without tokenizer files, or a delta. base: a converted run that a delta completes: parts that
    the delta lacks are copied from it. A second call with the same source does nothing. Warns where the
    checkpoint has no temporal weights. CheckpointError: whatever cannot be used; `out` is then as it was.
    """
    try:
        return _convert(Path(source), Path(out), Path(llm) if llm else None, Path(base) if base else None)
    except CheckpointError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{source}: cannot be converted: {one_line(error)}") from None


def _convert(path: Path, out: Path, llm: Path | None, base: Path | None) -> Path:
    source = CheckpointSource(path)
    for part, folder in (("--llm", llm), ("--base", base)):
        if folder and not folder.is_dir():
            raise CheckpointError(f"{folder}: {part} must be a directory")
    if base and not source.is_delta:
        raise CheckpointError("--base completes a delta file, and this is a whole checkpoint")
    mark = source.fingerprint(llm, base)
    if (out / "conversion.json").exists():
        if read_json(out / "conversion.json", CheckpointError).get("fingerprint") == mark:
            return out
        raise CheckpointError(f"{out}: holds the conversion of something else; choose another folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out}: exists and is not empty; choose another folder")
    conversion = Conversion(source, llm, base)
    conversion.check_space(out.absolute().parent)
    with atomic_folder(out, CheckpointError) as work:
        conversion.write(work)
        about = {"source": path.name, "fingerprint": mark, "notes": conversion.notes}
        write_json(work / "conversion.json", about)
    for note in conversion.notes:
        warnings.warn(f"{path}: {note}", stacklevel=4)
    return out
