"""One RL step against TRL's GRPOTrainer: the same weights, prompts, number of tokens and updates, in two processes that take turns.

    python benchmarks/step_vs_trl.py [--steps 7] [--threads 2] [--dtype float32] [--settings small ragged vocabulary] [--output step.json]

8 prompts × 8 responses a step, DAPO's token mean, no KL, no checkpointing, fused AdamW, entropy logged by both. Each side warms up for two
steps; then they alternate, and the table has medians and the ratio of medians. Peak memory is the resident size of each process, imports
included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from step_settings import SETTINGS, setting_named, write_model

HERE = Path(__file__).parent
WARM_UP_STEPS = 2


class Side:
    """One of the two processes."""

    def __init__(self, script: str, model: Path, setting: str, *, dtype: str, threads: int, log: IO[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        arguments = ["--model", str(model), "--setting", setting, "--dtype", dtype, "--threads", str(threads)]
        self.process = subprocess.Popen(
            [sys.executable, script, *arguments],
            cwd=HERE,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def step(self) -> dict[str, Any]:
        return self._ask("go")

    def finish(self) -> dict[str, Any]:
        facts = self._ask("stop")
        self.process.wait(timeout=60)
        return facts

    def _ask(self, word: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended; see the log")
        return json.loads(line)  # type: ignore[no-any-return]


def compare(setting: str, *, dtype: str, threads: int, steps: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory, (Path(directory) / "log").open("w+") as log:
        model = Path(directory) / "model"
        write_model(setting_named(setting), model)
        names = ("reasonrl", "trl")
        sides = {name: Side(f"step_{name}.py", model, setting, dtype=dtype, threads=threads, log=log) for name in names}
        try:
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            for number in range(WARM_UP_STEPS + steps):
                for name in names:
                    facts = sides[name].step()
                    if number >= WARM_UP_STEPS:
                        found[name].append(facts)
            peaks = {name: side.finish()["peak_bytes"] for name, side in sides.items()}
        except SystemExit:
            log.seek(0)
            sys.stderr.write(log.read()[-4000:])
            raise
        finally:
            for side in sides.values():
                side.process.kill()
    return {
        "setting": setting,
        "dtype": dtype,
        "seconds": {name: [each["seconds"] for each in found[name]] for name in names},
        "tokens": {name: [each["tokens"] for each in found[name]] for name in names},
        "peak_bytes": peaks,
    }


def show(result: dict[str, Any]) -> None:
    seconds = {name: statistics.median(values) for name, values in result["seconds"].items()}
    rates = {
        name: statistics.median([tokens / taken for tokens, taken in zip(result["tokens"][name], result["seconds"][name], strict=True)])
        for name in seconds
    }
    peaks = result["peak_bytes"]
    print(f"{result['setting']:10} {result['dtype']:9}", end="")
    for name in ("trl", "reasonrl"):
        print(f" | {name:8} {seconds[name]:6.3f} s {rates[name]:7.0f} tok/s {peaks[name] / 1e6:6.0f} MB", end="")
    print(f" | {seconds['trl'] / seconds['reasonrl']:.2f}× faster, {peaks['reasonrl'] / peaks['trl']:.0%} of the memory", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--settings", nargs="+", default=[setting.name for setting in SETTINGS])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    results = []
    for name in options.settings:
        results.append(compare(name, dtype=options.dtype, threads=options.threads, steps=options.steps))
        show(results[-1])
    if options.output:
        options.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
