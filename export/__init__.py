"""g4v.export: everything between a training checkpoint and a bundle (`python -m g4v.export --help`)."""
