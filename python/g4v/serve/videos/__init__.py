"""Videos as jobs."""
