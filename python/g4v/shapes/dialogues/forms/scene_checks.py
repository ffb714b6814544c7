"""Questions about the background, motion at all and anything at all, answered with yes or no."""

from __future__ import annotations

from g4v.shapes.dialogues.forms.family import Family

BACKGROUND_IS = (
    Family(
        "background-is",
        "plain",
        """
        is the <bg> (actually|really|) {c}?
        is the <colour> of the <bg> {c}?
        is it on {a} {c} <bg>?
        does {x} have {a} {c} <bg>?
        is it {c} behind {x}?
        would <u> say the <bg> is {c}?
        do <u> <think> the <bg> is {c}?
        """,
    ),
    Family(
        "background-is",
        "tag",
        """
        the <bg> is {c}, (isn't it|right|correct|yes|no|true)?
        the <bg> is {c}?
        i <think> the <bg> is {c}, (am i right|do you agree|correct)?
        {c} <bg>?
        """,
    ),
    Family(
        "background-is",
        "indirect",
        """
        <wonder> <if> the <bg> is {c}
        <tell> <if> the <bg> is {c}
        """,
    ),
    Family(
        "background-is",
        "doubt",
        """
        isn't the <bg> {c}?
        someone said the <bg> is {c}, is this true?
        """,
        held_out=True,
    ),
)
MOVES = (
    Family(
        "moves",
        "plain",
        """
        (does|can|did) {x} move (at all|) <here>?
        is {x} (moving|in motion) (at all|) <here>?
        is {x} (static|stationary|fixed|motionless|frozen|standing still) or (moving|in motion)?
        would <u> say {x} (moves|is moving)?
        do <u> <see> {x} move?
        {x} (moves|is moving)?
        """,
    ),
    Family(
        "moves",
        "indirect",
        """
        <wonder> <if> {x} (moves|is moving|is in motion)
        <tell> <if> {x} (moves|is moving|is in motion)
        """,
    ),
    Family(
        "moves",
        "doubt",
        """
        doesn't {x} move?
        someone said {x} moves, is this true?
        """,
        held_out=True,
    ),
)
ANYTHING = (
    Family(
        "anything",
        "plain",
        """
        is (anything|something|any <thing>|any shape) {c} <here>?
        is there (anything|something) {c} <here>?
        <do> <u> <see> (anything|something) {c} <here>?
        (anything|something) {c} <here>?
        does (the|this) <clip> <show> (anything|something) {c}?
        """,
    ),
    Family(
        "anything",
        "indirect",
        """
        <wonder> <if> (anything|something) is {c}
        <tell> <if> (anything|something) is {c}
        <can> <u> <tell> <if> you <see> anything {c}?
        """,
    ),
    Family(
        "anything",
        "doubt",
        """
        isn't (anything|something) {c}?
        someone said something is {c}, is this true?
        """,
        held_out=True,
    ),
)
FAMILIES = (*BACKGROUND_IS, *MOVES, *ANYTHING)
