"""Requests for videos in plain words."""

from __future__ import annotations

from g4v.shapes.dialogues import requests
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.forms import FORMS
from g4v.shapes.dialogues.phrases import clause_for, scene_words, whole
from g4v.shapes.dialogues.plain.asking import typed_carelessly


def wish(builder: DialogueBuilder) -> Turn:
    """A request; what it leaves open is filled in as in other requests."""
    scene, wishes, background = requests.new_wish(builder)
    slots = {"w": scene_words(builder, wishes, background)}
    if all(wish == whole(obj) for wish, obj in zip(wishes, scene.objects, strict=True)) and not background:
        slots["y"] = " and ".join(clause_for(builder, obj) for obj in scene.objects)
    form = FORMS.sample(builder.rand, "wish", builder.split, slots)
    user = typed_carelessly(builder, form.text)
    turn = builder.send("plain-wish", user, scene, builder.pick(requests.SENDING), requests.after(builder))
    turn.meta |= {"family": form.family, "form": form.text}
    return turn
