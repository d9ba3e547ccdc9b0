"""The fake kubelet as a program of its own: for a laptop's cluster, and for benchmarks, where its work must not count as somebody else's.

    python -m testbed.play_pods --kubeconfig FILE [--script 'PATTERN={"run_for": 5}']… [--namespace N] [--labels SELECTOR] [--no-binding]

It says `playing` once it follows the pods, and at its end, on SIGTERM or Ctrl-C, how many API calls it made as one line of JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from testbed.fake_kubelet import FakeKubelet
from testbed.pod_script import Script, run_status


def parse_script(text: str) -> tuple[str, Script]:
    """`PATTERN=JSON` as a rule; a `status` of `{"secondsPerStep": s}` counts steps as time goes by."""
    pattern, _, body = text.partition("=")
    try:
        fields: dict[str, Any] = json.loads(body)
        steady = fields.get("status") or {}
        if "secondsPerStep" in steady:
            pace = float(steady["secondsPerStep"])
            fields["status"] = lambda seconds: run_status(step=int(seconds / pace))
        return pattern, Script(**fields)
    except (ValueError, TypeError, KeyError) as error:
        known = ", ".join(field.name for field in dataclasses.fields(Script))
        raise argparse.ArgumentTypeError(f"{text!r} is not PATTERN=JSON with fields of {known}: {error}") from error


def main() -> int:
    parser = argparse.ArgumentParser(description="plays pods on nodes that don't exist")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace")
    parser.add_argument("--labels", default="", help="play only pods with these labels")
    parser.add_argument("--script", type=parse_script, action="append", default=[], metavar="PATTERN=JSON")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--binding", action=argparse.BooleanOptionalAction, default=True, help="bind pods to nodes first")
    parser.add_argument("--register-nodes", action="store_true", help="make Node objects")
    arguments = parser.parse_args()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    config = json.loads(arguments.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    with FakeKubelet(
        cluster["server"],
        token=user["token"],
        certificate_authority=Path(cluster["certificate-authority"]),
        namespace=arguments.namespace,
        labels=arguments.labels,
        nodes=[f"node-{number}" for number in range(arguments.nodes)],
        bind=arguments.binding,
        in_flight=arguments.in_flight,
        scripts=dict(arguments.script),
    ) as kubelet:
        if arguments.register_nodes:
            kubelet.register_nodes()
        print("playing", flush=True)
        while not done.wait(5.0):
            if kubelet.errors:
                break
        usage = resource.getrusage(resource.RUSAGE_SELF)
        report = {"calls": kubelet.calls, "cpuSeconds": round(usage.ru_utime + usage.ru_stime, 2), "peakMiB": usage.ru_maxrss // 1024}
        print(json.dumps(report), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
