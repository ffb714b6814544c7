"""Videos from captions: the Frechet distance, features from local files, CLIPSIM, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from g4v.errors import ArgumentError
from g4v.eval.__main__ import main
from g4v.eval.features import load_features
from g4v.eval.frechet import frechet_distance
from g4v.eval.pictures import crop_to, resize

from .field_files import Scripted, write_clip


def gaussians(seed: int, n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize(("n1", "n2", "d"), [(200, 150, 6), (40, 90, 40), (2000, 30, 12)])
def test_frechet_against_the_root_of_a_matrix(n1: int, n2: int, d: int) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    one, other = gaussians(1, n1, d), gaussians(2, n2, d)
    c1, c2 = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = linalg.sqrtm(c1 @ c2)
    apart = one.mean(axis=0) - other.mean(axis=0)
    wanted = apart @ apart + np.trace(c1 + c2 - 2 * root.real)
    # A covariance of n = d samples is singular, which costs the reference some digits.
    assert frechet_distance(one, other) == pytest.approx(wanted, rel=1e-9 if min(n1, n2) > d else 1e-4)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))


def test_frechet_by_hand() -> None:
    """One value each: (m1 - m2)^2 + (s1 - s2)^2."""
    one, other = np.array([[0.0], [2.0]]), np.array([[5.0], [11.0]])
    s1, s2 = np.sqrt(2), np.sqrt(18)
    assert frechet_distance(one, other) == pytest.approx(49 + (s1 - s2) ** 2)
    many = gaussians(3, 20, 50)  # fewer samples than values
    assert frechet_distance(many, many) == pytest.approx(0, abs=1e-9 * (many * many).sum())
    assert frechet_distance(many, many + 3) == pytest.approx(9 * 50)
    # Features as networks give them: float32 and far from the origin.
    far = (gaussians(4, 100, 8) + 1e4).astype(np.float32)
    assert frechet_distance(far, far[::-1]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2"),
        (np.zeros((5, 3)), np.zeros((5, 4)), "cannot be compared"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "not finite"),
    ],
)
def test_frechet_refuses(ours: np.ndarray, theirs: np.ndarray, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        frechet_distance(ours, theirs)


def test_resize_and_crop() -> None:
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, None, :, None], (2, 30, 1, 3))
    half = resize(ramp, 15, 30)
    assert half.shape == (2, 15, 30, 3)
    inner = half[:, 2:-2, 2:-2].astype(int)
    assert np.abs(inner - ramp.reshape(2, 15, 2, 30, 2, 3).mean((2, 4))[:, 2:-2, 2:-2]).max() <= 2
    assert resize(ramp, 30, 60) is ramp
    assert crop_to(ramp, 10).shape == (2, 10, 10, 3)
    middle = crop_to(ramp, 30)
    assert np.array_equal(middle, ramp[:, :, 15:45])


def write_network(path: Path, shape: list[Any], uint8: bool = False, axes: tuple[int, ...] = (2, 3)) -> Path:
    """An ONNX network that gives the mean over the axes, of a uint8 or a float32 input."""
    onnx = pytest.importorskip("onnx", reason="writing a network needs onnx")
    from onnx import TensorProto, helper

    kind = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    source = helper.make_tensor_value_info("x", kind, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("ReduceMean", ["f", "axes"], ["y"], keepdims=1))
    constant = helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)
    graph = helper.make_graph(nodes, "g", [source], [result], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path


def test_onnx_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (11, 12, 10, 3), dtype=np.uint8)
    means = frames.mean(axis=(1, 2))
    raw = load_features(write_network(tmp_path / "u.onnx", ["n", 3, "h", "w"], uint8=True), video=False)
    assert raw(frames) == pytest.approx(means, rel=1e-5)
    scaled = load_features(write_network(tmp_path / "f.onnx", ["n", 3, "h", "w"]), video=False)
    assert scaled(frames) == pytest.approx((means - 127.5) / 127.5, abs=1e-5)
    fixed = load_features(write_network(tmp_path / "s.onnx", [4, 3, 6, 5]), video=False)
    assert fixed(frames).shape == (11, 3)
    assert np.abs(fixed(frames) - scaled(frames)).max() < 0.15  # means survive the scaling, roughly
    assert raw.name != scaled.name and raw.name.startswith("u.onnx ")

    clips = frames[:10].reshape(2, 5, 12, 10, 3)
    wanted = (clips.mean(axis=(1, 2, 3)) - 127.5) / 127.5
    first = write_network(tmp_path / "v.onnx", ["n", 3, "t", "h", "w"], axes=(2, 3, 4))
    assert load_features(first, video=True)(clips) == pytest.approx(wanted, abs=1e-5)
    second = write_network(tmp_path / "w.onnx", ["n", 5, 3, "h", "w"], axes=(1, 3, 4))
    assert load_features(second, video=True)(clips) == pytest.approx(wanted, abs=1e-5)


def test_features_are_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "i3d.pt").write_bytes(b"x")
    with pytest.raises(ArgumentError, match="is a pickle or TorchScript.*torch.onnx.export"):
        load_features(tmp_path / "i3d.pt", video=True)
    with pytest.raises(ArgumentError, match="no such file"):
        load_features(tmp_path / "none.onnx", video=True)
    with pytest.raises(ArgumentError, match="is a folder"):
        load_features(tmp_path, video=True)
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ArgumentError, match="cannot be loaded by ONNX Runtime"):
        load_features(tmp_path / "bad.onnx", video=False)
    pictures = write_network(tmp_path / "p.onnx", ["n", 3, "h", "w"])
    with pytest.raises(ArgumentError, match=r"one of uint8 or float32 \[n, 3, T, H, W\]"):
        load_features(pictures, video=True)
    flat = write_network(tmp_path / "flat.onnx", ["n", 3, "h", "w"], axes=(3,))
    with pytest.raises(ArgumentError, match=r"features are \[n, D\]"):
        load_features(flat, video=False)(np.zeros((2, 4, 4, 3), np.uint8))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with random weights and a tokenizer of letters."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
    units = letters + [f"{letter}</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({unit: i for i, unit in enumerate(units)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = sizes | {"vocab_size": len(units), "max_position_embeddings": 20}
    text |= {"bos_token_id": len(units) - 2, "eos_token_id": len(units) - 1, "pad_token_id": 0}
    vision = sizes | {"image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def test_clipsim_is_the_mean_cosine_of_the_frames(clip_folder: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from g4v.eval.clip_folder import ClipFolder, clipsim

    rng = np.random.default_rng(0)
    videos = [rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8) for count in (3, 5)]
    texts = ["a red ball", "two blue dogs run over the long green grass of the wide field"]  # one is cut
    found = clipsim(ClipFolder(clip_folder), videos, texts)
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip_folder)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ))  # fmt: skip
    for i, (video, text) in enumerate(zip(videos, texts, strict=True)):
        pixels = (torch.tensor(video).permute(0, 3, 1, 2) / 255 - mean) / std
        tokens = tokenizer([text], truncation=True, max_length=20, return_tensors="pt")
        with torch.inference_mode():
            out = model(**tokens, pixel_values=pixels)
        assert found[i] == pytest.approx(float((out.image_embeds @ out.text_embeds.T).mean()), abs=1e-5)


def test_clip_folders_are_refused_with_a_reason(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from g4v.eval.clip_folder import ClipFolder

    with pytest.raises(ArgumentError, match="config.json is missing"):
        ClipFolder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ArgumentError, match="cannot be loaded as a CLIP model"):
        ClipFolder(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Captions of three good clips, a broken and a missing one."""
    for number in range(3):
        write_clip(tmp_path / "clips" / f"video{number}.mp4", shade=60 * number, frames=6)
    (tmp_path / "clips" / "video3.mp4").write_bytes(b"no film" * 50)
    names = [f"video{i}" for i in range(5)]
    videos = [{"video_id": name, "split": "test"} for name in names]
    sentences = [{"video_id": n, "caption": f"{w} {n}", "sen_id": f"{w}{n}"} for n in names for w in "ab"]
    (tmp_path / "captions.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    return tmp_path


def test_command(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    fid = write_network(data / "fid.onnx", ["n", 3, "h", "w"])
    fvd = write_network(data / "fvd.onnx", ["n", 3, "t", "h", "w"], axes=(2, 3, 4))
    scripted = Scripted(monkeypatch, lambda *_: "")
    command: list[Any] = ["t2v", data / "captions.json", "--videos", data / "clips", "--fid-features", fid]
    command += ["--fvd-features", fvd, "--out", data / "run", "--json", data / "o.json", "--seed", 3]
    arguments = [str(a) for a in command]
    assert main(arguments) == 0
    assert scripted.made[:2] == [("a video0", 3), ("a video1", 4)]
    first = json.loads((data / "o.json").read_text())
    rows = {row["name"]: row for row in first["figures"]}
    assert rows["FID"]["count"] == 12 and rows["FVD"]["count"] == 3
    # The scripted videos are noise around gray, the clips one shade each.
    made = [scripted.generate(text, seed).frames for text, seed in scripted.made[:3]]
    ours = np.stack([(video.mean(axis=(0, 1, 2)) - 127.5) / 127.5 for video in made])
    theirs = np.stack([np.full(3, (60 * i - 127.5) / 127.5) for i in range(3)])
    assert rows["FVD"]["value"] == pytest.approx(frechet_distance(ours, theirs), rel=0.05)
    counts = {sort: entry["count"] for sort, entry in first["left_out"].items()}
    assert counts == {"missing clips": 1, "broken clips": 1}
    out = capsys.readouterr().out
    assert "biased upwards" in out and "12.91" not in out.split("published by others")[0]
    # Nothing is made twice; a damaged file is made again.
    count = len(scripted.made)
    kept = sorted((data / "run").iterdir())
    assert len(kept) == 4
    kept[0].write_bytes(kept[0].read_bytes()[:50])
    assert main(arguments) == 0 and len(scripted.made) == count + 1
    assert json.loads((data / "o.json").read_text())["figures"] == first["figures"]


def test_command_with_clip(data: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Scripted(monkeypatch, lambda *_: "")
    command = [
        "t2v",
        data / "captions.json",
        "--videos",
        data / "clips",
        "--json",
        data / "o.json",
        "--limit",
        3,
    ]
    assert main([str(a) for a in (*command, "--clip", clip_folder, "--fid-features", clip_folder)]) == 0
    rows = {row["name"].strip(): row for row in json.loads((data / "o.json").read_text())["figures"]}
    assert set(rows) == {"CLIPSIM", "of the real clips", "FID"}
    assert -1 <= rows["CLIPSIM"]["low"] <= rows["CLIPSIM"]["value"] <= rows["CLIPSIM"]["high"] <= 1


def test_nothing_to_measure(data: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["t2v", str(data / "captions.json")]) == 2
    assert "give --clip, --fid-features or --fvd-features" in capsys.readouterr().err
