"""Forms: ways to ask that are put together from words by a grammar, in families of which some are held out.

`family` has the grammar, `lexicon` the words that it puts together, `typing` writes a text the way people
type in a hurry; the other files are the families. Dialogues of them are in `g4v.shapes.dialogues.plain`.
"""

from __future__ import annotations

from g4v.shapes.dialogues.forms import (
    checks,
    choices,
    comparisons,
    motions,
    objects,
    other_object,
    scene_checks,
    whole,
    wishes,
)
from g4v.shapes.dialogues.forms.family import Families, Family

__all__ = ["FORMS", "Families", "Family"]

FORMS = Families(
    (
        *objects.FAMILIES,
        *motions.FAMILIES,
        *whole.FAMILIES,
        *checks.FAMILIES,
        *scene_checks.FAMILIES,
        *comparisons.FAMILIES,
        *choices.FAMILIES,
        *other_object.FAMILIES,
        *wishes.FAMILIES,
    )
)
