"""Fuzzers of what Python reads: `python -m python.fuzz TARGET` in the folder tests."""
