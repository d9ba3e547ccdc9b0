"""How fast answers are graded, and what ten hostile ones cost.

    python benchmarks/grading.py --pairs PAIRS.jsonl [--workers 2] [--runs 5] [--output grading.json]

Each run grades the pairs over and over until `--seconds` have passed, in sandboxed workers as a run does; the table has the median rate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from reasonrl.run.grading import JUDGE
from reasonrl.sandbox.calls import Call
from reasonrl.sandbox.pool import WorkerPool

HOSTILE = {
    "power tower": "\\boxed{9**9**9**9}",
    "LaTeX power tower": "\\boxed{9^{9^{9^{9^{9}}}}}",
    "100 kB of opening braces": "\\boxed{" + "{" * 100_000,
    "100 kB of balanced braces": "\\boxed{" + "{" * 50_000 + "}" * 50_000 + "}",
    "2,000 nested fractions": "\\boxed{" + "\\frac{1}{" * 2000 + "1" + "}" * 2000 + "}",
    "control characters": "\\boxed{\x00\x01\x02\x1b[31m\x7f" * 1000 + "}",
    "factorial of a factorial": "\\boxed{((99!)!)!}",
    "a sum without end": "\\boxed{\\sum_{n=1}^{10^{100}} \\frac{1}{n^{n}}}",
    "100,000 boxes": "\\boxed{1}" * 100_000,
    "a product of 20,000 terms": "\\boxed{" + "(x+1)" * 20_000 + "}",
}


def call(response: str, answer: str, timeout: float) -> Call:
    arguments = {"response": response, "answer": answer, "tags": False, "require_boxed": False}
    return Call(function=JUDGE, arguments=arguments, timeout_seconds=timeout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="JSONL with pred and gold")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--timeout", type=float, default=5.0, help="limit of one answer, as in spec.rewards[].timeoutSeconds")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()

    pairs = [json.loads(line) for line in options.pairs.read_text().splitlines()]
    calls = [call(pair["pred"], pair["gold"], options.timeout) for pair in pairs]
    with WorkerPool(workers=options.workers, preload=[JUDGE]) as pool:
        pool.run(calls)
        rates = []
        for _ in range(options.runs):
            started, done = time.perf_counter(), 0
            while time.perf_counter() - started < options.seconds:
                pool.run(calls)
                done += len(calls)
            rates.append(done / (time.perf_counter() - started))
        started = time.perf_counter()
        outcomes = pool.run([call(text, "5", options.timeout) for text in HOSTILE.values()])
        hostile_seconds = time.perf_counter() - started

    rate = statistics.median(rates)
    print(f"{len(pairs)} pairs, {options.workers} workers, {options.runs} runs")
    print(f"answers a second   {rate:8.0f}   (min {min(rates):.0f}, max {max(rates):.0f}; target 200)")
    print(f"ten hostile ones   {hostile_seconds:8.1f} s")
    for name, result in zip(HOSTILE, outcomes, strict=True):
        verdict = result.value["verdict"] if isinstance(result.value, dict) else result.detail
        print(f"  {name:28} {result.outcome.value:8} {verdict}")
    if options.output:
        report = {
            "answers_per_second": rates,
            "hostile_seconds": hostile_seconds,
            "hostile": {name: result.outcome.value for name, result in zip(HOSTILE, outcomes, strict=True)},
        }
        options.output.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
