"""Several videos in one dialogue: one attribute changes, or an object is added or removed."""

from __future__ import annotations

from dataclasses import replace

from g4v.data.wordings import Wordings
from g4v.shapes.dialogues import requests
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.phrases import background_word, motion_words, whole, words_for
from g4v.shapes.dialogues.questions import other_than
from g4v.shapes.world.world import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, Scene

_OPEN = "(||||and |and |now |now |ok, |great, |nice, |please |thanks, |cool, |)"
_CLOSE = "(|||||, please| instead| this time|)"

RECOLOUR = Wordings(
    "change-colour",
    """
    use {c}
    use the colour {c}
    give it the colour {c}
    could you show it in {c}?
    i like {c} more
    {c} would be better
    now the same in {c}
    make another one in {c}
    again, but {c}
    what about {c}?
    how about {c}?
    * {c} is better
    * use {c} as the colour
    * i like {c} more than that
    (make|paint|colour) it {c}
    the same in {c}
    the same but {c}
    the same, but (in|make it) {c}
    can it be {c}?
    can you make it {c}?
    (can|could) you (paint|colour) it {c}?
    change the colour to {c}
    let it be {c}
    i (prefer|want|would like) it in {c}
    i want the same in {c}
    (show|give) me the same (one|thing|clip) in {c}
    one in {c}
    {c} instead
    turn it {c}
    how does it look in {c}?
    it should be {c}
    do it again in {c}
    a {c} one
    with the colour {c}
    * could it be {c}?
    * i would rather see it in {c}
    * let me see the same thing in {c}
    """,
    _OPEN,
    "(|||||, please| this time|)",
)
RESHAPE = Wordings(
    "change-shape",
    """
    {n}, not that
    i like a {n} more
    a {n} would be better
    now the same with a {n}
    make another one with a {n}
    again, but with a {n}
    replace it with a {n}
    take a {n}
    * a {n} is better
    * i like the {n} more than that
    make it a {n}
    turn it into a {n}
    the same with a {n}
    the same but (as|with) a {n}
    the same, but a {n}
    change (it|the shape) (in|)to a {n}
    can it be a {n}?
    can you make it a {n}?
    let it be a {n}
    i want (it to be|the same with|to see) a {n} instead
    (show|give) me the same with a {n}
    use a {n}
    a {n} instead
    how does it look with a {n}?
    it should be a {n}
    do it again with a {n}
    * could it be a {n}?
    * i would rather see a {n}
    * let me see the same thing with a {n}
    """,
    _OPEN,
    "(|||||, please| this time|)",
)
CHANGE_MOTION = Wordings(
    "change-motion",
    """
    now it (should|must) {v}
    i want it to {v} now
    now the same, but it {s}
    make another one that {s}
    again, but {ing}
    what about {ing}?
    how about {ing}?
    tell it to {v}
    could you have it {ing}?
    show how it {s}
    it would be nicer if it {s}
    * now have it {ing}
    * make another one {ing}
    * it would be better if it {s}
    (make|let) it {v}
    the same but {ing}
    the same, but {ing}
    the same {ing}
    can it {v}?
    can you (make|let) it {v}?
    (show|give) me the same (one|thing|clip|) {ing}
    i want (it to|to see it) {v}
    it should {v}
    it should be {ing}
    do it again, but {ing}
    change the motion: let it {v}
    how does it look when it {s}?
    {ing} instead
    but {ing}
    one that {s}
    what if it {s}?
    have it {ing}
    * could it {v}?
    * i would rather see it {ing}
    * let me see the same thing {ing}
    """,
    _OPEN,
    "(|||||, please| this time|)",
)
REBACK = Wordings(
    "change-background",
    """
    use {b} for the background
    {b} background
    what about a {b} background?
    how about a {b} background?
    again, but on a {b} background
    i like a {b} background more
    replace the background with {b}
    a {b} background would be better
    give me a {b} background
    * use {b} as the background
    * make another one on a {b} background
    (put|show|make) it on a {b} background
    the same on a {b} background
    the same with a {b} background
    (make|paint|colour) the background {b}
    change the background to {b}
    can the background be {b}?
    can you make the background {b}?
    (use|take|give it) a {b} background
    i want a {b} background
    with a {b} background
    the background should be {b}
    how does it look on a {b} background?
    do it again on a {b} background
    * could the background be {b}?
    * i would rather have a {b} background
    * let me see the same thing on a {b} background
    """,
    _OPEN,
    _CLOSE,
)
ADD = Wordings(
    "add-object",
    """
    now also {x}
    let {x} join it
    show it with {x}
    show it together with {x}
    make it two: it and {x}
    and now with {x}
    it needs a friend: {x}
    i want to see it with {x}
    there should be {x} too
    * it should have a friend: {x}
    * show it next to {x}
    add {x}
    two of them: add {x}
    add {x} to it
    (can|could) you add {x}?
    put {x} next to it
    (i want|i would like) {x} as well
    the same with {x}
    with {x} next to it
    and {x} as well
    and {x} too
    let it have a friend: {x}
    the same together with {x}
    give it a friend: {x}
    keep it and add {x}
    * could you put {x} next to it?
    * i would like to have {x} too
    """,
    _OPEN,
    "(||||, please|)",
)
TAKE_AWAY = Wordings(
    "remove-object",
    """
    remove the {n}
    take the {n} away
    take away the {n}
    the same without the {n}
    without the {n}
    (can|could) you remove the {n}?
    leave the {n} out
    i do not want the {n}
    * could you take the {n} away?
    """,
    _OPEN,
    "(||||, please|)",
)
AGAIN = Wordings(
    "again",
    """
    (show|play|do|make) it again
    again
    once more
    one more time
    the same again
    (can|could) you (show|play) it again?
    (can|could|may) i see it again?
    i want to see it again
    let me see it (again|once more)
    repeat (it|the clip|the video)
    another one like that
    the same once more
    * could you repeat (it|the clip)?
    * show me that once more
    """,
    _OPEN,
    "(||||, please|)",
)
LIKE_MINE = Wordings(
    "like-the-clip",
    """
    (make|show|create|draw) (one|something|a clip|a video) like (this|it)
    (make|show) me (one|a clip|a video) like mine
    (can|could) you (make|show me) (one|a clip|something) like (this|mine|it)?
    make the same (clip|video)
    copy (this|it|my clip|my video)
    (show|give) me a (clip|video) that looks the same
    i want a (clip|video) like (this|mine)
    * (can|could) you copy (this|my clip)?
    * i would like to have a (clip|video) like this
    """,
    _OPEN,
    "(||||, please|)",
)
_BEFORE = requests.SENDING[:2] + ("With pleasure:", "Here it is:")


def _send(builder: DialogueBuilder, wordings: Wordings, scene: Scene, **slots: str) -> Turn:
    return builder.send(
        wordings.name, builder.say(wordings, **slots), scene, builder.pick(_BEFORE), requests.after(builder)
    )


def _changed(builder: DialogueBuilder, scene: Scene, attribute: str) -> Scene | None:
    """The one-object scene with another value, if there is one that this split allows."""
    values = {"colour": COLOURS, "shape": SHAPES, "motion": MOTIONS}[attribute]
    for _ in range(6):
        value = other_than(builder, values, getattr(scene.objects[0], attribute))
        new = replace(scene, objects=(replace(scene.objects[0], **{attribute: value}),))
        if builder.allows(new):
            return new
    return None


def change(builder: DialogueBuilder) -> Turn | None:
    """A changed version of the last video that was sent, or of the user's clip where none was."""
    last = builder.sent[-1] if builder.sent else builder.clip
    if last is None:
        raise ValueError("nothing to change")
    r = builder.rand()
    if r < 0.08 and builder.sent:
        return _send(builder, AGAIN, last)
    if r < 0.25:
        background = other_than(builder, BACKGROUNDS, last.background or "")
        return _send(
            builder, REBACK, replace(last, background=background), b=background_word(builder, background)
        )
    if len(last.objects) == 2:
        return _change_pair(builder, last)
    if r < 0.45:
        return _add(builder, last)
    attribute = "colour" if r < 0.67 else "shape" if r < 0.8 else "motion"
    scene = _changed(builder, last, attribute)
    if scene is None:
        return None
    obj = scene.objects[0]
    if attribute == "colour":
        return _send(builder, RECOLOUR, scene, c=obj.colour)
    if attribute == "shape":
        return _send(builder, RESHAPE, scene, n=obj.shape)
    words = {form: motion_words(builder, obj.motion, form) for form in ("inf", "ing", "s")}
    return _send(builder, CHANGE_MOTION, scene, v=words["inf"], ing=words["ing"], s=words["s"])


def _add(builder: DialogueBuilder, last: Scene) -> Turn | None:
    scene = replace(last, objects=(*last.objects, builder.new_object()))
    if not builder.allows(scene):
        return None
    return _send(builder, ADD, scene, x=words_for(builder, whole(scene.objects[1])))


def _change_pair(builder: DialogueBuilder, last: Scene) -> Turn | None:
    gone = int(builder.rand() * 2)
    first, second = last.objects
    noun = last.objects[gone].shape
    if first.shape == second.shape:
        noun = f"{last.objects[gone].colour} {'one' if first.colour != second.colour else noun}"
    if first.colour != second.colour or first.shape != second.shape:
        return _send(builder, TAKE_AWAY, replace(last, objects=(last.objects[1 - gone],)), n=noun)
    return None


def like_mine(builder: DialogueBuilder) -> Turn | None:
    """A video like the user's own clip."""
    if builder.clip is None or builder.clip.skull:
        return None
    return _send(builder, LIKE_MINE, builder.clip)
