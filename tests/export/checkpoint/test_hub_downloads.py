"""What is asked of the hub, in which order, and what is said where it does not give it."""

import json
import shutil

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.hub import _reason, download, fetch_configuration
from g4v.train.errors import TrainingError
from g4v.train.estimate import find_sizes
from g4v.train.settings import Settings

from ... import llava_checkpoint as llava

torch.manual_seed(0)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder OWNER/NAME of models in place of the hub; `asked` lists the files that were downloaded."""

    class Hub:
        root, asked = tmp_path / "hub", []

        def files(self, name):
            folder = self.root / name
            return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

        def snapshot(self, name, allow_patterns):
            self.asked += [f"{name}/{file}" for file in allow_patterns]
            return str(self.root / name)

        def file(self, name, file):
            self.asked.append(f"{name}/{file}")
            copy = tmp_path / "cache" / name
            copy.mkdir(parents=True, exist_ok=True)
            return str(shutil.copy(self.root / name / file, copy))

    hub = Hub()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, name: hub.files(name))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.file)
    return hub


@pytest.fixture(scope="module")
def parts(tmp_path_factory, small):
    return write_random_checkpoint(tmp_path_factory.mktemp("run") / "run", small)


def put(hub, source, name, changes=None, config="config.json"):
    folder = shutil.copytree(source, hub.root / name)
    values = json.loads((folder / config).read_text("utf-8"))
    (folder / config).write_text(json.dumps(values | (changes or {})), "utf-8")
    return name


@pytest.mark.parametrize(
    ("part", "option", "config", "changes", "message"),
    [
        ("llm", "llm", "config.json", {"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ("llm", "llm", "config.json", {"rotary_style": 3}, "rotary_style = 3 is not supported"),
        ("encoder", "vision", "config.json", {"model_type": "siglip", "flavour": ""}, "is a 'siglip' model"),
        ("t2v", "t2v", "unet/config.json", {"twist": 1}, "unknown key 'twist'"),
        ("llm", "base", "config.json", {}, "is a 'llama' model; name it with --llm"),
    ],
)
def test_what_cannot_be_used_is_refused_in_time(hub, parts, part, option, config, changes, message):
    name = put(hub, parts / part, "owner/name", changes, config)
    overrides = Overrides() if option == "base" else Overrides(**{option: name})
    with pytest.raises(ExportError, match=message):
        Checkpoint.open(name if option == "base" else None, overrides)
    assert hub.asked and not any(file.endswith((".safetensors", ".bin")) for file in hub.asked)


def test_names_that_lead_nowhere_are_refused_before_any_download(hub, parts):
    name = put(hub, parts / "llm", "owner/name")
    for overrides in (Overrides(llm=name, t2v="not/there/at/all"), Overrides(llm=name, vision="gone")):
        with pytest.raises(ExportError, match="no such file or directory"):
            Checkpoint.open(None, overrides)
    with pytest.raises(ExportError, match=r"gone\.gguf: no such file or directory"):
        Checkpoint.open(name, Overrides(llm="gone.gguf"))
    assert hub.asked == []


def test_the_weights_are_asked_for_last(hub, parts):
    download(put(hub, parts / "llm", "owner/name"), check=lambda folder: None)
    first = [file.endswith(".safetensors") for file in hub.asked].index(True)
    assert first > 2 and hub.asked[0] == "owner/name/config.json"


def test_a_dry_run_of_training_reads_a_configuration_of_the_hub_as_training_does(hub, parts):
    name = put(hub, parts / "llm", "owner/llm", {"num_hidden_layers": 5})
    assert find_sizes(Settings(llm=name)).layers == 5
    assert hub.asked == ["owner/llm/config.json"]
    bad = put(hub, parts / "llm", "owner/bad", {"rope_parameters": {"rope_type": "longrope"}})
    with pytest.raises(CheckpointError, match="rope_type 'longrope' is not supported"):
        find_sizes(Settings(llm=bad))
    other = put(hub, parts / "encoder", "owner/siglip", {"model_type": "siglip", "flavour": ""})
    with pytest.raises((CheckpointError, TrainingError), match="is a 'siglip' model"):
        find_sizes(Settings(llm=name, encoder=other))
    with pytest.raises(CheckpointError, match=r"owner/none: config\.json cannot be downloaded: "):
        fetch_configuration("owner/none")


def test_reasons_are_short_and_name_a_way_out():
    answer = type("Answer", (), {"headers": {}, "request": None})()
    for kind, words in (
        (RepositoryNotFoundError, "no model of this name, or it is private (hf auth login)"),
        (GatedRepoError, "its owner gives it to whom asks on its page; then log in (hf auth login)"),
        (OfflineModeIsEnabled, "HF_HUB_OFFLINE forbids the network"),
        (EntryNotFoundError, "404 Client Error"),
    ):
        text = "404 Client Error. (Request ID: x)\n\nPlease make sure you specified the correct `repo_id`" * 9
        plain = kind in (OfflineModeIsEnabled, EntryNotFoundError)
        error = kind(text) if plain else kind(text, response=answer)
        assert words in _reason(error) and len(_reason(error)) <= 160 and "\n" not in _reason(error)
    network = type("ConnectError", (Exception,), {})("[Errno -3] Temporary failure in name resolution")
    assert _reason(network) == "the hub cannot be reached"


def test_a_dry_run_downloads_no_weights_of_a_video_language_model(hub, tmp_path):
    llava.make(tmp_path / "made", llava.VIDEO_LLAVA)
    name = put(hub, tmp_path / "made", "owner/llava")
    Checkpoint.open(name, weights=False)
    assert "owner/llava/processor_config.json" in hub.asked
    assert not any(file.endswith(".safetensors") for file in hub.asked)
    Checkpoint.open(name)
    assert "owner/llava/model.safetensors" in hub.asked
