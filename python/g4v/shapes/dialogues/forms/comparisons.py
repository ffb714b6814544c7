"""Questions that compare two objects."""

from __future__ import annotations

from g4v.shapes.dialogues.forms.family import Family

SAME = (
    Family(
        "same",
        "plain",
        """
        do (both|they|the two|both <things>|both shapes) have the same {k}?
        are (both|they|the two|both <things>) (of|) the same {k}?
        is the {k} (of both|of the two) the same?
        (same|equal|identical) {k}?
        are the {k} (the same|equal|identical)?
        are (their|the) {k} different?
        do they (differ|match|agree) in {k}?
        do the {k} (differ|match)?
        """,
    ),
    Family(
        "same",
        "indirect",
        """
        <wonder> <if> (both|they|the two) have the same {k}
        <tell> <if> (both|they|the two|both <things>) have the same {k}
        <can> <u> <tell> <if> the {k} are the same?
        compare the {k}: (same|equal) or not?
        """,
    ),
    Family(
        "same",
        "between",
        """
        is there a difference in {k} between (them|the two|both)?
        have the two got one {k} in common?
        """,
        held_out=True,
    ),
)
SAME_WAY = (
    Family(
        "same-way",
        "plain",
        """
        do (both|they|the two|both <things>|both shapes) (move|go) (the same way|in the same direction|alike)?
        are (both|they|the two) (moving|going) (the same way|in the same direction|alike)?
        do (both|they|the two|both <things>) do the same (thing|)?
        are (both|they) doing the same (thing|)?
        """,
    ),
    Family(
        "same-way",
        "indirect",
        """
        <wonder> <if> (both|they|the two) (move|go) (the same way|in the same direction)
        <tell> <if> (both|they|the two) (move the same way|go in the same direction|do the same)
        """,
    ),
    Family(
        "same-way",
        "different",
        """
        do (both|they|the two) (move|go) (differently|in different directions|in different ways)?
        are (both|they|the two) (moving|going) (differently|in different directions)?
        """,
    ),
    Family(
        "same-way",
        "between",
        """
        is there a difference in how (they|the two) move?
        have (they|the two) got the same direction?
        """,
        held_out=True,
    ),
)
BOTH = (
    Family(
        "both",
        "plain",
        """
        do (both|they both|the two|both <things>|both shapes|all of them) move <here>?
        are (both|they both|the two|both <things>|both shapes|all of them) moving <here>?
        are both in motion?
        both (moving|in motion)?
        <tell> <if> both (move|are moving)
        """,
    ),
    Family(
        "both",
        "indirect",
        """
        <wonder> <if> (both|the two|both <things>) (move|are moving)
        is (everything|each one|every <thing>) (moving|in motion) <here>?
        """,
        held_out=True,
    ),
)
FAMILIES = (*SAME, *SAME_WAY, *BOTH)
