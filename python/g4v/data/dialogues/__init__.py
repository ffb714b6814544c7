"""Builds dialogues from captions with a language model behind a chat-completions endpoint.

captions -> items (prompts) -> endpoint -> journal -> check -> duplicates -> result

Each file calls only what stands before it; `command` puts them together.
"""
