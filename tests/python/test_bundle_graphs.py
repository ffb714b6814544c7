"""A graph reads the files that g4v.json lists for it and no others, whatever ONNX Runtime would open."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import g4v

GRAPH = "text_encoder.onnx"


class Copy:
    """A copy of a bundle whose text encoder is changed, with the manifest's digests made anew."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(bundle, folder)
        self.manifest = json.loads((folder / "g4v.json").read_text("utf-8"))
        self.model = onnx.load(folder / GRAPH)

    @property
    def variant(self) -> dict:
        return self.manifest["components"]["text_encoder"]["variants"][0]

    def add(self, name: str, content: bytes, listed: bool = True) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_bytes(content)
        if listed:
            self.list(name)

    def list(self, name: str) -> None:
        content = (self.folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self.manifest["files"][name] = {"bytes": len(content), "sha256": digest}
        if name not in self.variant["files"]:
            self.variant["files"].append(name)

    def load(self) -> g4v.Assistant:
        self.add(self.variant["graph"], self.model.SerializeToString())
        (self.folder / "g4v.json").write_text(json.dumps(self.manifest), "utf-8")
        assistant = g4v.load(self.folder, device="cpu", verify="full")
        assistant.wait_until_ready()
        return assistant

    def refuses(self, name: str, graph: str = GRAPH) -> None:
        with pytest.raises(g4v.BundleError) as caught:
            self.load()
        message = str(caught.value)
        assert (
            f'{graph} cannot be loaded: it reads the file "{name}", which g4v.json does not list for it'
            in message
        )
        assert "\n" not in message


@pytest.fixture
def copy(bundle_dir: Path, tmp_path: Path) -> Copy:
    return Copy(bundle_dir, tmp_path / "bundle")


def external(location: str, name: str = "outside") -> TensorProto:
    """A tensor whose 16 values are in the file `location`."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[16])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "64")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def read_it(copy: Copy, location: str) -> None:
    """The graph's output becomes what it was, plus a value that is read from `location`, times 0."""
    graph = copy.model.graph
    graph.initializer.append(external(location))
    graph.initializer.append(numpy_helper.from_array(np.zeros(16, np.float32), "zeros"))
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["inner" if name == output else name for name in node.output]
        node.input[:] = ["inner" if name == output else name for name in node.input]
    graph.node.append(helper.make_node("Mul", ["outside", "zeros"], ["nothing"]))
    graph.node.append(helper.make_node("ReduceSum", ["nothing"], ["zero"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["inner", "zero"], [output]))


VALUES = np.ones(16, np.float32).tobytes()


def test_a_listed_file_is_read(copy: Copy) -> None:
    copy.add("more.data", VALUES)
    read_it(copy, "more.data")
    assert copy.load().generate("red", steps=1).frames.size


def test_a_file_beside_a_graph_in_a_folder_is_read(copy: Copy) -> None:
    """A location starts from the graph's folder."""
    copy.variant["graph"] = "inner/text.onnx"
    copy.variant["files"][:] = ["inner/text.onnx"]
    copy.add("inner/more.data", VALUES)
    read_it(copy, "more.data")
    assert copy.load().generate("red", steps=1).frames.size
    copy.variant["files"].remove("inner/more.data")
    copy.add("more.data", VALUES)
    with pytest.raises(g4v.BundleError, match='text.onnx cannot be loaded: it reads the file "more.data"'):
        copy.load()


@pytest.mark.parametrize(
    "location",
    [
        "unlisted.data",
        "../outside.data",
        "./listed.data",
        "sub/../listed.data",
        "/etc/passwd",
        "*/_ORT_MEM_ADDR_/*",  # ONNX Runtime's sign for an address in memory
        "",
    ],
)
def test_other_files_are_refused(copy: Copy, location: str) -> None:
    copy.add("unlisted.data", VALUES, listed=False)
    copy.add("../outside.data", VALUES, listed=False)
    copy.add("listed.data", VALUES)
    read_it(copy, location)
    copy.refuses(location)


def test_a_file_of_another_component_is_refused(copy: Copy) -> None:
    copy.add("theirs.data", VALUES)
    copy.variant["files"].remove("theirs.data")
    read_it(copy, "theirs.data")
    copy.refuses("theirs.data")


def test_a_listed_link_is_followed(copy: Copy) -> None:
    copy.add("../outside.data", VALUES, listed=False)
    (copy.folder / "link.data").symlink_to(copy.folder.parent / "outside.data")
    copy.list("link.data")
    read_it(copy, "link.data")
    assert copy.load().generate("red", steps=1).frames.size


def branch(tensor: TensorProto) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, [16])
    return helper.make_graph([], "branch", [], [value], [tensor])


def test_a_subgraph_is_looked_through(copy: Copy) -> None:
    tensor = external("unlisted.data")
    node = helper.make_node("If", ["yes"], ["unused"], then_branch=branch(tensor), else_branch=branch(tensor))
    copy.model.graph.node.insert(0, node)
    copy.model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    copy.refuses("unlisted.data")


def test_a_function_is_looked_through(copy: Copy) -> None:
    constant = helper.make_node("Constant", [], ["y"], value=external("unlisted.data"))
    opsets = [helper.make_opsetid("", 17)]
    copy.model.functions.append(helper.make_function("mine", "F", [], ["y"], [constant], opsets))
    copy.refuses("unlisted.data")


def test_sparse_tensors_are_looked_through(copy: Copy) -> None:
    sparse = copy.model.graph.sparse_initializer.add(dims=[64])
    sparse.values.CopyFrom(external("unlisted.data"))
    copy.refuses("unlisted.data")


def test_an_engine_that_is_not_listed_is_refused(copy: Copy) -> None:
    graph = copy.model.graph
    node = helper.make_node(
        "EPContext",
        [value.name for value in graph.input],
        [value.name for value in graph.output],
        domain="com.microsoft",
        embed_mode=0,
        ep_cache_context="../other.engine",
    )
    del graph.node[:]
    graph.node.append(node)
    copy.refuses("../other.engine")


def test_a_graph_of_another_format_is_refused(copy: Copy) -> None:
    """ONNX Runtime knows its own format by the name of the file."""
    copy.variant["graph"] = "text_encoder.ort"
    with pytest.raises(g4v.BundleError, match="text_encoder.ort cannot be loaded: it is no .onnx file"):
        copy.load()


@pytest.mark.parametrize("size", [1, 40, -40, -1])
def test_a_graph_that_is_cut_is_refused(copy: Copy, size: int) -> None:
    content = copy.model.SerializeToString()[:size]
    copy.variant["graph"] = "cut.onnx"
    copy.add("cut.onnx", content)
    (copy.folder / "g4v.json").write_text(json.dumps(copy.manifest), "utf-8")
    with pytest.raises(
        g4v.BundleError, match="cut.onnx cannot be loaded: it is no ONNX file, or a damaged one"
    ):
        g4v.load(copy.folder, device="cpu").wait_until_ready()


class TestHubCache:
    """A bundle as a hub's cache has it: snapshots/REVISION/FILE -> ../../blobs/SHA."""

    @staticmethod
    def cache(bundle: Path, root: Path, files: str = "*", sub: str = "../../blobs") -> Path:
        """A snapshot of the bundle in which the files of the pattern are links."""
        snapshot, blobs = root / "snapshots" / "abc123", root / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for file in bundle.iterdir():
            data = file.read_bytes()
            if not file.match(files):
                (snapshot / file.name).write_bytes(data)
                continue
            blob = hashlib.sha256(data).hexdigest()
            (blobs / blob).write_bytes(data)
            (snapshot / file.name).symlink_to(f"{sub}/{blob}")
        return snapshot

    TINY = Path(g4v.__file__).parent / "bundles" / "tiny"

    @staticmethod
    def talk(place: Path, verify: str) -> list[g4v.Reply]:
        """What the bundle answers to a question about a video, and to a request for one."""
        assistant = g4v.load(place, device="cpu", verify=verify)
        assistant.wait_until_ready()
        pixels = np.full((8, 64, 64, 3), 200, np.uint8)
        chat = assistant.chat(seed=0, steps=1)
        return [chat.ask("What moves here?", video=pixels), chat.ask("Show me a red circle growing")]

    @pytest.fixture(scope="class")
    def said(self) -> list[g4v.Reply]:
        """What `tiny` answers from its own folder, of plain files."""
        replies = self.talk(self.TINY, "full")
        assert replies[1].videos
        return replies

    # ONNX Runtime by itself refuses the second in every release, and all of them in 1.24.1.
    @pytest.mark.parametrize(
        "files",
        ["*", "*.data", *(pytest.param(f, marks=pytest.mark.slow) for f in ("*.onnx", "g4v.json", "unet.*"))],
    )
    @pytest.mark.parametrize("verify", ["full", pytest.param("size", marks=pytest.mark.slow)])
    def test_talks_and_makes_videos(
        self, said: list[g4v.Reply], tmp_path: Path, files: str, verify: str
    ) -> None:
        snapshot = self.cache(self.TINY, tmp_path / "models--me--tiny", files)
        for ours, theirs in zip(self.talk(snapshot, verify), said, strict=True):
            assert ours.text == theirs.text and len(ours.videos) == len(theirs.videos)
            for one, other in zip(ours.videos, theirs.videos, strict=True):
                np.testing.assert_array_equal(one.frames, other.frames)

    def test_in_a_folder_of_any_name_and_by_a_link_to_it(self, bundle_dir: Path, tmp_path: Path) -> None:
        odd = tmp_path / os.fsdecode(b"caf\xe9 a b")
        snapshot = self.cache(bundle_dir, odd / "models--me--b")
        (tmp_path / "link").symlink_to(snapshot)
        assert g4v.load(tmp_path / "link", verify="full").generate("a b", steps=1).frames.size

    def test_a_graph_still_reads_no_file_that_is_not_listed(self, copy: Copy, tmp_path: Path) -> None:
        read_it(copy, "secret.data")
        copy.add("secret.data", bytes(64), listed=False)
        copy.refuses("secret.data")
        (copy.folder / "secret.data").rename(tmp_path / "elsewhere")
        (copy.folder / "secret.data").symlink_to(tmp_path / "elsewhere")
        copy.refuses("secret.data")
        copy.list("secret.data")
        copy.load()
