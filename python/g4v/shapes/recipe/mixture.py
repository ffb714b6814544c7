"""Which kinds of dialogues the two stages learn from, by shares (they need not add up to 1)."""

from __future__ import annotations

from g4v.shapes.dialogues.compose import KINDS

# Stage 1 learns to see: every dialogue is about a clip.
STAGE1 = {
    "describe": 0.2, "question": 0.3, "compare": 0.15, "plain_question": 0.2, "unsafe_clip": 0.1,
    "foreign_clip": 0.2,
}  # fmt: skip
# Stage 2 learns the natural mixture with more of what is refused, of what only looks like it, and of changes
# to what was shown.
_PLAIN = {"plain_question": 40.0, "plain_request": 12.0, "careless": 16.0, "compare": 20.0}
_TALK = {"unsafe": 40.0, "harmless": 40.0, "written_unsafe": 85.0, "written_harmless": 75.0}
_WRITTEN = {"written_question": 26.0, "written_request": 12.0}
_MORE = _PLAIN | _TALK | _WRITTEN | {"series": 6.0, "unsafe_clip": 3.0, "foreign_clip": 18.0}
STAGE2 = {kind: share + _MORE.get(kind, 0.0) for kind, (_, share) in KINDS.items()}
