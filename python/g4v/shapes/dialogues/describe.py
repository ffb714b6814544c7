"""Descriptions of a clip. The wording of the question decides how the answer begins."""

from __future__ import annotations

from g4v.data.wordings import Wordings
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.world import world
from g4v.shapes.world.world import MOTION_PHRASES, Scene, article

_OPEN = "(||||hello, |hey, |please |ok, |so, |now |)"
_CLOSE = "(||||, please|)"
_CLIP = "(video|clip|film|movie)"
_HERE = "(here|in this video|in this clip|in the video|in the clip|in it|on the screen)"

WHAT = Wordings(
    "describe-what",
    f"""
    what (moves|is moving) {_HERE}?
    what (happens|is happening|is going on) {_HERE}?
    what (happens|is happening|is going on)?
    what is {_HERE}?
    what's {_HERE}?
    what's (happening|going on)?
    describe (the|this|my) {_CLIP}
    describe what (happens|is happening|moves) {_HERE}
    describe (it|everything)
    describe (this|it) in (one|a) (short |)sentence
    (can|could) you describe (the|this|my) {_CLIP}?
    (can|could) you tell me what (happens|is happening|is going on) {_HERE}?
    tell me what (happens|is happening|moves|is moving) {_HERE}
    tell me about (the|this|my) {_CLIP}
    say what (happens|moves) {_HERE}
    give me a (short |)description (of (the|this) {_CLIP}|)
    explain (the|this) {_CLIP}
    explain what happens {_HERE}
    i need a (short |)description of (the|this) {_CLIP}
    write (a caption|one sentence) (for|about) (the|this) {_CLIP}
    what kind of {_CLIP} is this?
    what is (this|the) {_CLIP} about?
    who or what moves {_HERE}?
    do you know what (this|it) is?
    and what (happens|is) {_HERE}?
    * (can|could) you explain what is happening {_HERE}?
    * i want to know what (moves|is going on) {_HERE}
    * please say in a sentence what is going on {_HERE}
    * give me a caption for (the|this) {_CLIP}
    """,
    _OPEN,
    _CLOSE,
)
SEE = Wordings(
    "describe-see",
    f"""
    what (do|can) you see {_HERE}?
    what (do|can) you see?
    tell me what you see {_HERE}
    tell me what you (can |)see
    describe what you see {_HERE}
    what do you (notice|recognise) {_HERE}?
    look at (this|the) {_CLIP} and tell me what you see
    look at (this|it), what do you see?
    can you (see|watch) (this|the|my) {_CLIP}?
    do you see anything {_HERE}?
    have a look at (this|my) {_CLIP}
    watch (this|the|my) {_CLIP}
    say what you see
    i would like to know what you see {_HERE}
    * could you tell me what you see {_HERE}?
    * what (objects|things) do you see {_HERE}?
    """,
    _OPEN,
    _CLOSE,
)
SHOW = Wordings(
    "describe-show",
    f"""
    what does (this|the|my) {_CLIP} show?
    what does it show?
    what is shown {_HERE}?
    what did i (film|make|record|send you)?
    tell me what (this|the|my) {_CLIP} shows
    here is (a|my) {_CLIP}, what does it show?
    i made this {_CLIP}, what does it show?
    i sent you a {_CLIP}, what is it about?
    what can (people|i) see {_HERE}?
    what is the content of (this|the) {_CLIP}?
    sum up (this|the|my) {_CLIP}
    * do you know what (this|the) {_CLIP} shows?
    * here is a {_CLIP} i made, what is shown {_HERE}?
    """,
    _OPEN,
    _CLOSE,
)
ONLY_CLIP = Wordings(
    "describe-nothing-said",
    """
    look
    look at this
    (here you are|here it is)
    and this (one|)?
    what about this (one|clip|video)?
    and (now|here)?
    this (one|clip|video)?
    * and what about this?
    """,
)


NUMBERS = ("no", "one", "two")


def count_told(scene: Scene) -> str:
    """The sentence that says how many objects a clip with one or two of them shows."""
    return "There is one object." if len(scene.objects) == 1 else "There are two objects."


def statement(scene: Scene) -> str:
    """The scene as a sentence body: "a red circle is moving left on a black background"."""
    parts = []
    for obj in scene.objects:
        parts.append(f"{article(obj.colour)} {obj.colour} {obj.shape} is {MOTION_PHRASES[obj.motion]}")
    text = " and ".join(parts)
    return f"{text} on a {scene.background} background" if scene.background else text


def scene_of_description(answer: str) -> Scene | None:
    """The scene that a description states in its first sentence; None where it states none."""
    text = answer.split(".", 1)[0].strip()
    for opening in ("I see ", "The clip shows "):
        text = text.removeprefix(opening)
    text = text[:1].lower() + text[1:]
    return world.parse_caption(text.replace(" is ", " "))


def describe(builder: DialogueBuilder, attach: bool = True) -> Turn:
    """A question for everything in a clip; attach: the clip comes with this turn."""
    scene = builder.new_clip() if attach or builder.clip is None else builder.clip
    r = builder.rand()
    wordings = WHAT if r < 0.55 else SEE if r < 0.75 else SHOW if r < 0.95 or not attach else ONLY_CLIP
    if wordings is SEE:
        answer = f"I see {world.caption(scene)}."
    elif wordings is SHOW:
        answer = f"The clip shows {world.caption(scene)}."
    else:
        text = statement(scene)
        answer = text[0].upper() + text[1:] + "."
    return builder.add(
        wordings.name,
        builder.say(wordings),
        answer,
        scene if attach else None,
        attribute="describe",
        expected=world.caption(scene),
    )
