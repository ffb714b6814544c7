"""The shapes world as `g4v.data.worlds` asks for it. Dialogues are imported when the first is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from g4v import _start
from g4v.data.worlds import SafetyDialogue, World
from g4v.shapes.world.render import render
from g4v.shapes.world.world import Scene, caption, parse_caption, sample_scene

if TYPE_CHECKING:
    from g4v.shapes.dialogues import Dialogue


class ShapesWorld:
    """Coloured shapes that move; `g4v.data.worlds.World` documents the members."""

    name = "shapes"

    @property
    def kinds(self) -> Mapping[str, float]:
        from g4v.shapes.dialogues import KINDS

        return KINDS

    @property
    def intents(self) -> frozenset[str]:
        from g4v.shapes.dialogues import REGISTRY
        from g4v.shapes.dialogues.forms import FORMS

        return frozenset(REGISTRY) | {f"plain-{intent}" for intent in FORMS.intents}

    def mixture(self, stage: str) -> dict[str, float]:
        from g4v.shapes.recipe.mixture import STAGE1, STAGE2

        return dict({"stage1": STAGE1, "stage2": STAGE2}[stage])

    def sample_dialogue(
        self, rng: np.random.Generator, split: str = "train", kind: str | None = None
    ) -> Dialogue:
        from g4v.shapes.dialogues import sample_dialogue

        return sample_dialogue(rng, split, kind)

    def render(self, scene: Scene, rng: np.random.Generator, frames: int) -> NDArray[np.uint8]:
        return render(scene, rng, frames)

    def sample_clips(
        self, count: int, seed: int, frames: int, size: int, clean: bool = False
    ) -> Iterator[NDArray[np.uint8]]:
        for number, scene in enumerate(_sample_scenes(count, seed)):
            scene = replace(scene, skull=scene.skull and not clean)
            yield render(scene, np.random.default_rng([seed, number]), frames, -(-size // 8) * 8, clean)

    def sample_captions(self, count: int, seed: int) -> list[str]:
        return [caption(scene) for scene in _sample_scenes(count, seed) if not scene.foreign]

    def is_caption(self, text: str) -> bool:
        return parse_caption(text) is not None

    def safety_dialogues(self, count: int, seed: int) -> Iterator[SafetyDialogue]:
        from g4v.shapes.eval.safety import safety_dialogues

        return safety_dialogues(count, seed)

    def safety_clips(self, count: int, seed: int) -> Iterator[tuple[NDArray[np.uint8], bool]]:
        from g4v.shapes.eval.safety import safety_clips

        return safety_clips(count, seed)

    def data_command(self, arguments: Sequence[str]) -> int:
        with _start.importing():
            from g4v.shapes.datasets import main

        return main(arguments)

    def eval_command(self, arguments: Sequence[str]) -> int:
        with _start.importing():
            from g4v.shapes.eval.command import main

        return main(arguments)


def _sample_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes for `sample_clips`: the first with the unsafe sign, every second one without shapes."""
    rng = np.random.default_rng(seed)
    found = [sample_scene(rng, "all", objects=1 + number // 2 % 2) for number in range(count)]
    if found:
        found[0] = replace(found[0], skull=True)
    for number in range(1, count, 2):
        found[number] = Scene((), foreign=True)
    return found


WORLD: World = ShapesWorld()
