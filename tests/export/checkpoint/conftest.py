import json

import pytest


@pytest.fixture
def write(tmp_path):
    """Writes a scheduler_config.json; returns the text-to-video folder."""

    def write(config):
        folder = tmp_path / "scheduler"
        folder.mkdir(exist_ok=True)
        (folder / "scheduler_config.json").write_text(json.dumps(config), "utf-8")
        return tmp_path

    return write
