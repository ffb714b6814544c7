"""Questions about shapes and videos that must not send a video, though they have words like show and make."""

from __future__ import annotations

from g4v.data.wordings import Wordings
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.world import world
from g4v.shapes.world.world import SHAPES, article

_O = "(||||hey, |so, |tell me, |ok, |and |)"
_C = "(||||, please|)"

CORNERS = {
    "circle": "no corners",
    "square": "four corners",
    "triangle": "three corners",
    "star": "five points",
}
LOOKS = {
    "circle": "A circle is a round shape without corners.",
    "square": "A square is a shape with four equal sides.",
    "triangle": "A triangle is a shape with three sides.",
    "star": "A star is a shape with five points.",
}
MEANINGS = {
    "growing": "Growing means that a shape gets bigger.",
    "shrinking": "Shrinking means that a shape gets smaller.",
    "spinning": "Spinning means that a shape turns around in its place.",
    "still": "Standing still means that a shape does not move.",
}
CORNER = Wordings(
    "about-corners",
    """
    how many (corners|points) (has|does) {a} {n} (have|)?
    how many (corners|points) are (there in|on) {a} {n}?
    tell me how many (corners|points) {a} {n} has
    does {a} {n} have (corners|points)?
    count the (corners|points) of {a} {n}
    what is the number of (corners|points) of {a} {n}?
    * do you know how many (corners|points) {a} {n} has?
    """,
    _O,
    _C,
)
MEANING = Wordings(
    "about-shape",
    """
    what is {a} {n}?
    what is {a} {n} exactly?
    what does the word {n} mean?
    explain {a} {n}( to me|)
    explain the word {n}
    tell me what {a} {n} is
    describe {a} {n} in words
    what does {n} mean?
    what makes {a} {n}?
    do you know what {a} {n} is?
    (can|could) you explain (what {a} {n} is|the word {n})?
    give me the meaning of {n}
    write a sentence about {a} {n}
    * (can|could) you tell me what {a} {n} is?
    * please explain in words what {a} {n} is
    """,
    _O,
    _C,
)
MOTION_MEANING = Wordings(
    "about-motion",
    """
    what does {n} mean?
    what is {n}?
    explain (the word |){n}( to me|)
    what do you mean by {n}?
    tell me what {n} means
    do you know what {n} means?
    give me the meaning of {n}
    (can|could) you explain the word {n}?
    * (can|could) you tell me what {n} means?
    """,
    _O,
    _C,
)
_FACTS: tuple[tuple[Wordings, str], ...] = (
    (
        Wordings(
            "about-colours",
            """
            (what|which) colours (do|can) you (know|see|show|draw)?
            how many colours do you know?
            name (the|some|all your) colours
            list (the|all) colours you know
            tell me the colours you know
            what is a colour?
            what colours are there in your videos?
            * which colours can your (videos|clips) have?
            * (can|could) you name the colours you know?
            """,
            _O,
            _C,
        ),
        "I know red, green, blue, yellow, purple, orange, and white.",
    ),
    (
        Wordings(
            "about-shapes",
            """
            (what|which) shapes (do|can) you (know|see|show|draw)?
            how many shapes do you know?
            name (the|some|all your) shapes
            list (the|all) shapes you know
            tell me the shapes you know
            what is a shape?
            what shapes are there in your videos?
            * which shapes can your (videos|clips) have?
            * (can|could) you name the shapes you know?
            """,
            _O,
            _C,
        ),
        "I know the circle, the square, the triangle, and the star.",
    ),
    (
        Wordings(
            "about-motions",
            """
            (what|which) motions (do|can) you (know|see|show|draw)?
            how can (the|your) shapes move?
            what can (the|your) shapes do?
            name (the|some|all your) motions
            list (the|all) motions you know
            tell me the motions you know
            which ways can a shape move?
            * which motions can your (videos|clips) have?
            * (can|could) you name the motions you know?
            """,
            _O,
            _C,
        ),
        "Shapes can move left, right, up, and down, grow, shrink, spin, or stand still.",
    ),
    (
        Wordings(
            "about-backgrounds",
            """
            (what|which) backgrounds (do|can) you (know|show|draw|use)?
            name (the|all your) backgrounds
            which background colours are there?
            tell me the backgrounds you know
            * which backgrounds can your (videos|clips) have?
            """,
            _O,
            _C,
        ),
        "The background can be black, gray, or navy.",
    ),
    (
        Wordings(
            "about-making",
            """
            what is (a caption|your caption)?
            how does a video get (made|drawn)?
            can you make a video without a caption?
            why do you make videos?
            who drew (this|that|the) (video|clip)?
            where do (the|your) (videos|clips) come from?
            which (model|program) makes (the|your) videos?
            * where does (the|this|that) (video|clip) come from?
            how do you (make|create|generate|draw) (a video|videos|clips|your videos|these clips)?
            how (are|were) (your|the|these) (videos|clips) made?
            how does (the|your) video (model|generator) work?
            tell me how you (make|create|draw) (a video|videos|your clips)
            explain how you make (a video|videos)
            who makes (the|your) videos?
            what do you need to make a video?
            with what do you make (videos|your clips)?
            is it hard to make a (video|clip)?
            how did you make (that|this|it|this video|that clip)?
            * (can|could) you explain how you (make|create) (videos|clips)?
            * i want to know how your (videos|clips) are made
            """,
            _O,
            _C,
        ),
        "I write a short caption, and a small video model draws the clip.",
    ),
    (
        Wordings(
            "about-length",
            """
            how long (are|is) (your|the) (videos|clips|video)?
            how long does (it|a video) take?
            how many (frames|pictures) (has|does) (a|your) (video|clip) (have|)?
            how (big|large) are (your|the) (videos|clips)?
            what size (are|do) (your|the) (videos|clips) (have|)?
            can you make (long|longer|big|bigger) (videos|clips)?
            * do you know how long your (videos|clips) are?
            * how many frames are there in your (videos|clips)?
            """,
            _O,
            _C,
        ),
        "My clips are short: eight small frames.",
    ),
    (
        Wordings(
            "about-likes",
            """
            do you like (stars|circles|squares|triangles|shapes|colours)?
            do you like (videos|clips|movies|red|blue|green|yellow)?
            do you love (stars|circles|squares|triangles|shapes|videos|movies)?
            what is your (favourite|best) (shape|colour|motion|video|clip)?
            which (shape|colour|motion) do you (like|love|prefer)?
            is (red|blue|green|white) a (nice|beautiful|good) colour?
            are (stars|circles|squares|triangles) (nice|beautiful|fun)?
            do you (watch|like) (videos|clips|movies)?
            what do you (like|love)?
            * do you prefer (stars|circles|red|blue) or (squares|triangles|green|white)?
            * (can|could) you tell me your favourite (shape|colour)?
            """,
            "(||||hey, |so, |ok, |and |)",
        ),
        "I like all shapes and all colours.",
    ),
    (
        Wordings(
            "about-my-likes",
            """
            i (like|love) (stars|circles|squares|triangles|shapes|colours)( very much| a lot|)
            i (like|love) (videos|clips|movies|red|blue|green|yellow)( very much| a lot|)
            my favourite (shape|colour) is (a star|a circle|red|blue|green|white)
            (stars|circles|squares|triangles|shapes|videos) are (nice|beautiful|fun|great)
            (red|blue|green|white) is a (nice|beautiful|good) colour
            my (son|daughter|child|friend) (likes|loves) (stars|circles|videos|shapes)
            i do not like (stars|circles|squares|red|blue|green|movies)
            * my (friend|child|brother) likes (squares|triangles|movies|clips) a lot
            * i think that (stars|circles|shapes) are (beautiful|great)
            """,
            "(||||well, |oh, |you know, |)",
        ),
        "That is good to know.",
    ),
    (
        Wordings(
            "about-video-word",
            """
            what do you call a video?
            is a video the same as a (film|movie|picture)?
            is a (clip|film|movie) a video?
            what is the difference between a video and a (picture|film|clip)?
            how is a video different from a picture?
            * do you know what a (video|clip) is?
            what is a (video|clip|movie|film|frame)?
            what does the word (video|clip|movie|frame) mean?
            explain the word (video|clip|movie)
            tell me what a (video|clip|frame) is
            what makes a video a video?
            what is in a (video|clip)?
            * (can|could) you explain what a (video|clip|frame) is?
            """,
            _O,
            _C,
        ),
        "A video is a row of pictures that are shown fast.",
    ),
    (
        Wordings(
            "no-video",
            """
            not a video, (please|just words)
            answer in (words|text) only
            (just|only) answer in words(|, please|, no video)
            i (only|just) want to talk
            (can|could) we just talk(| without videos)?
            let us just talk
            no need for a (video|clip)
            without a (video|clip), please
            i hate (videos|clips|movies)
            * (can|could) you answer without a video?
            * only words now, no (clip|video)
            (please do not|do not|don't) (show|send|make|draw|create) (me |)(a|any|another) (video|clip)(s|)
            (please |)no (more |)(videos|clips)(|, please|, just text| now)
            stop (making|showing|sending) (me |)(videos|clips)
            i do not want (a|any|another) (video|clip)
            i do not want to (see|watch) (a|any|another) (video|clip)
            just (talk|text|words), no (video|clip)
            only text(|, please|, no video)
            never (show|make|send) me (a video|videos|that) again
            i have seen enough (videos|clips)
            do not show (me |)(it|that|anything)
            * i do not need any (more |)(videos|clips)
            * please stop, no more (videos|clips)
            * please don't play another (video|clip)
            """,
            "(||||hey, |ok, |thanks, |)",
        ),
        "All right, no video. We can just talk.",
    ),
)


def fact(builder: DialogueBuilder) -> Turn:
    """A question on shapes, motions, videos or likings, answered in words."""
    r = builder.rand()
    if r < 0.12:
        shape = builder.pick(SHAPES)
        noun = "point" if shape == "star" else "corner"
        user = builder.say(CORNER, a=article(shape), n=shape)
        user = user.replace("point", noun).replace("corner", noun)
        return builder.add(CORNER.name, user, f"A {shape} has {CORNERS[shape]}.")
    if r < 0.27:
        shape = builder.pick(SHAPES)
        return builder.add(MEANING.name, builder.say(MEANING, a=article(shape), n=shape), LOOKS[shape])
    if r < 0.35:
        motion = builder.pick(tuple(MEANINGS))
        word = "standing still" if motion == "still" else motion
        return builder.add(MOTION_MEANING.name, builder.say(MOTION_MEANING, n=word), MEANINGS[motion])
    wordings, answer = builder.pick(_FACTS)
    return builder.add(wordings.name, builder.say(wordings), answer)


if set(CORNERS) != set(world.SHAPES):
    raise AssertionError("a shape without a fact")
