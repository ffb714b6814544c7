"""The shapes world: the one small world that the embedded assistant knows.

`world` says what exists and how it is put in words, `render` draws it, `dialogues` talks about it.
"""
