"""The shapes world: the one small world that the embedded assistant knows.

`world` says what exists and draws it, `dialogues` writes dialogues about it, `eval` measures an assistant on
both, and `recipe` trains the embedded assistant. `provider` is what others find by name (g4v.data.worlds).
"""
