"""Stage 2 on published video language models: LoRA on the language model, and the bundle that comes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

# Before Lightning, which imports a torchvision that is there, too.
from .. import llava_checkpoint as llava
from .. import smolvlm_checkpoint as smol

pytest.importorskip("lightning", reason="needs the train extra")

import g4v  # noqa: E402
from g4v._encode import save_video  # noqa: E402
from g4v.export.bundle.export import export_bundle  # noqa: E402
from g4v.export.checkpoint.run import Checkpoint  # noqa: E402
from g4v.model.assistant import Gpt4Video  # noqa: E402
from g4v.model.bases.video_language import open_video_language  # noqa: E402
from g4v.model.prompt import VIDEO_ID  # noqa: E402
from g4v.train.command import main  # noqa: E402

from . import training_bases as made  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

KINDS = (*llava.KINDS, "smolvlm")
CAPTION = "Here: <video>a red ball rolls</video> Good?"
QUESTIONS = ("What moves here?", "Show me a ball", "where is it?", "Q1")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def base(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "base"
    smol.make(folder, seed=3) if kind == "smolvlm" else llava.make(folder, kind, seed=3)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dialogues of several turns about clips of several lengths, one without a clip, one damaged."""
    folder = tmp_path_factory.mktemp("data")
    rows: list[dict[str, Any]] = []
    for number, count in enumerate((2, 9, 30)):
        save_video(folder / f"{number}.mp4", smol.film(count, seed=number), 5)
        pairs = [{"q": "What?", "a": CAPTION}, {"q": "And then?", "a": "a" * (number + 1)}]
        rows.append({"video": f"{number}.mp4", "QA": pairs})
    (folder / "bad.mp4").write_bytes(b"no video")
    rows.append({"video": "bad.mp4", "QA": [{"q": "What?", "a": "Nothing."}]})
    path = folder / "data.json"
    path.write_text(json.dumps(rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main(["stage2", *options(base, data, out)]) == 0
    return out


def options(base: Path, data: Path, out: Path, **changes: Any) -> list[str]:
    return made.options(base, data, out, **({"max_length": 600, "frames": 3, "max_epochs": 3} | changes))


def test_the_run(trained: Path, base: Path, kind: str) -> None:
    for part in ("encoder", "abstractor", "llm"):
        assert (trained / part).resolve() == base.resolve()
    factors = load_file(trained / "adapter" / "adapter_model.safetensors")
    assert any(bool(tensor.any()) for name, tensor in factors.items() if "lora_B" in name)
    report = json.loads((trained / "work" / "stage2" / "data_report.json").read_text("utf-8"))
    assert any("bad.mp4" in problem for problem in report["problems"])
    about = json.loads((trained / "g4v_train.json").read_text("utf-8"))
    template = open_video_language(base).template(Checkpoint.open(base).tokenizer("decoder"))
    assert about["prompt"] == template.to_manifest() and about["frames"] == 3


def merged(base: Path, run: Path, kind: str) -> Any:
    """transformers' model with the factors of the run added to its weights, by the formula of LoRA."""
    if kind == "smolvlm":
        from transformers import SmolVLMForConditionalGeneration as model_class
    else:
        model_class = llava.classes(kind)[1]
    model = model_class.from_pretrained(base, dtype=torch.float32).eval()
    language = model.model.text_model if kind == "smolvlm" else model.model.language_model
    config = json.loads((run / "adapter" / "adapter_config.json").read_text("utf-8"))
    factors = load_file(run / "adapter" / "adapter_model.safetensors")
    scale = config["lora_alpha"] / config["r"]
    for name in [name for name in factors if "lora_A" in name]:
        module = name.removeprefix("base_model.model.model.").removesuffix(".lora_A.weight")
        added = factors[name.replace("lora_A", "lora_B")].double() @ factors[name].double() * scale
        weight = language.get_submodule(module).weight
        weight.data = (weight.double() + added).float()
    return model


def test_the_bundle_gives_the_greedy_answers_of_pytorch(
    trained: Path, base: Path, kind: str, tmp_path: Path
) -> None:
    from ..export import test_llava, test_smolvlm

    export_bundle(trained, tmp_path / "bundle")
    assistant = g4v.load(tmp_path / "bundle", device="cpu")
    model = merged(base, trained, kind)
    inputs = test_smolvlm.own_inputs if kind == "smolvlm" else test_llava.own_inputs
    changed = 0
    plain = merged_without(base, kind)
    for number in range(20):
        film = tmp_path / f"{number}.mp4"
        save_video(film, smol.film(1 + 3 * number, seed=50 + number), 1 + number % 7)
        question = QUESTIONS[number % len(QUESTIONS)]
        given = inputs(trained, question, film)
        wanted = generated(model, given)
        answer = assistant.chat().ask(question, film, max_new_tokens=12)
        assert [token.id for token in answer.tokens] == wanted
        changed += wanted != generated(plain, given)
    assert changed, "the adapter changes no answer: nothing was compared"


def merged_without(base: Path, kind: str) -> Any:
    if kind == "smolvlm":
        from transformers import SmolVLMForConditionalGeneration as model_class
    else:
        model_class = llava.classes(kind)[1]
    return model_class.from_pretrained(base, dtype=torch.float32).eval()


def generated(model: Any, given: dict[str, torch.Tensor]) -> list[int]:
    with torch.no_grad():
        found = model.generate(**given, max_new_tokens=12, do_sample=False)
    return found[0, given["input_ids"].shape[1] :].tolist()


def test_the_trained_model_is_the_exported_one(trained: Path, base: Path, kind: str) -> None:
    """`Gpt4Video.from_checkpoint` reads the run: logits of a prompt against transformers, in float32."""
    model = Gpt4Video.from_checkpoint(trained)
    opened = Checkpoint.open(trained)
    frames = 2
    pixels = torch.randn(1, frames, 3, opened.image_size(), opened.image_size())
    tokens = opened.video_tokens() * frames
    ids = torch.tensor([[5, 6, *[VIDEO_ID] * tokens, 7, 8]])
    with torch.no_grad():
        found = model(ids, pixel_values=pixels).logits
    reference = merged(base, trained, kind)
    token = reference.config.image_token_id if kind == "smolvlm" else reference.config.video_token_id
    name = "pixel_values" if kind == "smolvlm" else "pixel_values_videos"
    with torch.no_grad():
        wanted = reference(input_ids=ids.masked_fill(ids == VIDEO_ID, token), **{name: pixels}).logits
    assert torch.allclose(found, wanted, atol=1e-3 * float(wanted.abs().max()))


def test_going_on_from_such_a_run(trained: Path, data: Path, tmp_path: Path) -> None:
    """With features that are kept, and everything copied: the same parts, the adapter trained further."""
    out, cache = tmp_path / "run", tmp_path / "cache"
    words = options(trained, data, out, feature_cache=cache, copy_bases=True, max_epochs=1)
    assert main(["stage2", *words, "--adapter", str(trained / "adapter")]) == 0
    assert not (out / "llm").is_symlink() and (out / "encoder").resolve() == (out / "llm").resolve()
    assert list(cache.rglob("*.safetensors"))
    one, other = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (trained, out))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    Checkpoint.open(out)


def test_rows_have_as_many_places_as_their_clips_have_tokens(base: Path, data: Path, tmp_path: Path) -> None:
    from g4v.train.assembly import load_assembly
    from g4v.train.bases import prepare_bases
    from g4v.train.batch_sampler import MicroBatch
    from g4v.train.configuration import load_settings
    from g4v.train.datasets import open_rows
    from g4v.train.rows import RowBatches

    given = {"base": str(base), "data": (str(data),), "out": str(tmp_path / "run"), "frames": 4}
    settings = load_settings("stage2", None, None, given | {"max_length": 600})
    assembly = load_assembly(settings, "stage2", prepare_bases(settings, True), torch.float32)
    rows = open_rows(settings, "stage2", assembly.template)
    assert assembly.reader is not None
    batches = RowBatches(rows, assembly.rows, assembly.reader, assembly.reader.blank)
    batch = batches[MicroBatch(number=0, step=0, rows=(0, 1, 2, 3), step_rows=(0, 1, 2, 3))]
    assert batch["clips"].shape[0] == 1
    tokens = int((batch["ids"] == VIDEO_ID).sum())
    assert tokens == batch["clips"].shape[1] * assembly.rows.video_tokens > 0
    assert len(batch["unusable"]) == 1 and "bad.mp4" in batch["unusable"][0][1]
    clip = rows[1].clips[0]
    assert assembly.reader(clip).shape[0] == len(assembly.reader.times(clip)[0])
    assert np.isfinite(assembly.reader(clip)).all()


REFUSALS = [
    ("stage1", {}, "the connector of .* is trained already; train stage2"),
    ("stage2", {"llm": "other"}, "tower, connector and language model of .* belong together"),
    ("stage1", {"dry_run": True}, "the connector of .* is trained already; train stage2"),
    ("stage2", {"dry_run": True, "max_length": 4}, "a frame alone has .* video tokens"),
]


@pytest.mark.parametrize(("stage", "changes", "message"), REFUSALS)
def test_what_is_refused(
    stage: str,
    changes: dict[str, Any],
    message: str,
    base: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import re

    if "llm" in changes:
        changes = {"llm": made.write_base(tmp_path / "other") / "llm"}
    assert main([stage, *options(base, data, tmp_path / "run", **changes)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line
    assert not (tmp_path / "run" / "llm").exists()


def test_a_base_without_weights(base: Path, data: Path, tmp_path: Path, capsys: Any) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in base.iterdir():
        if file.suffix != ".safetensors":
            (bare / file.name).write_bytes(file.read_bytes())
    assert main(["stage2", *options(bare, data, tmp_path / "run")]) == 1
    assert "no model.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "run" / "llm").exists()
