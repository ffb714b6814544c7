"""Questions that offer choices: two, three or four values, of which the answer names one."""

from __future__ import annotations

from g4v.shapes.dialogues.forms.family import Family

# {l} is the list: "red, blue or green", "a star or a circle".
CHOICE = (
    Family(
        "choice",
        "is",
        """
        is {x} {l} <here>?
        is {x} (either|) {l}?
        would <u> (say|call it|call that) {l}?
        would <u> say {x} is {l}?
        do <u> <think> {x} is {l}?
        is {x} more like {l}?
        was {x} {l}?
        """,
    ),
    Family(
        "choice",
        "end",
        """
        what is {x}: {l}?
        what is {x}, {l}?
        {x} is what, {l}?
        {x}: {l}?
        and {x}, {l}?
        <what> one is {x}: {l}?
        which (is it|of these is it|of them is it): {l}?
        <tell> what {x} is: {l}
        what (describes|fits) {x} best: {l}?
        how would <u> call {x}: {l}?
        """,
    ),
    Family(
        "choice",
        "alone",
        """
        {l}?
        (either|is it) {l}?
        (choose|pick|select): {l}
        (choose|pick) one: {l}
        """,
    ),
    Family(
        "choice",
        "indirect",
        """
        <wonder> <if> {x} is {l}
        <tell> <if> {x} is {l}
        <can> <u> <tell> <if> {x} is {l}?
        i can't decide <if> {x} is {l}
        """,
    ),
    Family(
        "choice",
        "start",
        """
        {l}, what is {x}?
        {l}: which is it?
        {l}: which one is {x}?
        {l}: what would you say?
        """,
    ),
    Family(
        "choice",
        "options",
        """
        the options are {l}, which one is {x}?
        here are the choices for {x}: {l}
        between {l}, what would you pick for {x}?
        my guess for {x} is {l}, which of them is right?
        """,
        held_out=True,
    ),
)
# {n} names the attribute: "colour", "shape", "motion", "background".
NAMED_CHOICE = (
    Family(
        "named-choice",
        "end",
        """
        <what> {n} is {x}: {l}?
        <what> {n} is {x}, {l}?
        <what> {n} (does {x} have|has {x}): {l}?
        is the {n} (of {x}|) {l}?
        <whats> the {n} of {x}: {l}?
        {n}: {l}?
        <name> the {n} of {x}: {l}
        <tell> which {n} {x} has: {l}
        """,
    ),
    Family(
        "named-choice",
        "start",
        """
        {l}: <what> {n} is {x}?
        {l}: which is the {n} of {x}?
        {l}, which {n} do <u> <see>?
        """,
    ),
    Family(
        "named-choice",
        "options",
        """
        the options for the {n} are {l}, which one is right?
        between {l}, which {n} has {x}?
        """,
        held_out=True,
    ),
)
BACKGROUND_CHOICE = (
    Family(
        "background-choice",
        "is",
        """
        is the <bg> {l}?
        is the <colour> of the <bg> {l}?
        what is the <bg>: {l}?
        is the <bg> (either|) {l}?
        <what> <colour> is the <bg>: {l}?
        is it on {a} {l} <bg>?
        the <bg>: {l}?
        <wonder> <if> the <bg> is {l}
        <tell> <if> the <bg> is {l}
        """,
    ),
    Family(
        "background-choice",
        "start",
        """
        {l}: <what> <colour> is the <bg>?
        {l}, what is the <bg>?
        the options for the <bg> are {l}, which one is it?
        """,
        held_out=True,
    ),
)
FAMILIES = (*CHOICE, *NAMED_CHOICE, *BACKGROUND_CHOICE)
