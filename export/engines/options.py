"""What may be chosen of the building of engines, and which of it each library can do.

Not offered, since no bundle could use it yet: version-compatible engines (TensorRT for RTX has none; those of
TensorRT bring host code, which ONNX Runtime's provider does not allow) and engines without weights. TensorRT
for RTX strips none where there is no GPU, and its provider refits only those that it has built itself. That
of TensorRT refits from an ONNX file, but writes the whole engine of a separate file to the current folder,
and takes what it finds there under that name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.export.errors import ExportError
from g4v.export.plan.precision import Precisions

RTX, TENSORRT = "tensorrt-rtx", "tensorrt"
# Of the GPUs that ONNX Runtime's plugin for TensorRT for RTX takes (release 0.5: 8.6, 8.9, 12.0 and later),
# those that the library can be told to build for. It also knows 7.5 and 8.0, where the plugin runs nothing.
RTX_CAPABILITIES = ("8.6", "8.9", "12.0", "12.1")
# TensorRT builds for the GPU at hand, or for that generation and all later ones.
AMPERE_PLUS = "8.0+"
_FIRST_FP8 = "8.9"  # with FP8 products
_LEVELS = range(6)


@dataclass(frozen=True)
class EngineOptions:
    """capabilities: the compute capabilities to build for, such as "8.9", by default all that the library
    takes; "8.0+" is for TensorRT. optimization_level: of the builder, 0 to 5; more takes longer to build.
    workspace: MiB of scratch memory that a layer may use at most. timing_cache: file that TensorRT keeps its
    measurements in.
    """

    capabilities: tuple[str, ...] = ()
    optimization_level: int | None = None
    workspace: int | None = None
    timing_cache: Path | None = None

    @classmethod
    def parse(
        cls,
        capabilities: Sequence[str] | None = None,
        optimization_level: int | None = None,
        workspace: int | None = None,
        timing_cache: str | None = None,
    ) -> EngineOptions:
        """From the words of a command line. ExportError for a value that no library takes."""
        for word in capabilities or ():
            if word != AMPERE_PLUS and word not in RTX_CAPABILITIES:
                raise ExportError(
                    f"--compute-capability {word}: one of {', '.join(RTX_CAPABILITIES)} for {RTX} (what ONNX "
                    f"Runtime runs its engines on), or {AMPERE_PLUS} for {TENSORRT}"
                )
        if optimization_level is not None and optimization_level not in _LEVELS:
            raise ExportError(f"--builder-optimization-level must be from 0 to 5, not {optimization_level}")
        if workspace is not None and workspace < 1:
            raise ExportError(f"--workspace must be at least 1 (MiB), not {workspace}")
        cache = None if timing_cache is None else Path(timing_cache).absolute()
        return cls(tuple(sorted(set(capabilities or ()), key=_number)), optimization_level, workspace, cache)

    def check(self, targets: Collection[str]) -> None:
        """ExportError for an option that none of the targets has, before any work."""
        given = {
            "--builder-optimization-level": self.optimization_level,
            "--workspace": self.workspace,
        }
        for option, value in given.items():
            if value is not None and not {RTX, TENSORRT} & set(targets):
                raise ExportError(f"{option} is for engines: it needs --target {RTX} or {TENSORRT}")
        for word in self.capabilities:
            needed = TENSORRT if word == AMPERE_PLUS else RTX
            if needed not in targets:
                raise ExportError(f"--compute-capability {word} needs --target {needed}")
        if self.timing_cache is None:
            return
        if TENSORRT not in targets:
            raise ExportError(
                f"--timing-cache needs --target {TENSORRT}: TensorRT for RTX has none, since it measures "
                "nothing before it runs"
            )
        folder = self.timing_cache.parent
        if self.timing_cache.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ExportError(f"{self.timing_cache}: no timing cache can be written there")

    def check_precisions(self, precisions: Precisions) -> None:
        """ExportError for GPUs that have no FP8 products, which a component needs."""
        old = [word for word in self.capabilities if _number(word) < _number(_FIRST_FP8)]
        for component, variants in precisions.items():
            for target, precision in variants.items():
                if precision == "fp8" and set(old) & set(self.capabilities_of(target)):
                    raise ExportError(
                        f"{component} in fp8 needs GPUs of compute capability {_FIRST_FP8} or later: "
                        f"--compute-capability {old[0]} does not go with it"
                    )

    def capabilities_of(self, target: str) -> tuple[str, ...]:
        """Those that are named for a target; none: the library's own."""
        return tuple(word for word in self.capabilities if (word == AMPERE_PLUS) == (target == TENSORRT))

    def describe(self, target: str) -> dict[str, Any]:
        """What the manifest says of the engines of a target: the options that were given for it."""
        values: dict[str, Any] = {
            "compute_capability": list(self.capabilities_of(target)),
            "builder_optimization_level": self.optimization_level,
            "workspace_mib": self.workspace,
        }
        return {key: value for key, value in values.items() if value not in (None, [])}

    def apply(self, trt: Any, config: Any, target: str) -> None:
        """Sets up a builder's configuration, but for the timing cache. ExportError for a compute capability
        that this version of the library does not know.
        """
        named = self.capabilities_of(target)
        if named == (AMPERE_PLUS,):
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        elif named:
            config.num_compute_capabilities = len(named)
            for index, word in enumerate(named):
                known = getattr(trt.ComputeCapability, f"SM{word.replace('.', '')}", None)
                if known is None or not config.set_compute_capability(known, index):
                    raise ExportError(f"{trt.__name__} {trt.__version__} cannot build for {word}")
        if self.optimization_level is not None:
            config.builder_optimization_level = self.optimization_level
        if self.workspace is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self.workspace << 20)


NO_OPTIONS = EngineOptions()


def _number(capability: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", capability)))
