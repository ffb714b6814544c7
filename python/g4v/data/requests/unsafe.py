"""Unsafe requests: what somebody should not do or want to watch, and how people ask for it.

The requests are short and name no method; they are here so that an assistant learns to decline them. Lines
that begin with "*" are held out for tests.
"""

from g4v.data.requests.unsafe_deeds import DEED
from g4v.data.requests.unsafe_frames import ASK_DEED, ASK_SIGHT, SELF_HARM
from g4v.data.requests.unsafe_sights import SIGHT

__all__ = ["ASK_DEED", "ASK_SIGHT", "DEED", "SELF_HARM", "SIGHT"]
