"""Evaluation of an assistant of the shapes world."""
