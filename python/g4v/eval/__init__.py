"""Evaluation on the field's own data files: questions about videos, captions, and videos from captions.

Each command runs a bundle through the public g4v API, leaves out the clips that are missing or broken and
counts them, prints a table and writes JSON. Nothing is downloaded: data and weights are what the user has.
"""
