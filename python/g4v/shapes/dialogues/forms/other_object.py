"""Questions for the other one of two objects."""

from __future__ import annotations

from g4v.shapes.dialogues.forms.family import Family

OTHER = (
    Family(
        "other",
        "short",
        """
        and the (other|second) (one|<thing>|)?
        the (other|second) (one|<thing>)?
        what about the (other|second) (one|<thing>|)?
        how about the (other|second) (one|<thing>)?
        and (number two|no 2|the 2nd one)?
        """,
    ),
    Family(
        "other",
        "tell",
        """
        <tell> about the (other|second) (one|<thing>)
        <can> <u> <tell> the same for the (other|second) (one|<thing>)?
        <tell> the {n} of the (other|second) (one|<thing>)
        which {n} (is|has) the (other|second) (one|<thing>)?
        same question for the (other|second) (one|<thing>)
        """,
    ),
    Family(
        "other",
        "indirect",
        """
        <wonder> about the (other|second) (one|<thing>)
        <wonder> which {n} the (other|second) (one|<thing>) (is|has)
        """,
        held_out=True,
    ),
)
FAMILIES = OTHER
