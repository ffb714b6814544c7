"""Conversations: messages, what was said before, and turns under way."""
