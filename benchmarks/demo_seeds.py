"""The demo over several seeds: held-out accuracy before and after, and one picture of all the curves.

    python benchmarks/demo_seeds.py [--seeds 1 2 3 4 5] [--job JOB] [--runs runs/seeds] [--picture docs/images/demo-seeds.svg]

Each seed is a run of its own in `--runs`; one that is finished already is only read. Prints the table of docs/demo.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class SeedRun:
    seed: int
    steps: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]

    @property
    def lift(self) -> float:
        return float(self.evaluations[-1]["accuracy"] - self.evaluations[0]["accuracy"])


def run(job: Path, seed: int, directory: Path) -> None:
    document = yaml.safe_load(job.read_text())
    document["spec"]["seed"] = seed
    directory.parent.mkdir(parents=True, exist_ok=True)
    written = directory.with_suffix(".yaml")
    written.write_text(yaml.safe_dump(document, sort_keys=False))
    subprocess.run([Path(sys.executable).with_name("reasonrl"), "run", written, "--output", directory], check=True)


def read(seed: int, directory: Path) -> SeedRun:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return SeedRun(
        seed=seed,
        steps=[line for line in lines if line["kind"] == "step"],
        evaluations=[line for line in lines if line["kind"] == "evaluation"],
    )


def table(runs: list[SeedRun]) -> str:
    rows = ["| seed | held-out before | after | lift | mean length before | after |", "|---|---|---|---|---|---|"]
    for each in runs:
        ends = each.evaluations[0], each.evaluations[-1]
        before, after = (f"{one['accuracy']:.1%} ± {one['accuracy_error']:.1%}" for one in ends)
        shorter, longer = (f"{one['response_length_mean']:.0f}" for one in ends)
        rows.append(f"| {each.seed} | {before} | {after} | {100 * each.lift:+.1f} points | {shorter} | {longer} |")
    rows.append(
        f"\nMean lift {100 * statistics.mean(each.lift for each in runs):.1f} points, least {100 * min(each.lift for each in runs):.1f}."
    )
    return "\n".join(rows)


def draw(runs: list[SeedRun], picture: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "demo", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (accuracy, length, truncated) = pyplot.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    boundary = next(step["step"] for step in runs[0].steps if step["phase_index"] == 1)
    limits = [runs[0].steps[0]["max_response_tokens"], runs[0].steps[-1]["max_response_tokens"]]
    for axes in (accuracy, length, truncated):
        axes.axvspan(0, boundary, color="0.93", lw=0)
        axes.set_xlabel("step")
    for each in runs:
        accuracy.plot(
            [one["step"] for one in each.evaluations],
            [100 * one["accuracy"] for one in each.evaluations],
            marker="o",
            ms=3,
            label=f"seed {each.seed}",
        )
        steps = [one["step"] for one in each.steps]
        length.plot(steps, [one["response_length_mean"] for one in each.steps], lw=1)
        truncated.plot(steps, [100 * one["truncated_share"] for one in each.steps], lw=1)
    accuracy.set(title="held-out accuracy, sampled (%)", ylim=(0, 100))
    accuracy.legend(frameon=False, fontsize=8)
    length.set(title="mean response length (tokens)", ylim=(0, None))
    truncated.set(title="truncated responses (%)", ylim=(0, 100))
    truncated.text(boundary / 2, 96, f"{limits[0]} tokens", ha="center", va="top", fontsize=8)
    truncated.text(boundary + 5, 96, f"{limits[1]} tokens", ha="left", va="top", fontsize=8)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--job", type=Path, default=Path("examples/quickstart.yaml"))
    parser.add_argument("--runs", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/demo-seeds.svg"))
    options = parser.parse_args()
    for seed in options.seeds:
        if not (options.runs / f"seed-{seed}" / "summary.json").exists():
            run(options.job, seed, options.runs / f"seed-{seed}")
    runs = [read(seed, options.runs / f"seed-{seed}") for seed in options.seeds]
    print(table(runs))
    draw(runs, options.picture)
    print(f"\ncurves: {options.picture}")


if __name__ == "__main__":
    main()
