"""What does `g4v serve` cost beside the Python API?

    python benchmarks/serving.py [--bundle tiny] [--runs 200] [--threads N] [--json FILE]

Timed: from the start of the process to the first 200 of /ready; and, interleaved in one run, the first token
of the same question through the Python API in this process and through HTTP (a stream, over one connection)
from a server in another. Each question has a system text of its own, so that no cache of chats answers. Not
timed: videos. Told too: memory at rest (PSS) and threads of the server after /ready. The last line is JSON.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import g4v
from g4v._console import machine
from g4v._files import write_json

QUESTION = "Hello"


def first_token_of_the_api(assistant: g4v.Assistant, number: int) -> float:
    """Milliseconds to the first text; the answer is read to its end."""
    began = time.perf_counter()
    events = assistant.chat(system=f"Talk {number}.").send(QUESTION)
    next(events)
    spent = time.perf_counter() - began
    for _ in events:
        pass
    return 1e3 * spent


def first_token_of_the_server(connection: http.client.HTTPConnection, number: int) -> float:
    """The same through HTTP: until the line of the first text has come."""
    messages = [{"role": "system", "content": f"Talk {number}."}, {"role": "user", "content": QUESTION}]
    body = json.dumps({"messages": messages, "stream": True, "temperature": 0})
    began = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    while b'"delta":{"content":' not in response.readline():
        pass
    spent = time.perf_counter() - began
    response.read()
    return 1e3 * spent


def start(arguments: argparse.Namespace, folder: str) -> tuple[subprocess.Popen[str], int, float]:
    """A server, its port, and the seconds to its first 200 of /ready."""
    command = [sys.executable, "-m", "g4v", "serve", "--port", "0", "--media-dir", folder]
    command += ["--bundle", arguments.bundle]
    command += ["--threads", str(arguments.threads)] if arguments.threads else []
    began = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline().split(":")[2].split(" ")[0])
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/ready")
        if connection.getresponse().status == 200:
            return server, port, time.perf_counter() - began
        time.sleep(0.002)


def pss(process: int) -> int:
    """Bytes of memory, shared pages divided among those who share them."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text("ascii")
    return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        starts = []
        for _ in range(5):
            server, port, seconds = start(arguments, folder)
            starts.append(seconds)
            memory, threads = pss(server.pid), len(os.listdir(f"/proc/{server.pid}/task"))
            if len(starts) < 5:
                server.terminate()
                server.wait()
        assistant = g4v.load(arguments.bundle, threads=arguments.threads)
        assistant.wait_until_ready()
        connection = http.client.HTTPConnection("127.0.0.1", port)
        found: dict[str, list[float]] = {"api": [], "http": []}
        ways: dict[str, Callable[[int], float]] = {
            "api": lambda number: first_token_of_the_api(assistant, number),
            "http": lambda number: first_token_of_the_server(connection, number),
        }
        for number in range(arguments.runs + 5):
            for name, way in ways.items():
                milliseconds = way(number)
                if number >= 5:
                    found[name].append(milliseconds)
        server.terminate()
        server.wait()
    summary: dict[str, Any] = {
        "bundle": arguments.bundle,
        "runs": arguments.runs,
        "start_to_ready_s": statistics.median(starts),
        "pss_bytes": memory,
        "threads": threads,
    }
    for name, values in found.items():
        summary[f"first_token_{name}_ms"] = {
            "p50": statistics.median(values),
            "p95": statistics.quantiles(values, n=20)[-1],
        }
    for name, value in summary.items():
        print(f"{name:22} {value}")
    summary |= {"machine": machine()}
    if arguments.json:
        write_json(arguments.json, summary)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
