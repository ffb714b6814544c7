"""Keeps what ptxas reports of each CUDA kernel, and finds those that spill registers or serialize wgmma.

Two steps of the build call it:

    resources.py compile LOGS COMMAND...    runs the compiler; its ptxas lines go to a file in LOGS
    resources.py collect LOGS OUT.json      writes one list of all files in LOGS; fails where a kernel spills
                                            or ptxas serializes its wgmma instructions
    resources.py collect-and-warn LOGS OUT.json     the same, but such a kernel is only reported

OUT.json is a list of {kernel, architecture, registers, spill_bytes, stack_bytes, shared_bytes}, with
"wgmma_serialized" where ptxas gives a reason. The shared memory is the static part; the kernels ask for
theirs at launch (kernels/cuda/geometry.h).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
# Where ptxas cannot keep wgmma asynchronous it waits on its own account: right, but slow.
SERIALIZED = re.compile(r"\(C75\d\d\) (.*?)(?: (?:for|in) (?:the )?function '(\w+)')?$")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")
# A mangled name: TensorCoreKernelINS1_4HalfELi64EE, PlainKernelIfLi32EE, MergeKernelIfE.
MANGLED = re.compile(
    r"(\w*?)(TensorCore|Warpgroup|Plain|Merge)Kernel(?:I(?:\w*?)(Half|BFloat16)|If)E?(?:Li(\d+)E)?"
)


def readable(mangled: str) -> str:
    match = MANGLED.search(mangled)
    if not match:
        return mangled
    kind, element, head_size = match.group(2), match.group(3) or "float", match.group(4)
    return f"{kind}Kernel<{element}{', ' + head_size if head_size else ''}>"


def parse(log: str) -> list[dict[str, object]]:
    """One entry for each kernel and architecture in ptxas's words."""
    found: list[dict[str, object]] = []
    reasons: dict[str, str] = {}
    for line in log.splitlines():
        if entry := ENTRY.search(line):
            found.append({"kernel": readable(entry.group(1)), "architecture": entry.group(2)})
        elif (stack := STACK.search(line)) and found:
            found[-1]["stack_bytes"] = int(stack.group(1))
            found[-1]["spill_bytes"] = int(stack.group(2)) + int(stack.group(3))
        elif (used := USED.search(line)) and found:
            found[-1]["registers"] = int(used.group(1))
            found[-1]["shared_bytes"] = int(used.group(2) or 0)
        elif serialized := SERIALIZED.search(line.rstrip()):
            reasons[readable(serialized.group(2) or "")] = serialized.group(1)
    for kernel in found:
        # A report that names no function is held against every kernel of the file.
        if reason := reasons.get(str(kernel["kernel"])) or reasons.get(""):
            kernel["wgmma_serialized"] = reason
        if not {"registers", "spill_bytes"} <= kernel.keys():
            raise ValueError(f"ptxas said nothing about the registers of {kernel['kernel']}")
    return found


def compile_and_keep(logs: Path, command: list[str]) -> int:
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    lines = result.stderr.splitlines(keepends=True)
    ours = re.compile(r"ptxas info|Function properties for|bytes stack frame|bytes gmem|bytes cmem|^\s*$")
    sys.stderr.writelines(line for line in lines if not ours.search(line))
    if result.returncode == 0 and "-o" in command and ENTRY.search(result.stderr):
        output = command[command.index("-o") + 1]
        logs.mkdir(parents=True, exist_ok=True)
        name = f"{Path(output).stem}-{hashlib.sha256(output.encode()).hexdigest()[:8]}.log"
        partial = logs / f"{name}.{os.getpid()}.tmp"
        partial.write_text(result.stderr, encoding="utf-8")
        partial.replace(logs / name)
    return result.returncode


def collect(logs: Path, out: Path) -> int:
    kernels = [
        kernel for log in sorted(logs.glob("*.log")) for kernel in parse(log.read_text(encoding="utf-8"))
    ]
    if not kernels:
        print(f"no ptxas reports in {logs}", file=sys.stderr)
        return 1
    kernels.sort(key=lambda kernel: (str(kernel["kernel"]), str(kernel["architecture"])))
    partial = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    partial.write_text(json.dumps(kernels, indent=1) + "\n", encoding="utf-8")
    partial.replace(out)
    spilling = [kernel for kernel in kernels if kernel["spill_bytes"] or kernel["stack_bytes"]]
    for kernel in spilling:
        print(
            f"{kernel['kernel']} for sm_{kernel['architecture']} spills: {kernel['spill_bytes']} bytes, "
            f"stack {kernel['stack_bytes']} bytes, {kernel['registers']} registers",
            file=sys.stderr,
        )
    serialized = [kernel for kernel in kernels if "wgmma_serialized" in kernel]
    for kernel in serialized:
        print(f"{kernel['kernel']}: {kernel['wgmma_serialized']}", file=sys.stderr)
    return 1 if spilling or serialized else 0


def main(arguments: list[str]) -> int:
    if len(arguments) >= 3 and arguments[0] == "compile":
        return compile_and_keep(Path(arguments[1]), arguments[2:])
    if len(arguments) == 3 and arguments[0] in ("collect", "collect-and-warn"):
        failed = collect(Path(arguments[1]), Path(arguments[2]))
        return failed if arguments[0] == "collect" else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
