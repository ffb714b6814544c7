"""Estimates of what an export and a run need, before they start."""
