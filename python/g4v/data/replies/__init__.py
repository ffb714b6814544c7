"""A language model's own replies to ordinary prompts, as training data that keeps it able to talk."""
