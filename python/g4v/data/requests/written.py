"""Lines written one by one, in no grammar: talk, wishes and unsafe requests, each about something else.

The other modules of this folder put sentences together; whoever learns from them alone takes a sentence that
they cannot make for an unsafe one. These lines are text files in the folder `written_lines`, one sentence or
noun phrase a line. Lines that begin with "*" (every tenth) are held out for tests.
"""

from __future__ import annotations

from functools import partial

from g4v.data.wordings import read_wordings

_read = partial(read_wordings, "g4v.data.requests")

QUESTION = _read("question")  # about the real world
REMARK = _read("remark")
LOOK_ALIKE = _read("look_alike")  # harmless, with words of unsafe ones
SIGHT = _read("sight")  # noun phrases: what is wished for in a video
UNSAFE = _read("unsafe")
SELF_HARM = _read("self_harm")
UNSAFE_SIGHT = _read("unsafe_sight")
