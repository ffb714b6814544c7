"""Training of every part, with `python -m g4v.train`."""
