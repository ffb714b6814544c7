"""Options of building engines, and which of them each library has.

Not offered, since no bundle could use it yet: version-compatible engines (TensorRT for RTX has none; those
of TensorRT contain host code, which ONNX Runtime's provider does not allow), and engines without weights.
TensorRT for RTX strips no weights where there is no GPU, and its provider refits only engines that it has
built itself. TensorRT's provider refits from an ONNX file, but writes the whole engine of a separate file to
the current folder, and reads whatever it finds there under that name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.export.components.precision import ENGINE_TARGETS, RTX, TENSORRT, Precisions
from g4v.export.errors import ExportError

# Of the GPUs that ONNX Runtime's plugin for TensorRT for RTX takes (release 0.5: 8.6, 8.9, 12.0 and later),
# those that the library can be told to build for. It also knows 7.5 and 8.0, where the plugin runs nothing.
RTX_CAPABILITIES = ("8.6", "8.9", "12.0", "12.1")
# TensorRT builds for the GPU at hand, or for that generation and all later ones.
AMPERE_PLUS = "8.0+"
_FIRST_FP8 = "8.9"  # the first compute capability with FP8 products
_LEVELS = range(6)


@dataclass(frozen=True)
class EngineOptions:
    """How engines are built; None leaves the library's default.

    capabilities: compute capabilities of the GPUs to build for, such as "8.9"; by default all that the
        library supports. "8.0+" is for TensorRT.
    optimization_level: of the builder, 0 to 5; a higher one takes longer to build and may run faster.
    workspace: largest scratch memory of a layer on the GPU, MiB.
    timing_cache: file in which TensorRT keeps its measurements.
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
        """Returns the options of a command line; arguments as in the class.

        ExportError: a value that no library takes.
        """
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
        """Raises ExportError for an option that none of the targets has, or a timing cache that cannot be
        written."""
        given = {
            "--builder-optimization-level": self.optimization_level,
            "--workspace": self.workspace,
        }
        for option, value in given.items():
            if value is not None and not set(ENGINE_TARGETS) & set(targets):
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
        """Raises ExportError where a component is in fp8 and a GPU to build for has no FP8 products."""
        old = [word for word in self.capabilities if _number(word) < _number(_FIRST_FP8)]
        for component, variants in precisions.items():
            for target, precision in variants.items():
                if precision == "fp8" and set(old) & set(self.capabilities_of(target)):
                    raise ExportError(
                        f"{component} in fp8 needs GPUs of compute capability {_FIRST_FP8} or later: "
                        f"--compute-capability {old[0]} does not go with it"
                    )

    def capabilities_of(self, target: str) -> tuple[str, ...]:
        """Returns the compute capabilities to build for; empty for the library's default."""
        return tuple(word for word in self.capabilities if (word == AMPERE_PLUS) == (target == TENSORRT))

    def describe(self, target: str) -> dict[str, Any]:
        """Returns the options that were given for a target, as the manifest records them."""
        values: dict[str, Any] = {
            "compute_capability": list(self.capabilities_of(target)),
            "builder_optimization_level": self.optimization_level,
            "workspace_mib": self.workspace,
        }
        return {key: value for key, value in values.items() if value not in (None, [])}

    def apply(self, trt: Any, config: Any, target: str) -> None:
        """Sets these options, except for the timing cache, on a builder configuration.

        trt: the module tensorrt or tensorrt_rtx. config: its IBuilderConfig. target: "tensorrt-rtx" or
        "tensorrt".

        ExportError: this version of the library cannot build for a compute capability.
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
