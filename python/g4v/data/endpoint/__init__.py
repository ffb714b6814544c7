"""An OpenAI-compatible endpoint: bounded requests, a journal of what was answered, work done at once."""
