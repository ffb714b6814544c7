"""What an export and a run will need, before either begins."""
