"""Direct and implied requests for a video.

What the user leaves open follows one rule (`phrases.complete`): red, a circle, moving right, no background; a
spinning thing without a shape is a star. A request that names nothing at all gets the next of SURPRISES.
"""

from __future__ import annotations

from g4v.data.wordings import Wordings
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.phrases import Wish, clause_for, scene_of, scene_words, whole
from g4v.shapes.world import world
from g4v.shapes.world.world import BACKGROUNDS, Object, Scene

_OPEN = "(|||||please |hey, |hi, |hello, |ok, |ok, |well, |so, |now |now |and |great, |cool, |)"
_CLOSE = "(||||||, please|, please| for me| now|, thanks|)"
_A_CLIP = "(a video|a clip|a video|a clip|a film|a movie|a short clip|a short video|a little clip)"

DIRECT = Wordings(
    "request",
    f"""
    (show|give) me {{x}} (again|next|first|then)
    now (show|make|draw) {{x}}
    then (show|make|draw) me {{x}}
    i want you to (show|make|draw) {{x}}
    i would like you to (make|show me|create) {{x}}
    you should (show|make|draw) {{x}} for me
    can we (see|have|watch) {{x}}?
    could we (see|watch|get) {_A_CLIP} of {{x}}?
    we (want|would like) to see {{x}}
    is there {_A_CLIP} of {{x}}?
    could you do {{x}}?
    do {{x}}
    {{x}} would be my wish
    {{x}}, can you do that?
    {{x}}, could you show that?
    {{x}}, that is what i want to see
    now i need {{x}}
    what i want is {{x}}
    i am looking for {_A_CLIP} of {{x}}
    i feel like watching {{x}}
    let us watch {{x}}
    time to see {{x}}
    produce a film that has {{x}} in it
    make {{x}} for my (son|daughter|friend|class)
    display {{x}}
    i choose {{x}}
    start with {{x}}
    do you think you can (show|make|draw) {{x}}?
    please be so kind and show me {{x}}
    i'd be happy to see {{x}}
    (video|clip|film), please: {{x}}
    could i ask you for {{x}}?
    * i want you to produce {{x}}
    * please start with {_A_CLIP} of {{x}}
    * now i choose {{x}}
    * can we get {_A_CLIP} of {{x}}?
    (show|show|give|bring|send) me {{x}}
    (show|give|send) me {_A_CLIP} (of|with) {{x}}
    show me how {{y}}
    show {{x}}
    let me (see|watch|look at) {{x}}
    let me (see|watch) {_A_CLIP} of {{x}}
    (make|create|generate|produce|draw|paint) {{x}}
    (make|create|draw|paint) me {{x}}
    (make|create|generate|produce) {_A_CLIP} (of|with) {{x}}
    (make|create|generate|produce) {_A_CLIP} (where|in which) {{y}}
    make {_A_CLIP} that shows {{x}}
    (can|could|would|will) you (show|give|send) me {{x}}?
    (can|could|would|will) you (show|make|create|draw|generate|produce) {{x}}?
    (can|could|would) you (make|create|generate|show me|give me) {_A_CLIP} (of|with) {{x}}?
    (can|could) you (make|create|generate) {_A_CLIP} (where|in which) {{y}}?
    (can|could|may) i (see|have|get|watch) {{x}}?
    (can|could|may) i (see|have|get|watch) {_A_CLIP} (of|with) {{x}}?
    i (want|would like|wish|need|have) to (see|watch) {{x}}
    i'd like to (see|watch) {{x}}
    i'd (like|love) to see {_A_CLIP} of {{x}}
    i (want|need|would like|would love) {_A_CLIP} (of|with) {{x}}
    i (want|need) {_A_CLIP} (where|in which) {{y}}
    i (want|need|would like) {{x}}
    how about {{x}}?
    how about {_A_CLIP} of {{x}}?
    what about {{x}}?
    {{x}}
    {_A_CLIP} of {{x}}
    {_A_CLIP} (where|in which) {{y}}
    next (one|clip|video): {{x}}
    my wish is {{x}}
    my next wish is {_A_CLIP} of {{x}}
    play {_A_CLIP} of {{x}}
    play {{x}}
    put {{x}} on the screen
    show us {{x}}
    show me what it looks like when {{y}}
    is it possible to (see|get|have) {{x}}?
    do you have {_A_CLIP} of {{x}}?
    have you got {_A_CLIP} of {{x}}?
    would you mind showing me {{x}}?
    it is time for {{x}}
    try {{x}}
    try to (make|draw|show) {{x}}
    go on with {{x}}
    please animate {{x}}
    animate {{x}}
    write a caption for {{x}} and make the (video|clip)
    here is my wish: {{x}}
    i ask for {_A_CLIP} of {{x}}
    * would you be so kind as to show me {{x}}?
    * i am in need of {_A_CLIP} with {{x}}
    * could you please produce {{x}}?
    * i would really like {_A_CLIP} of {{x}}
    * let us see {{x}}
    * are you able to make {{x}}?
    * may i ask for {{x}}?
    * get me {_A_CLIP} with {{x}}
    """,
    _OPEN,
    _CLOSE,
)
SURPRISE = Wordings(
    "request-anything",
    f"""
    surprise me (with (something|a clip|a video)|)
    show me (something|anything|something nice|something new|anything you like|what you like|a clip|a video)
    show me what you can (do|make|draw)
    (make|create|generate) {_A_CLIP}
    (make|create|draw) (something|anything) (nice|you like|new|)
    (can|could) you show me (something|a video|a clip)?
    (can|could) you (make|generate) {_A_CLIP} for me?
    i want to see (something|a video|a clip|anything)
    i would like to (see|watch) (something|a video|a clip)
    give me {_A_CLIP}
    i am bored, (surprise me|show me something|do something)
    i am so bored, surprise me with something
    let me see (something|a video|a clip|what you can do)
    i want to see what you can do
    any (video|clip) will do
    you choose {_A_CLIP} for me
    choose something (nice |)and show it (to me|)
    * could you surprise me with {_A_CLIP}?
    * i am bored, let me see something
    * please choose {_A_CLIP} and show it to me
    """,
    "(||||please |hey, |hi, |ok, |well, |so, |now |)",
    "(||||, please| now|)",
)
IMPLIED = Wordings(
    "implied",
    """
    i always wanted to see {x}
    i have always wanted to know how {x} looks
    how nice it would be to see {x}
    i do not know how it looks when {y}
    i do not know what it looks like when {y}
    i don't know how {x} looks
    nobody can tell me what {x} looks like
    does anybody know what {x} looks like?
    can you imagine {x}? i can't
    i try to imagine {x}, but i can't
    i try to picture how {y}, but it is hard
    i am not sure how it looks when {y}
    i am not sure what {x} looks like
    my (class|son|daughter|child) is curious about {x}
    my (class|son|daughter|child) is curious what {x} looks like
    my (son|daughter|child) keeps asking for {x}
    tomorrow is the party of my (son|daughter), and {x} would be great
    my daughter dreams of {x}
    for my lesson {x} would be (nice|great|perfect)
    the next part of my talk is about {x}
    today i learn about {x}
    i would give a lot to see {x}
    i would be so happy to see {x}
    it must be (nice|great|fun) to watch {x}
    it must look (nice|great|beautiful) when {y}
    i read about {x}, but i never saw it
    i heard of {x}, but i have never seen it
    somebody told me about {x}, and now i am curious
    i bet {x} looks (nice|great|beautiful)
    i hope to see {x} one day
    i wish that {y}
    my wish would come true if i saw {x}
    to relax, i need {x}
    a day with {x} is a good day
    when {y}, how does that look?
    * i hope that one day i see {x}
    * i always wanted to know what {x} looks like
    * tomorrow i have to explain {x} to my friend
    * how beautiful it must be when {y}
    i wonder what {x} looks like
    i wonder how it looks when {y}
    i wonder how {x} looks
    i have never seen {x}
    i've never seen {x}
    i never saw {x}
    i have not seen {x} (before|yet)
    i cannot imagine {x}
    i can't imagine how {y}
    it is hard (for me|) to imagine {x}
    it is hard to imagine how {y}
    what (does|would) it look like when {y}?
    what (does|would) {x} look like?
    how (does|would) it look when {y}?
    how (does|would) {x} look?
    what if {y}?
    it would be (nice|great|fun|lovely) to (see|watch|look at) {x}
    it would be (nice|great|fun) if {y}
    my (child|son|daughter|friend|sister|brother) (has never seen|wants to see) {x}
    my (child|son|daughter|friend) would (love|like) to see {x}
    my (class|child|son|daughter|friend) does not know what {x} looks like
    my (child|son|daughter) asks (me |)how {y}
    i have to (explain|show) {x} to my (class|child|son|daughter|friend)
    i need to explain to my (class|child|son) how {y}
    i am planning (a lesson|a party|my day|a talk), and {x} would (help|be nice)
    i am planning (a lesson|a talk) about {x}
    (today|tomorrow) (my|the) class learns about {x}
    tonight i want to (relax|rest|dream) and look at {x}
    {x} would (cheer me up|make me happy|be great|be nice|make my day)
    i am sad, {x} would (help|cheer me up)
    i (dream|dreamed) of {x}, and i want to know how it looks
    i am thinking of {x}, how would that look?
    if only i could see {x}
    one day i want to see {x}
    people say that {x} is nice to watch
    i am curious (about {x}|how it looks when {y})
    i forgot what {x} looks like
    i can't picture {x}
    i miss {x}
    nobody ever showed me {x}
    * i am curious what {x} looks like
    * i would be happy if {y}
    * my daughter has never seen how {y}
    * i wish i could see {x}
    * i don't know what {x} looks like
    * nobody showed me yet how {y}
    """,
    "(|||||well, |so, |hey, |hi, |you know, |oh, |and |)",
)
SURPRISES = (
    Scene((Object("purple", "star", "spinning"),)),
    Scene((Object("orange", "square", "growing"),)),
    Scene((Object("blue", "triangle", "left"),)),
    Scene((Object("white", "star", "still"),), "navy"),
)
SENDING = (
    "Sure, here it is:",
    "Here you are:",
    "Of course, here is your clip:",
    "Here is your video:",
)
OFFERING = (
    "Let me show you:",
    "I can show you that:",
    "This is how it looks:",
    "Then look at this:",
)
AFTER = (" Do you like it?", " What would you like to see next?", " Shall I change something?")

_PATTERNS = (
    (("colour", "shape", "motion"), 62),
    (("colour", "shape"), 10),
    (("shape", "motion"), 7),
    (("colour", "motion"), 7),
    (("colour",), 5),
    (("shape",), 5),
    (("motion",), 4),
)
_PARTS = tuple(parts for parts, weight in _PATTERNS for _ in range(weight))


def after(builder: DialogueBuilder) -> str:
    """What follows the video: mostly nothing."""
    return builder.pick(AFTER) if builder.chance(0.2) else ""


def new_wish(builder: DialogueBuilder, full: bool = False) -> tuple[Scene, list[Wish], str | None]:
    """A scene to ask for, what the user says of it, and its background; full: nothing is left open."""
    while True:
        number = 2 if builder.chance(0.22) else 1
        background = builder.pick(BACKGROUNDS) if builder.chance(0.35) else None
        wishes = []
        for _ in range(number):
            obj = builder.new_object()
            parts = _PARTS[0] if full or (number == 2 and builder.chance(0.6)) else builder.pick(_PARTS)
            wishes.append(Wish(**{part: getattr(obj, part) for part in parts}))
        if number == 2 and any(wish.colour is None and wish.shape is None for wish in wishes):
            continue
        scene = scene_of(wishes, background)
        if builder.allows(scene):
            return scene, wishes, background


def _slots(
    builder: DialogueBuilder, scene: Scene, wishes: list[Wish], background: str | None
) -> dict[str, str]:
    """The wish as a noun phrase {x} and as a clause {y}."""
    if all(wish == whole(obj) for wish, obj in zip(wishes, scene.objects, strict=True)):
        clause = " and ".join(clause_for(builder, obj) for obj in scene.objects)
        if background:
            clause = f"{clause} {builder.pick(('on', 'in front of'))} a {background} background"
        return {"x": scene_words(builder, wishes, background), "y": clause}
    return {"x": scene_words(builder, wishes, background)}


def _ask(
    builder: DialogueBuilder, wordings: Wordings, scene: Scene, wishes: list[Wish], background: str | None
) -> str:
    slots = _slots(builder, scene, wishes, background)
    while True:
        try:
            return builder.say(wordings, **slots)
        except KeyError:  # this core wants a clause, which a partial wish does not have
            continue


def request(builder: DialogueBuilder) -> Turn:
    """A direct request, complete or not."""
    if builder.chance(0.06):
        return surprise(builder)
    scene, wishes, background = new_wish(builder)
    user = _ask(builder, DIRECT, scene, wishes, background)
    clip = builder.new_clip() if builder.chance(0.03) else None  # a clip beside a request for something else
    return builder.send(DIRECT.name, user, scene, builder.pick(SENDING), after(builder), clip)


def surprise(builder: DialogueBuilder) -> Turn:
    """A request that leaves everything open."""
    scene = SURPRISES[builder.surprises % len(SURPRISES)]
    builder.surprises += 1
    return builder.send(SURPRISE.name, builder.say(SURPRISE), scene, builder.pick(SENDING), after(builder))


def implied(builder: DialogueBuilder) -> Turn:
    """A remark that a video would answer best."""
    scene, wishes, background = new_wish(builder, full=builder.chance(0.6))
    user = _ask(builder, IMPLIED, scene, wishes, background)
    return builder.send(IMPLIED.name, user, scene, builder.pick(OFFERING), after(builder))


def any_words(builder: DialogueBuilder) -> tuple[str, Scene]:
    """Words for some scene and the scene, for remarks that mention one."""
    scene, wishes, background = new_wish(builder, full=builder.chance(0.5))
    return scene_words(builder, wishes, background), scene


if any(world.is_held_out(obj) for scene in SURPRISES for obj in scene.objects):
    raise AssertionError("a surprise shows a held-out triple")
