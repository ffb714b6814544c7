"""A run that is open for export."""

from g4v.export.checkpoint.run import Checkpoint


def test_a_tokenizer_is_loaded_once(run):
    opened = Checkpoint.open(run)
    for part in ("decoder", "text_encoder"):
        assert opened.tokenizer(part) is opened.tokenizer(part)
    assert opened.tokenizer("decoder") is not opened.tokenizer("text_encoder")
    assert opened.tokenizer("decoder") is not Checkpoint.open(run).tokenizer("decoder")
