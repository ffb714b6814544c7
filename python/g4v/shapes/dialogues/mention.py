"""Remarks that name a scene, bans of videos, and questions without a clip: nothing to show."""

from __future__ import annotations

from g4v.data.wordings import Wordings
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.requests import any_words

MENTION = Wordings(
    "mention",
    """
    i (saw|watched) {x} (with my friend|at school|in a film|on the screen)
    we (saw|watched|made|drew) {x} (yesterday|at school|last year|today)
    my (class|teacher|school) has {x} on the (screen|door)
    my (son|daughter|sister) drew {x} (today|yesterday|at school)
    the (book|film|movie) (was|is) about {x}
    i was at a party, and there was {x}
    i (had|have) {x} (at home|at school|in my book)
    i (often|always) (draw|watch|see) {x} at home
    once there was {x}
    did you know that my friend has {x}?
    i showed {x} to my (friend|class|son) yesterday
    i sent {x} to my (friend|sister|boss)
    {x} was in my (dream|book|film)
    {x} (was|is) what i saw (yesterday|today)
    i think {x} is (boring|nothing new|too common)
    i am tired of {x}
    i am happy that i have seen {x}
    * we (saw|had) {x} at the party yesterday
    * the (teacher|film) showed {x} to us
    * i have always had {x} at home
    (yesterday|today|once) i (saw|watched|made|drew|painted) {x}
    i (saw|watched|made|drew) (a video of |a clip of |){x} (yesterday|today|once|last year)
    my (friend|son|daughter|brother|sister|teacher) (showed|sent) me {x}
    my (friend|son|daughter|brother|sister) made (a video|a clip) of {x}
    i have (often|already) seen {x}
    i remember {x}
    i (already have|have got) (a video|a clip) of {x}
    {x} is (boring|common|not new)
    i know {x}
    we talked about {x} yesterday
    i do not (like|love) {x}
    there (was|is) {x} in my book
    * last year i (saw|watched|drew) {x}
    * my (teacher|brother) has already made {x}
    * i have already watched a (video|clip) of {x}
    """,
    "(||||well, |oh, |you know, |so, |)",
)
DO_NOT = Wordings(
    "do-not-show",
    """
    (please |)no (more |){x}
    i am not asking for {x}
    i never asked for {x}
    i did not ask for {x}
    i would rather not see {x}
    i do not like to see {x}
    i can do without {x}
    spare me {x}
    leave out {x}
    not {x}, please
    it is not time for {x}
    you must not (show|make|draw) {x}
    it would be bad to (show|see) {x}
    (do not|don't) even think of showing {x}
    (do not|don't) surprise me with {x}
    (do not|don't) animate {x}
    (show|make) me anything, but not now, and not {x}
    * i would rather do without {x}
    * you must not surprise me with {x}
    * i never want to see {x}
    (do not|don't|please do not|please don't|never) (show|make|draw|create|send|generate) (me |){x}
    (do not|don't|please do not) (show|make|create) (me |)(a video|a clip) of {x}
    i (do not|don't) want (to see |to watch |){x}
    i (do not|don't) want (a video|a clip) of {x}
    no {x}, please
    no (video|clip) of {x}, please
    stop showing {x}
    i have seen enough of {x}
    there is no need to (show|make) (me |){x}
    you (do not|don't) have to (show|make) {x}
    anything but {x}
    * i (do not|don't) need {x}
    * you should never (show|make|draw) {x}
    * please stop making {x}
    """,
    "(||||ok, |hey, |well, |thanks, |)",
)
NO_CLIP = Wordings(
    "question-without-clip",
    """
    what (moves|is moving) (here|in my video|in the video|in my clip|in this clip)?
    what (happens|is happening|is going on) (here|in my video|in the video|in my clip|in this clip)?
    what do you see (in my video|in my clip|in this video|here|)?
    describe (my|the|this) (video|clip)
    what does (my|the|this) (video|clip) show?
    (what|which) (colour|shape) is it?
    what colour is the (object|background|circle|star|square)?
    what is the (shape|background|motion)?
    how many (objects|shapes) are there?
    which way does it (go|move)?
    is (it|the circle|the star) (red|blue|green|moving|growing|spinning)?
    is anything (moving|growing|spinning|red|green)?
    do both move?
    tell me what you see
    * tell me what (moves|happens) in my (video|clip)
    * (can|could) you describe (my|the) (video|clip)?
    * what is the colour of the (object|background)?
    """,
    "(||||hey, |so, |hello, |please |)",
    "(||||, please|)",
)


def mention(builder: DialogueBuilder) -> Turn:
    """A remark or a ban that names a scene but asks for nothing."""
    words, _ = any_words(builder)
    if builder.chance(0.5):
        return builder.add(MENTION.name, builder.say(MENTION, x=words), "That sounds interesting.")
    return builder.add(DO_NOT.name, builder.say(DO_NOT, x=words), "All right, I will not show that.")


def without_clip(builder: DialogueBuilder) -> Turn:
    """A question about a clip before there is one."""
    if builder.clip is not None or builder.sent:
        raise ValueError("there is a clip already")
    return builder.add(NO_CLIP.name, builder.say(NO_CLIP), "There is no clip yet. Please send me one.")
