"""Evaluation: the checker of clips, the scorer of answers, and the figures of the shapes world."""
