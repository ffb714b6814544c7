"""What does Ray Serve cost beside plain `g4v serve`?

    python benchmarks/serving_ray.py [--bundle tiny] [--runs 200] [--threads 1] [--json FILE]

A plain server and a cluster of Ray with one replica of the same application, on this machine. Timed,
interleaved in one run: the first token of the same question as a stream over one connection to each; and GET
/v1/models, which computes nothing. Each question has a system text of its own, so that no cache of chats
answers. Needs the extra ray. The last line is JSON.
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
from pathlib import Path
from typing import Any

from serving import first_token_of_the_server, start

from g4v._console import machine
from g4v._files import write_json

CLUSTER = """
import json, sys, ray
from ray import serve
from g4v.serve.ray import app

arguments, port = json.loads(sys.argv[1]), int(sys.argv[2])
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": port})
serve.run(app(arguments))
print("ready", flush=True)
sys.stdin.read()
serve.shutdown()
ray.shutdown()
"""


def models(connection: http.client.HTTPConnection) -> float:
    """Milliseconds of GET /v1/models."""
    began = time.perf_counter()
    connection.request("GET", "/v1/models")
    connection.getresponse().read()
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port", type=int, default=8765, help="of Ray's proxy")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        values = {"bundle": arguments.bundle, "threads": str(arguments.threads), "no_auth": "true"}
        values["media_dir"] = f"{folder}/ray"
        command = [sys.executable, "-c", CLUSTER, json.dumps(values), str(arguments.port)]
        environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
        cluster = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert cluster.stdin is not None and cluster.stdout is not None
        while (line := cluster.stdout.readline()) != b"ready\n":
            if not line:
                sys.exit("the cluster of Ray did not start")
        plain, port, _ = start(arguments, f"{folder}/plain")
        ways = {
            "plain": http.client.HTTPConnection("127.0.0.1", port),
            "ray": http.client.HTTPConnection("127.0.0.1", arguments.port),
        }
        found: dict[str, list[float]] = {}
        for number in range(arguments.runs + 5):
            for name, connection in ways.items():
                token, nothing = first_token_of_the_server(connection, number), models(connection)
                if number >= 5:
                    found.setdefault(f"first_token_{name}_ms", []).append(token)
                    found.setdefault(f"models_{name}_ms", []).append(nothing)
        plain.terminate()
        plain.wait()
        cluster.stdin.close()
        cluster.wait(120)
    summary: dict[str, Any] = {"bundle": arguments.bundle, "runs": arguments.runs}
    for name, row in found.items():
        summary[name] = {"p50": statistics.median(row), "p95": statistics.quantiles(row, n=20)[-1]}
        print(f"{name:22} p50 {summary[name]['p50']:8.2f}  p95 {summary[name]['p95']:8.2f}")
    summary |= {"machine": machine()}
    if arguments.json:
        write_json(arguments.json, summary)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
