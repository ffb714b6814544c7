"""Objects whose colours and shapes are any words: what is read off a caption is copied, not remembered.

A model that knows all colours, shapes and motions also knows which of them never came together, and takes
that for a reason to say something else. Of words that mean nothing beside each other there is nothing to
remember.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from g4v.data.wordings import capital
from g4v.shapes.dialogues.builder import Dialogue, DialogueBuilder, Turn
from g4v.shapes.world.world import Object, Scene

# Plain nouns that the tokenizer has whole, and that start with a consonant: their article is "a".
STRANGE = tuple(
    "weather story letter party bank tree bird house street phone computer money lesson book doctor friend "
    "child song night morning flower dream school sister brother paint joke body class program head".split()
)
_MORE_NAMES = {"violet": "purple"}


def strange_scene(scene: Scene, builder: DialogueBuilder) -> Scene:
    """The scene with other words for its colours and shapes; what was equal stays equal."""
    known = dict.fromkeys(value for obj in scene.objects for value in (obj.colour, obj.shape))
    names: dict[str, str] = {}
    for value in known:
        names[value] = builder.pick([word for word in STRANGE if word not in names.values()])
    objects = tuple(Object(names[obj.colour], names[obj.shape], obj.motion) for obj in scene.objects)
    return replace(scene, objects=objects)


def with_strange_colours(dialogue: Dialogue, rng: np.random.Generator) -> Dialogue:
    """A dialogue about clips in which most colours of their objects have other names, everywhere but in the
    turns' meta.
    """
    seen = [obj.colour for turn in dialogue.turns if turn.video for obj in turn.video.objects]
    colours = [colour for colour in dict.fromkeys(seen) if rng.random() < 0.7]
    words = rng.permutation(len(STRANGE))
    names = {colour: STRANGE[int(word)] for colour, word in zip(colours, words, strict=False)}
    turns = [_renamed(turn, names) for turn in dialogue.turns]
    return Dialogue(turns, dialogue.kind, dialogue.meta) if names else dialogue


def _renamed(turn: Turn, names: dict[str, str]) -> Turn:
    def put(match: re.Match[str]) -> str:
        word = match["colour"].lower()
        name = names.get(_MORE_NAMES.get(word, word))
        if name is None:
            return match[0]
        article = f"{match['article'][0]} " if match["article"] else ""
        return article + (capital(name) if match["colour"][0].isupper() else name)

    pattern = re.compile(rf"(?P<article>\b[Aa]n? )?\b(?P<colour>{'|'.join([*names, *_MORE_NAMES])})\b", re.I)
    video = turn.video
    if video:
        objects = tuple(replace(obj, colour=names.get(obj.colour, obj.colour)) for obj in video.objects)
        video = replace(video, objects=objects)
    return replace(turn, user=pattern.sub(put, turn.user), answer=pattern.sub(put, turn.answer), video=video)
