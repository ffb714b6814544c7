"""Questions that are answered with yes or no, and questions that compare two objects."""

from __future__ import annotations

from g4v.shapes.dialogues.forms.family import Family

IS = (
    Family(
        "is",
        "plain",
        """
        is {x} {c} <here>?
        is {x} (actually|really|indeed|truly) {c}?
        is {x} {c} or not?
        would <u> say {x} is {c}?
        do <u> <think> {x} is {c}?
        is it (true|correct|right|so|the case) that {x} is {c}?
        does {x} look {c}?
        can <u> confirm {x} is {c}?
        """,
    ),
    Family(
        "is",
        "tag",
        """
        {x} is {c}, isn't it?
        {x} is {c}, (correct|yes|no|true|huh|true or false)?
        {x} is {c}?
        so {x} is {c}?
        i <think> {x} is {c}, (am i right|is that so|do you agree|correct)?
        yes or no: {x} is {c}?
        true or false: {x} is {c}
        """,
    ),
    Family(
        "is",
        "indirect",
        """
        <wonder> <if> {x} is {c}
        <can> <u> <tell> <if> {x} is {c}?
        <tell> <if> {x} is {c}
        """,
    ),
    Family(
        "is",
        "doubt",
        """
        isn't {x} {c}?
        {x} isn't {c}, is it?
        someone said {x} is {c}, is this true?
        i bet {x} is {c}, did i win?
        """,
        held_out=True,
    ),
)
DOES = (
    Family(
        "does",
        "plain",
        """
        does {x} {v} <here>?
        does {x} (actually|really|indeed) {v}?
        would <u> say {x} {s}?
        do <u> <think> {x} {s}?
        is it (true|correct|right|so|the case) that {x} {s}?
        do <u> see {x} {v}?
        """,
    ),
    Family(
        "does",
        "tag",
        """
        {x} {s}, doesn't it?
        {x} {s}, (correct|yes|no|true|huh|true or false)?
        {x} {s}?
        i <think> {x} {s}, (am i right|is that so|do you agree|correct)?
        true or false: {x} {s}
        """,
    ),
    Family(
        "does",
        "indirect",
        """
        <wonder> <if> {x} {s}
        <can> <u> <tell> <if> {x} {s}?
        <tell> <if> {x} {s}
        """,
    ),
    Family(
        "does",
        "doubt",
        """
        doesn't {x} {v}?
        someone said {x} {s}, is this true?
        i bet {x} {s}, did i win?
        """,
        held_out=True,
    ),
)
THERE = (
    Family(
        "there",
        "plain",
        """
        is there {c} <here>?
        <do> <u> <see> {c} <here>?
        does the <clip> <show> {c}?
        (are there any|any) {p} <here>?
        <do> <u> <see> any {p} <here>?
        is {c} <seen> <here>?
        have <u> (seen|noticed|spotted) {c}?
        {c} <here>?
        """,
    ),
    Family(
        "there",
        "indirect",
        """
        <wonder> <if> there is {c} <here>
        <tell> <if> there is {c} <here>
        <can> <u> <tell> <if> you <see> {c}?
        """,
    ),
    Family(
        "there",
        "doubt",
        """
        isn't there {c} <here>?
        someone said there is {c}, is this true?
        i was looking for {c}, is it in there?
        """,
        held_out=True,
    ),
)
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
FAMILIES = (*IS, *DOES, *THERE, *SAME, *SAME_WAY, *BOTH)
