"""A language model's own replies to ordinary talk, as training data that keeps it able to talk."""
