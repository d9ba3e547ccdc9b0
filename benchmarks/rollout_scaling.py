"""1, 2 and 4 rollout engines behind one fleet, on simulated latencies: what dealing, collecting and stragglers cost.

An engine that waits instead of computing shows the fleet alone, on any machine. It works as a GPU engine does: a step takes so long however
many responses are in it, up to its capacity, and each step adds a token to all of them. Response lengths are log-normal, so a few are very
long. A round is one call of `sample`; all contenders answer the same one. *Ideal* is that round on engines which share the tasks perfectly
from the start: no engine can beat the time of all tokens over all places, nor that of the longest response.

With `--lose` one engine dies half-way through each round.

    python benchmarks/rollout_scaling.py [--engines 1 2 4] [--groups 64] [--capacity 64] [--step-ms 4] [--rounds 3] [--lose] [--output PATH]
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from reasonrl.rl.records import FinishReason, Prompt, Question, Response
from reasonrl.rollout.engine_worker import EngineWorker
from reasonrl.rollout.fleet import RolloutFleet
from reasonrl.rollout.fleet_messages import FleetLimits
from reasonrl.rollout.protocol import SamplingSetting
from reasonrl.rollout.task import RolloutTask, TaskOutcome, completed

RESPONSES_PER_PROMPT = 8
LONGEST = 1024
MEDIAN = 120.0
SPREAD = 0.8


@dataclass(eq=False)
class InHand:
    task: RolloutTask
    left: list[int]
    lengths: list[int]


@dataclass(eq=False)
class SimulatedEngine:
    """A `SteppingEngine` that only waits. `dies_after` steps it raises."""

    capacity: int
    step_seconds: float
    dies_after: int | None = None
    weight_version: int = 0
    _hand: list[InHand] = field(default_factory=list)
    _steps: int = 0

    def submit(self, task: RolloutTask) -> None:
        lengths = lengths_of(task)
        self._hand.append(InHand(task, list(lengths), lengths))

    def step(self) -> list[TaskOutcome]:
        self._steps += 1
        if self.dies_after is not None and self._steps > self.dies_after:
            raise RuntimeError("simulated death")
        threading.Event().wait(self.step_seconds)
        places = self.capacity
        for held in self._hand:
            for index, left in enumerate(held.left):
                if left and places:
                    held.left[index] -= 1
                    places -= 1
        complete = [held for held in self._hand if not any(held.left)]
        self._hand = [held for held in self._hand if any(held.left)]
        return [completed(held.task, responses_of(held, self.weight_version)) for held in complete]

    def unfinished(self) -> int:
        return len(self._hand)

    def unwritten(self) -> int:
        return sum(1 for held in self._hand for left in held.left if left)

    def abandon(self) -> None:
        self._hand.clear()

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        self.weight_version = version

    def sleep(self) -> None:
        """It holds nothing."""

    def wake(self) -> None:
        """It gave nothing back."""

    def close(self) -> None:
        self._hand.clear()


def lengths_of(task: RolloutTask) -> list[int]:
    """A function of the task's seed alone, as an engine's are."""
    random = torch.Generator().manual_seed(task.setting.seed)
    drawn = torch.exp(torch.randn(task.responses, generator=random) * SPREAD) * MEDIAN
    return [int(length) for length in drawn.clamp(1, task.setting.max_response_tokens)]


def responses_of(held: InHand, version: int) -> list[tuple[Response, ...]]:
    made = [
        Response(
            tokens=torch.zeros(length, dtype=torch.long),
            sampler_logprobs=torch.zeros(length),
            finish=FinishReason.STOP,
            weight_version=version,
            text="",
        )
        for length in held.lengths
    ]
    each = held.task.responses_per_prompt
    return [tuple(made[start : start + each]) for start in range(0, len(made), each)]


@dataclass(frozen=True, kw_only=True)
class Round:
    seconds: float
    tokens: int
    longest: int
    requeued: int


def one_round(*, engines: int, groups: int, capacity: int, step_seconds: float, seed: int, lose: bool) -> Round:
    fleet = RolloutFleet(prompts_per_task=1, limits=FleetLimits(), weight_version=0)
    places = groups * RESPONSES_PER_PROMPT / (engines * capacity)
    death = int(MEDIAN * max(1.0, places) / 2)
    try:
        for number in range(engines):
            dies_after = death if lose and number == engines - 1 and engines > 1 else None

            def make(dies_after: int | None = dies_after) -> SimulatedEngine:
                return SimulatedEngine(capacity, step_seconds, dies_after)

            fleet.join(f"engine-{number}", EngineWorker(make))
        prompts = [Prompt(question=Question(id=str(n), text="", answer="", source=""), text="", tokens=(1, 2)) for n in range(groups)]
        setting = SamplingSetting(max_response_tokens=LONGEST, temperature=1.0, seed=seed)
        started = time.perf_counter()
        sampled = fleet.sample(prompts, responses_per_prompt=RESPONSES_PER_PROMPT, setting=setting)
        seconds = time.perf_counter() - started
        lengths = [len(response.tokens) for group in sampled for response in group]
        return Round(seconds=seconds, tokens=sum(lengths), longest=max(lengths), requeued=fleet.requeued_tasks)
    finally:
        fleet.close()


def waiting_seconds(step_seconds: float) -> float:
    """What a step really takes: this machine's timers are late, whoever waits for them."""
    taken = []
    for _ in range(50):
        started = time.perf_counter()
        threading.Event().wait(step_seconds)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--capacity", type=int, default=64, help="responses that an engine decodes at once")
    parser.add_argument("--step-ms", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lose", action="store_true", help="the last engine of several dies half-way")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    step_seconds = waiting_seconds(options.step_ms / 1000)
    rows = []
    for engines in options.engines:
        rounds = [
            one_round(
                engines=engines,
                groups=options.groups,
                capacity=options.capacity,
                step_seconds=options.step_ms / 1000,
                seed=seed,
                lose=options.lose,
            )
            for seed in range(options.rounds)
        ]
        rate = statistics.median(each.tokens / each.seconds for each in rounds)
        ideal = statistics.median(
            each.tokens / (step_seconds * max(each.longest, each.tokens / (engines * options.capacity))) for each in rounds
        )
        rows.append(
            {"engines": engines, "tokens_per_second": rate, "ideal": ideal, "requeued_tasks": max(each.requeued for each in rounds)}
        )
    first = rows[0]["tokens_per_second"]
    print(f"{options.groups} groups of {RESPONSES_PER_PROMPT}, capacity {options.capacity}, a step takes {1000 * step_seconds:.1f} ms")
    print("| engines | tokens/s | against the first row | share of ideal | tasks requeued |\n|---|---|---|---|---|")
    for row in rows:
        rate = row["tokens_per_second"]
        print(f"| {row['engines']} | {rate:,.0f} | {rate / first:.2f}x | {rate / row['ideal']:.0%} | {row['requeued_tasks']} |")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"step_seconds": step_seconds, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
