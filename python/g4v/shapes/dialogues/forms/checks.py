"""Questions whether an object has a value, and whether there is one, answered with yes or no."""

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
FAMILIES = (*IS, *DOES, *THERE)
