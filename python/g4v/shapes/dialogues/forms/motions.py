"""Questions about what an object does: "motion" names it ({x}), "any-motion" does not."""

from __future__ import annotations

from g4v.shapes.dialogues.forms.family import Family

MOTION = (
    Family(
        "motion",
        "what",
        """
        <whats> {x} <ing> <here>?
        what (does|did|will) {x} do <here>?
        how (does|did) {x} (move|behave|act|travel) <here>?
        how is {x} moving <here>?
        <what> <motion> does {x} (have|make|show|follow)?
        <whats> the <motion> of {x}?
        (what|which) (direction|way) (is|was) {x} (going|moving|heading|travelling|traveling|facing|drifting)?
        (in|into) (what|which) direction (does|did) {x} (go|move|travel|head|drift)?
        where (is|was) {x} (going|moving|headed|heading|off to)?
        where does {x} (go|move|end up|travel) <here>?
        what (happens|is happening|happened) (to|with) {x} <here>?
        (what's|what is|whats) its <motion>?
        what kind of <motion> (is|does) {x} (in|have|make)?
        does {x} (change|move|do anything), and how?
        """,
    ),
    Family(
        "motion",
        "tell",
        """
        <name> the <motion> of {x}
        <can> <u> <tell> (what {x} is doing|how {x} moves|where {x} goes)?
        <tell> (what {x} is doing|what {x} does|how {x} moves|where {x} is going)
        describe (the <motion> of {x}|how {x} moves|what {x} does|its <motion>)
        guess (what {x} is doing|which way {x} goes|how {x} moves)
        i want to know (what {x} is doing|how {x} moves|where {x} is heading)
        <know> (what {x} is doing|how {x} moves|where {x} goes|which way {x} goes)?
        """,
    ),
    Family(
        "motion",
        "short",
        """
        <motion> of {x}?
        {x} <motion>?
        {x}, (which way|what motion|what direction|doing what|where to)?
        and {x}, what does it do?
        {x} (goes|moves|is going|is moving) (where|which way|how)?
        {x} is doing what?
        (its|it's) <motion>?
        and its <motion>?
        """,
    ),
    Family(
        "motion",
        "indirect",
        """
        <wonder> (what {x} is doing|how {x} moves|where {x} is going|which way {x} goes)
        <wonder> about the <motion> of {x}
        i can't (tell|see|make out) (what {x} is doing|how {x} moves|where {x} goes)
        help me with the <motion> of {x}
        """,
        held_out=True,
    ),
    Family(
        "any-motion",
        "what",
        """
        <what> <motion> <do> <u> <see> <here>?
        <what> <motion> <appear> <here>?
        <what> (direction|way)?
        how do things move <here>?
        <what> (kind|sort|type) of (motion|movement) (is this|is it|is that|is there|do you <see>)?
        what (motion|movement) does the <clip> <show>?
        what's (moving|going on with it|the action) and how?
        """,
    ),
    Family(
        "any-motion",
        "short",
        """
        (motion|movement|direction|the motion|the movement|the direction)?
        (movement|motion|direction) <here>?
        just the (motion|movement|direction)
        """,
    ),
    Family(
        "any-motion",
        "tell",
        """
        <name> the <motion> <here>
        <name> the (motion|movement|direction) you <see>
        <tell> <what> <motion> you <see> <here>
        """,
        held_out=True,
    ),
)
FAMILIES = MOTION
