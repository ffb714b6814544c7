"""Builds engines of TensorRT and TensorRT for RTX, and the ONNX files through which ONNX Runtime runs them.

An engine is built from a graph of standard operators (g4v.export.graph.standard). TensorRT for RTX does so on
any machine, with or without a GPU, for all the architectures that it names; TensorRT builds on the GPU that
the engine is for. The shapes that an engine takes are those of its profile.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from g4v._files import write_bytes
from g4v.export.components.precision import RTX, TENSORRT
from g4v.export.components.profile import ShapeProfile
from g4v.export.engines.options import NO_OPTIONS, EngineOptions
from g4v.export.errors import ExportError
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.graph.operators import IR_VERSION, MICROSOFT, ONNX_OPSET


@dataclass(frozen=True)
class EngineTarget:
    """A library that builds engines, and the provider that runs them.

    name: of the target.
    module: Python package that builds engines; only what both packages have is used.
    extra: of g4v's installation that brings the package.
    major: major version of the package, which the provider's own copy must share.
    provider: execution provider of ONNX Runtime that runs the engines.
    architectures: compute capabilities on which the engines run there by default, such as 86 for 8.6; "+"
        adds all later ones. Empty: that of the GPU they are built on, without which nothing is built.
    fp8_architectures: the same for graphs in FP8.
    """

    name: str
    module: str
    extra: str
    major: str
    provider: str
    architectures: str
    fp8_architectures: str


ENGINES = {
    target.name: target
    for target in (
        EngineTarget(
            RTX,
            "tensorrt_rtx",
            "tensorrt-rtx",
            "1",
            "NvTensorRTRTXExecutionProvider",
            "86,89,120+",  # the library's engines also run on 80, on which the provider does not
            "89,120+",
        ),
        EngineTarget(TENSORRT, "tensorrt", "tensorrt", "10", "TensorrtExecutionProvider", "", ""),
    )
}


def load_library(target: EngineTarget) -> Any:
    """Imports and returns the module that builds engines for a target.

    ExportError, with what to install: it is missing, does not load, or is of another version than the
    provider that runs the engines.
    """
    install = f'pip install "g4v[{target.extra}]"'
    try:
        module = importlib.import_module(target.module)
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ExportError(
            f"target {target.name} needs the package {target.module}: {install} ({reason})"
        ) from None
    if module.__version__.split(".")[0] != target.major:
        raise ExportError(
            f"target {target.name} needs {target.module} {target.major}, whose engines ONNX Runtime runs, "
            f"not {module.__version__}: {install}"
        )
    return module


def build_engine(
    folder: Path, stem: str, profile: ShapeProfile, target: EngineTarget, options: EngineOptions = NO_OPTIONS
) -> list[str]:
    """Builds an engine from `folder`/`stem`.onnx and returns the names of its two files.

    The engine is `stem`.engine. `stem`.onnx becomes an ONNX file that runs it; the graph's data file is
    removed. options.timing_cache is read if it exists, and written anew.

    profile: sizes of every dynamic dimension of the inputs.

    ExportError: TensorRT does not know an operator (the message names it), a dynamic dimension has no range,
    the timing cache is of another GPU or version, or the build fails, such as for too small a workspace.
    """
    trt = load_library(target)
    path = folder / f"{stem}.onnx"
    log = _Log(trt)
    try:
        builder = trt.Builder(log.logger)
    except TypeError:  # pybind's word for a builder that is null, such as that of TensorRT without a GPU
        raise ExportError(f"{stem}: {target.module} cannot build engines here: {log.last}") from None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse_from_file(str(path)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        reasons = "; ".join(f"{e.node_operator()} {e.node_name()}: {e.desc()}" for e in errors)
        raise ExportError(f"{stem}: TensorRT cannot read the graph: {reasons}")
    config = builder.create_builder_config()
    config.add_optimization_profile(_shapes(builder, path, profile))
    options.apply(trt, config, target.name)
    timings = None
    if options.timing_cache is not None and target.name == TENSORRT:
        timings = _TimingCache(options.timing_cache, config)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(f"{stem}: TensorRT cannot build the engine: {log.last}")
    if timings is not None:
        timings.save()
    graph = OnnxFile(path).graph
    (folder / f"{stem}.engine").write_bytes(engine)
    write_context(graph, folder, stem, trt.__version__, target, options)
    (folder / f"{stem}.data").unlink()
    return [f"{stem}.onnx", f"{stem}.engine"]


class _Log:
    """Keeps TensorRT's last error message, which says why a call fails that returns nothing."""

    def __init__(self, trt: Any) -> None:
        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self, keep: Callable[[str], None]) -> None:
                trt.ILogger.__init__(self)
                self.keep = keep

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    self.keep(message)

        self.last = "no reason given"
        self.logger = Logger(self._keep)

    def _keep(self, message: str) -> None:
        self.last = " ".join(message.split())


class _TimingCache:
    """TensorRT's measurements in a file: later builds on the same GPU reuse them."""

    def __init__(self, path: Path, config: Any) -> None:
        self.path = path
        before = path.read_bytes() if path.exists() else b""
        self.cache = config.create_timing_cache(before)
        if self.cache is None or not config.set_timing_cache(self.cache, False):
            raise ExportError(
                f"{path}: is no timing cache of this GPU and this version of TensorRT; name another file"
            )

    def save(self) -> None:
        write_bytes(self.path, bytes(self.cache.serialize()), ExportError)


def _shapes(builder: Any, path: Path, profile: ShapeProfile) -> Any:
    """The optimisation profile of all inputs of a graph."""
    result = builder.create_optimization_profile()
    for value in OnnxFile(path).graph.input:
        sizes: list[tuple[int, int, int]] = []
        for dimension in value.type.tensor_type.shape.dim:
            if not dimension.dim_param:
                sizes.append((dimension.dim_value,) * 3)
            elif dimension.dim_param in profile:
                size = profile[dimension.dim_param]
                sizes.append((size.min, size.opt, size.max))
            else:
                raise ExportError(f"{path.name}: no profile for {dimension.dim_param!r} of {value.name!r}")
        result.set_shape(value.name, *zip(*sizes, strict=True))
    return result


def write_context(
    graph: onnx.GraphProto,
    folder: Path,
    stem: str,
    version: str,
    target: EngineTarget,
    options: EngineOptions = NO_OPTIONS,
) -> None:
    """Writes `folder`/`stem`.onnx with one EPContext node that runs `stem`.engine.

    graph: the graph that the engine was built from; the node has its inputs and outputs.
    version: of the library that built the engine.
    """
    fp8 = any(tensor.data_type == TensorProto.FLOAT8E4M3FN for tensor in graph.initializer)
    default = target.fp8_architectures if fp8 else target.architectures
    named = options.capabilities_of(target.name)
    node = helper.make_node(
        "EPContext",
        [value.name for value in graph.input],
        [value.name for value in graph.output],
        name=stem,
        domain=MICROSOFT,
        main_context=1,
        embed_mode=0,
        ep_cache_context=f"{stem}.engine",
        source=target.provider,
        ep_sdk_version=version,
        hardware_architecture=",".join(named).replace(".", "") or default,
        partition_name=stem,
        onnx_model_filename=f"{stem}.onnx",
    )
    model = helper.make_model(
        helper.make_graph([node], stem, graph.input, graph.output),
        producer_name="g4v",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid(MICROSOFT, 1)],
    )
    (folder / f"{stem}.onnx").write_bytes(model.SerializeToString(deterministic=True))
