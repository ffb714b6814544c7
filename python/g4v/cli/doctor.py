"""`g4v doctor`: what works on this machine, what does not, and why."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .common import print_json

_FEATURES = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
)


@dataclass(frozen=True)
class Check:
    """One line of the report. state: "ok", "no" (does not work here, and is not required) or "fail"."""

    name: str
    state: str
    detail: str


def add_parser(commands: Any) -> None:
    """Adds `g4v doctor` to the subcommands of the parser."""
    parser = commands.add_parser(
        "doctor",
        help="say which devices, providers and encoders work here, and why not",
        description="Checks what g4v needs on this machine; exit code 1 where a necessary part is missing.",
        epilog="examples:\n  g4v doctor\n  g4v doctor --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the checks as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `g4v doctor`; returns its exit code. Raises `g4v.Error`."""
    checks = [
        check
        for make in (
            _python,
            _core,
            _onnxruntime_packages,
            _onnxruntime,
            _devices,
            _cpu,
            _kernels,
            _pyav,
            _bundles,
        )
        for check in _attempt(make)
    ]
    failed = any(check.state == "fail" for check in checks)
    if arguments.json:
        print_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            print(f"{check.state:4} {check.name}: {check.detail}")
    return 1 if failed else 0


def _attempt(make: Callable[[], list[Check]]) -> list[Check]:
    try:
        return make()
    except Exception as error:  # the report goes on with the next check
        name = make.__name__.strip("_").replace("_", " ")
        return [Check(name, "fail", " ".join(str(error).split()) or type(error).__name__)]


def _python() -> list[Check]:
    from .. import __version__

    return [
        Check("g4v", "ok", f"{__version__} at {Path(__file__).parents[1]}"),
        Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
    ]


def _core() -> list[Check]:
    from .._runtime import import_core

    return [Check("core", "ok", f"{import_core().__version__}")]


def _onnxruntime_packages() -> list[Check]:
    """Both flavours install into one folder, so the one installed last has overwritten part of the other."""
    found = {}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) == 2:
        fix = "pip uninstall -y onnxruntime && pip install --force-reinstall --no-deps onnxruntime-gpu"
        return [Check("onnxruntime packages", "fail", f"{listed} overwrite each other; keep one: {fix}")]
    if not found:
        return [
            Check("onnxruntime packages", "no", "none is installed; $G4V_ONNXRUNTIME or the system's is used")
        ]
    return [Check("onnxruntime packages", "ok", listed)]


def _onnxruntime() -> list[Check]:
    from .._runtime import import_core, onnxruntime_directories

    info = import_core().library_info(directories=onnxruntime_directories())
    return [
        Check("onnxruntime", "ok", f"{info['version']} at {info['path']}"),
        Check("providers", "ok", ", ".join(info["providers"])),
    ]


def _devices() -> list[Check]:
    from .._runtime import import_core, onnxruntime_directories, preload_cuda, provider_directories
    from ..errors import Error

    core, directories = import_core(), onnxruntime_directories()
    missing = preload_cuda()
    checks = []
    for device in ("cpu", "cuda"):
        try:
            core.probe_device(device, directories=directories)
            checks.append(Check(f"device {device}", "ok", "a session runs on it"))
        except Error as error:
            hint = f"; missing: {'; '.join(missing)}" if device == "cuda" and missing else ""
            checks.append(Check(f"device {device}", "fail" if device == "cpu" else "no", f"{error}{hint}"))
    device, why = core.resolve_device("auto", directories=directories)
    checks.append(Check("device auto", "ok", f"is {device}: {why}" if why else f"is {device}"))
    targets = {"tensorrt-rtx", "tensorrt"}
    _, usable, refused = core.resolve_targets(
        "auto", targets, provider_directories(), directories=directories
    )
    for target in sorted(targets):
        works = target in dict(usable)
        checks.append(
            Check(f"engines {target}", "ok" if works else "no", "can be run" if works else refused[target])
        )
    return checks


def _cpu() -> list[Check]:
    from .._runtime import import_core

    flags: set[str] = set()
    try:
        text = Path("/proc/cpuinfo").read_text()
        flags = set(
            next(line for line in text.splitlines() if line.startswith(("flags", "Features"))).split()
        )
    except (OSError, StopIteration):
        pass
    features = " ".join(name for name in _FEATURES if name in flags) or "unknown features"
    return [Check("cpu", "ok", f"{import_core().usable_cores()} usable cores; {features}")]


def _kernels() -> list[Check]:
    """g4v's own kernels: the instruction set of those for the CPU, and whether those for GPUs can be used."""
    from .._runtime import import_core
    from ..errors import ArgumentError

    core = import_core()
    every = ", ".join(core.kernel_versions(all=True))
    try:
        used = core.kernel_versions()[0]
        forced = ", as G4V_CPU says" if os.environ.get("G4V_CPU") else ""
        checks = [Check("cpu kernels", "ok", f"{used} of {every}{forced}")]
    except ArgumentError as error:
        checks = [Check("cpu kernels", "fail", str(error))]
    cuda = core.cuda_kernels()
    if cuda["usable"]:
        names = ", ".join(device["name"] for device in cuda["devices"] if device["compiled_for"])
        return [*checks, Check("cuda kernels", "ok", f"for {cuda['architectures']}; on {names}")]
    return [*checks, Check("cuda kernels", "no", cuda["reason"])]


def _pyav() -> list[Check]:
    import av

    from .._encode import available_encoders

    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    checks = [Check("pyav", "ok", f"{av.__version__} (libavcodec {ffmpeg})")]
    for suffix, encoder in available_encoders().items():
        if encoder:
            checks.append(Check(f"write {suffix}", "ok", f"encoder {encoder}"))
        else:
            checks.append(Check(f"write {suffix}", "no", "this PyAV has no encoder for it"))
    return checks


def _bundles() -> list[Check]:
    from .. import load
    from .._runtime import embedded_bundles
    from ..errors import Error

    names = embedded_bundles()
    if not names:
        return [
            Check("assistant", "fail", "this g4v was installed without its embedded bundle; reinstall it")
        ]
    checks = []
    for name in names:
        try:
            assistant = load(name)
            checks.append(Check(f"assistant {name}", "ok", f"loads on {assistant.device}"))
        except Error as error:
            checks.append(Check(f"assistant {name}", "fail", str(error)))
    return checks
