"""A step across pods against the same step in one process, and what sampling ahead of the trainer gains.

The same job runs by `reasonrl run`, by `reasonrl run --cluster` with engines apart and colocated, and with `maxStaleness` 1 and 2; each run
is a fresh one, and medians are over its steps but the first two of each phase. The overhead of distribution is the whole step's time over
that of one process, with one thread in every process on both sides. On two cores the trainer and the engines of a run across pods share
what one process has alone, so *ahead* can gain at most what the other core idles.

    python benchmarks/cluster_step.py [--steps 12] [--hidden 128] [--only local apart ...] [--output PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SKIPPED_STEPS = 2
RUN_SECONDS = 1800
STAGES = ("rollout", "grade", "reference", "update", "weight_sync", "total")


@dataclass(frozen=True)
class Way:
    name: str
    cluster: bool
    rollout: dict[str, Any] = field(default_factory=dict)


WAYS = (
    Way("local", False),
    Way("apart", True),
    Way("apart, two engines", True, {"replicas": 2}),
    Way("colocated", True, {"placement": "Colocated"}),
    Way("ahead by 1", True, {"maxStaleness": 1}),
    Way("ahead by 2", True, {"maxStaleness": 2}),
)


def job(way: Way, *, steps: int, hidden: int) -> dict[str, Any]:
    def task(size: int, seed: int) -> dict[str, Any]:
        return {"name": "chainedDigits", "size": size, "seed": seed, "options": {"minTerms": 2, "maxTerms": 8, "largestDigit": 3}}

    scratch = {
        "hiddenSize": hidden,
        "layers": 3,
        "heads": 4,
        "keyValueHeads": 4,
        "feedForwardSize": 3 * hidden,
        "initializerRange": 0.06,
        "contextTokens": 256,
    }
    return {
        "apiVersion": "reasonrl.dev/v1alpha1",
        "kind": "ReasoningRLJob",
        "metadata": {"name": "step"},
        "spec": {
            "seed": 1,
            "model": {"scratch": scratch, "dtype": "float32"},
            "prompt": {"template": "raw", "maxTokens": 96},
            "data": {"train": [{"task": task(400, 1)}]},
            "sft": {"train": [{"task": task(400, 2)}], "steps": 60, "batchSize": 16, "maxTokens": 128, "learningRate": 2e-3},
            "algorithm": {
                "promptsPerStep": 16,
                "rolloutsPerPrompt": 8,
                "kl": {"estimator": "k3", "placement": "loss", "schedule": {"type": "constant", "value": 0.001}},
                "optimizer": {"learningRate": 1e-4},
            },
            "rewards": [{"type": "answer"}],
            "phases": [{"name": "only", "maxResponseTokens": 64, "until": {"steps": steps}}],
            "rollout": {"engine": "torch", "replicas": 1, **way.rollout},
            "checkpoint": {"everySteps": 1000},
        },
    }


def run(way: Way, directory: Path, *, steps: int, hidden: int) -> list[dict[str, Any]]:
    file = directory / "job.yaml"
    file.write_text(yaml.safe_dump(job(way, steps=steps, hidden=hidden)))
    output = directory / "run"
    command = [sys.executable, "-m", "reasonrl.cli", "run", str(file), "--output", str(output), *(["--cluster"] if way.cluster else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{way.name}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == "step"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--only", nargs="+", choices=[way.name for way in WAYS], default=[way.name for way in WAYS])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    for way in WAYS:
        if way.name not in options.only:
            continue
        with tempfile.TemporaryDirectory(prefix="rrl-") as directory:
            steps = run(way, Path(directory), steps=options.steps, hidden=options.hidden)[SKIPPED_STEPS:]
        row = {stage: statistics.median(step["seconds"].get(stage, 0.0) for step in steps) for stage in STAGES}
        row["tokens_per_second"] = statistics.median(step["tokens_per_second"] for step in steps)
        row["staleness"] = max(step["staleness_max"] for step in steps)
        rows[way.name] = row
        print(f"{way.name}: {row['total']:.3f} s a step", file=sys.stderr, flush=True)
    first = next(iter(rows.values()))["total"]
    print("| | rollout | grade | reference | update | weight sync | step | against the first | tokens/s | staleness |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        stages = " | ".join(f"{row[stage]:.3f}" for stage in STAGES)
        print(f"| {name} | {stages} | {row['total'] / first:.2f}x | {row['tokens_per_second']:,.0f} | {row['staleness']} |")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
