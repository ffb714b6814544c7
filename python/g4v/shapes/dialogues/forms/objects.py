"""Questions about the colour and the shape of what a clip shows.

"colour" and "shape" name an object ({x}); "any-colour" and "any-shape" name none.
"""

from __future__ import annotations

from g4v.shapes.dialogues.forms.family import Family

COLOUR = (
    Family(
        "colour",
        "what",
        """
        <what> <colour> (is|was|has) {x} <here>?
        <whats> the <colour> of {x} <here>?
        <what> <colour> does {x} have <here>?
        {x} is <what> <colour>?
        <what> <colour> would you (say|call|give) {x}?
        how would you describe the <colour> of {x}?
        (what's|what is|whats) its <colour>?
        <what> (color|colour) did they (give|paint) {x}?
        of <what> <colour> is {x}?
        <what> (color|colour) do <u> think {x} (is|has)?
        """,
    ),
    Family(
        "colour",
        "tell",
        """
        <name> the <colour> of {x}
        <name> its <colour>
        guess (the <colour> of {x}|its <colour>|<what> <colour> {x} is)
        <name> {x}'s <colour>
        <can> <u> <tell> <what> <colour> {x} (is|has)?
        <can> <u> <name> the <colour> of {x}?
        <tell> <what> <colour> {x} (is|has)
        i want to know <what> <colour> {x} (is|has)
        <know> <what> <colour> {x} (is|has)?
        <know> the <colour> of {x}?
        """,
    ),
    Family(
        "colour",
        "short",
        """
        <colour> of {x}?
        {x} <colour>?
        {x}, <colour>?
        and the <colour> of {x}?
        and {x}, <what> (color|colour)?
        {x}: (color|colour)?
        (its|it's) <colour>?
        and its <colour>?
        """,
    ),
    Family(
        "colour",
        "indirect",
        """
        <wonder> <what> <colour> {x} (is|has)
        <wonder> about the <colour> of {x}
        i can't (tell|see|make out) <what> <colour> {x} (is|has)
        i (forgot|missed|didn't get) the <colour> of {x}
        help me with the <colour> of {x}
        i am colour blind, <what> <colour> is {x}?
        """,
        held_out=True,
    ),
    Family(
        "any-colour",
        "what",
        """
        <what> <colour> <do> <u> <see> <here>?
        <what> <colours> <do> <u> <see> <here>?
        <what> <colour> <appear> <here>?
        <what> <colours> <appears> <here>?
        <what> <colour> (is it|is this|is that|is used) <here>?
        <what> <colour> (thing|object|shape|figure) (is this|do you see|is it)?
        <what> (color|colour) does the <clip> <show>?
        """,
    ),
    Family(
        "any-colour",
        "short",
        """
        (color|colour|colors|colours|the color|the colour)?
        (color|colour) <here>?
        just the (color|colour)
        (which|wich) (color|colour) pls?
        what (color|colour)?
        only the (color|colour|colours|colors)
        """,
    ),
    Family(
        "any-colour",
        "tell",
        """
        <name> the <colour> <here>
        <name> the <colours> you <see>
        <tell> <what> <colour> you <see> <here>
        <can> <u> <name> the (color|colour|colors|colours)?
        """,
        held_out=True,
    ),
)
SHAPE = (
    Family(
        "shape",
        "what",
        """
        <what> <shape> (is|was|has) {x} <here>?
        <whats> the <shape> of {x} <here>?
        <what> <shape> does {x} have <here>?
        {x} is <what> <shape>?
        <what> (kind|sort|type) of (shape|figure|form) is {x}?
        how would you describe the <shape> of {x}?
        how is {x} shaped?
        (what's|what is|whats) its <shape>?
        {x} has <what> <shape>?
        <what> shape do <u> think {x} (is|has)?
        geometrically, what is {x}?
        """,
    ),
    Family(
        "shape",
        "tell",
        """
        <name> the <shape> of {x}
        <name> its <shape>
        guess (the <shape> of {x}|its <shape>|<what> <shape> {x} is)
        <can> <u> <tell> <what> <shape> {x} (is|has)?
        <can> <u> <name> the <shape> of {x}?
        <tell> <what> <shape> {x} (is|has)
        i want to know <what> <shape> {x} (is|has)
        <know> <what> <shape> {x} (is|has)?
        <know> the <shape> of {x}?
        """,
    ),
    Family(
        "shape",
        "short",
        """
        <shape> of {x}?
        {x} <shape>?
        {x}, <shape>?
        and the <shape> of {x}?
        {x}: shape?
        (its|it's) <shape>?
        and its <shape>?
        """,
    ),
    Family(
        "shape",
        "indirect",
        """
        <wonder> <what> <shape> {x} (is|has)
        <wonder> about the <shape> of {x}
        i can't (tell|see|make out) <what> <shape> {x} (is|has)
        help me with the <shape> of {x}
        """,
        held_out=True,
    ),
    Family(
        "any-shape",
        "what",
        """
        <what> <shape> <do> <u> <see> <here>?
        <what> <shapes> <do> <u> <see> <here>?
        <what> <shape> <appear> <here>?
        <what> <shapes> <appears> <here>?
        <what> <shape> (is it|is this|is that) <here>?
        <what> (shape|figure|form) does the <clip> <show>?
        <what> (kind|sort|type) of (thing|object|figure|shape) (is this|is that|is it|do you <see>)?
        """,
    ),
    Family(
        "any-shape",
        "short",
        """
        (shape|shapes|the shape|form|figure)?
        (shape|form) <here>?
        just the (shape|figure)
        (which|wich) shape pls?
        what shape?
        only the (shape|shapes|form)
        """,
    ),
    Family(
        "any-shape",
        "tell",
        """
        <name> the <shape> <here>
        <name> the <shapes> you <see>
        <tell> <what> <shape> you <see> <here>
        <can> <u> <name> the (shape|shapes|figure)?
        """,
        held_out=True,
    ),
)
FAMILIES = (*COLOUR, *SHAPE)
