"""The words that forms are put together from. A rule may use other rules; "(a|b|)" chooses as in templates.

Words of ordinary English that mean the same here, whether or not the assistant says them itself.
"""

from __future__ import annotations

from g4v.shapes.world.world import BACKGROUNDS, COLOURS, MOTIONS, SHAPES

RULES: dict[str, str] = {
    # What is asked for.
    "colour": "colour|color|colour|color|colour|color|hue|shade|tint|tone",
    "colours": "colours|colors|colours|colors|hues|shades",
    "shape": "shape|shape|shape|shape|form|figure|geometric shape|kind of shape|type of shape|outline",
    "shapes": "shapes|shapes|shapes|forms|figures|geometric shapes",
    "motion": "motion|movement|motion|movement|direction|way of moving",
    "bg": "background|background|background|background|backdrop|bg",
    "amount": "number|count|amount|quantity|total",
    # Things, and where they are.
    "thing": "thing|object|item|object|thing|element",
    "things": "things|objects|items|objects|things|elements",
    "clip": "clip|video|movie|film|footage|animation|recording|vid|gif|scene|clip|video",
    "det": "the|this|my|that",
    "here": "|||here|in here|in the <clip>|in this <clip>|on screen|on the screen|in <det> <clip>|in it",
    # Seeing and showing.
    "see": "see|see|see|notice|spot|recognise|recognize|make out|observe|detect|find|perceive|identify",
    "appear": "appears|shows up|is shown|is visible|can be seen|is on screen|is there|turns up|is displayed",
    "appears": "appear|show up|are shown|are visible|can be seen|are on screen|are there|are displayed",
    "seen": "shown|visible|displayed|present|pictured|depicted|there",
    "show": "show|contain|have|feature|display|include|depict",
    # Asking.
    "whats": "what is|what's|whats|what is",
    "what": "what|which|wich|what|which",
    "can": "can|could|would|will",
    "u": "you|you|you|you|u|ya",
    "do": "do|can|did|could",
    "tell": "tell me|say|tell me|let me know|tell us|work out|figure out|check|find out|explain"
    "|lemme know|i wanna know|i want to know|i need to know|i'd like to know|remind me|guess",
    "name": "name|give me|state|tell me|identify|report|write|mention|specify|i need|i want"
    "|gimme|spell out|read out|point out|help me with|provide",
    "want": "want|would like|need|wish|d like",
    "wonder": "i wonder|i am wondering|i'm wondering|i was wondering|just wondering|wondering|i am curious"
    "|i'm curious|curious|i ask myself|i'd love to know|i am not sure|i'm not sure",
    "know": "do <u> know|can <u> tell|can <u> say|do <u> have an idea|any idea|any clue|do <u> see"
    "|can <u> see|are <u> able to tell|are <u> able to say|is it clear to <u>",
    "think": "think|believe|guess|reckon|suppose|say|feel",
    "if": "if|whether",
    "is": "is|was|has been",
    # Doing and making.
    "ing": "doing|doing|doing|up to|trying to do|busy with",
    "make": "make|draw|create|generate|produce|animate|render|build|paint|sketch|design|film",
    "showme": "show me|give me|let me see|let me watch|send me|get me|play me|bring me|gimme|lemme see",
    "aclip": "a clip|a video|a movie|a film|a short clip|a short video|an animation|a quick video|a vid|a gif"
    "|a little clip|some footage|a scene|a small video",
    "wantto": "i want to|i would like to|i'd like to|i'd love to|i wanna|i need to|i wish to|i hope to"
    "|we want to|i would love to|i really want to|id like to",
}

_MOVES = (
    "moving|going|sliding|movingto|goingto|slidingto|movingtothe|goingtothe|slidingtothe|movingtowardsthe"
)
_DOES = (
    r"(?:(?:moving|going|sliding|goes|moves|slides|move|go|slide)"
    r"(?:to|towards|tothe|towardsthe)?(?:the)?(?:left|right|up|down|upwards|downwards)|ris(?:ing|es|e)|fall(?:ing|s)?"
    r"|sink(?:ing|s)?|gett?(?:ing|s)?(?:bigger|larger|smaller)|becom(?:ing|es|e)(?:bigger|smaller)|grow(?:ing|s)?"
    r"|shrink(?:ing|s)?|spin(?:ning|s)?|rotat(?:ing|es|e)|turn(?:ing|s)?(?:around)?|stand(?:ing|s)?still"
    r"|(?:doesnot|not)mov(?:e|ing)|stay(?:ing|s)?(?:still|inplace)|rest(?:ing|s)?)"
)
_VALUES = "|".join((*COLOURS, "violet", *SHAPES, "disc", "box", *BACKGROUNDS, "grey", "darkblue", *MOTIONS))
_KINDS = (
    "|".join((*COLOURS, "violet")),
    "|".join((*SHAPES, "disc", "box")),
    "|".join((*BACKGROUNDS, "grey", "darkblue")),
    _DOES,
)
_LISTS = (rf"(?:an?)?(?:{kind})(?:(?:or)?(?:isit)?(?:an?)?(?:{kind})){{1,3}}" for kind in _KINDS)
_NOUNS = "|".join((*SHAPES, "thing", "object", "item", "shape", "figure", "one", "clip"))

SLOT_PATTERNS: dict[str, str] = {
    # An object as a question names it, without spaces.
    "x": rf"it|that|this|(?:the|this|that)(?:{'|'.join(COLOURS)}|only)?(?:{_NOUNS})(?:(?:thatis)?{_DOES})?",
    # A value, with its article where it has one; s, v: forms of a motion.
    "c": rf"(?:an?)?(?:{'|'.join(COLOURS)})?(?:{_VALUES})|{_DOES}",
    "s": _DOES,
    "v": _DOES,
    # Choices: values with commas and "or" between them.
    "l": "|".join(_LISTS),
    # Requests: a scene in words, a clause.
    "w": r"[a-z]+?",
    "y": r"[a-z]+?",
    "n": r"colou?r|shape|motion",
    "a": r"an?",
    "p": rf"(?:{'|'.join(COLOURS)})?(?:{'|'.join(SHAPES)})s",
    "k": r"colou?rs?|shapes?|motions?|directions?|movements?",
}
"""What may stand in a slot, as a pattern over letters alone (`family.squeeze`)."""
