"""Our operator and another one, in the same run: the same number of jobs and pods on the same rig, one after the other in turns.

Each turn has a control plane of its own. What is compared is the way up, from the first job created until every pod of every job is ready
in its status; the ways down differ too much in what they do.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from operator_scale_bringup import Load, bring_up, lead
from operator_scale_check import Fleet
from operator_scale_measure import WrongEnd
from operator_scale_rig import Contender, rig
from operator_scale_table import dig


def run_turns(contenders: Sequence[Contender], fleet: Fleet, load: Load, *, rounds: int, keep: bool) -> list[dict[str, Any]]:
    """Results in the order of the turns; who goes first changes with each round, so that neither has the warmer machine."""
    results = []
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else contenders[::-1]:
            with rig(fleet, contender, keep=keep) as parts:
                meter = lead(parts, fleet, f"{contender.name} {number + 1}/{rounds}")
                _, result = bring_up(meter, fleet, load)
                _check_pods(len(_alive(parts.api.list("pods"))), fleet)
                results.append({"scenario": "against", "round": number + 1, **result, "samples": meter.samples})
    return results


def _alive(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [pod for pod in pods if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]]


def _check_pods(there: int, fleet: Fleet) -> None:
    if there != fleet.pods:
        raise WrongEnd(f"{there} pods run, and not {fleet.pods}")


ROWS: tuple[tuple[str, tuple[str, ...], str, bool], ...] = (
    ("pods a second, to the last one created", ("podsPerSecond",), "", True),
    ("last pod created after", ("lastPodSeconds",), " s", False),
    ("all pods ready in status after", ("allReadySeconds",), " s", False),
    ("calls a job until it runs", ("untilRunning", "callsPerJob"), "", False),
    ("  of which events", ("untilRunning", "eventsPerJob"), "", False),
    ("operator CPU a job until it runs", ("untilRunning", "cpuMsPerJob"), " ms", False),
    ("peak memory when all run", ("untilRunning", "peakMiB"), " MiB", False),
    ("memory before the first job", ("start", "residentMiB"), " MiB", False),
    ("CPU of kube-apiserver meanwhile", ("cpuSecondsOfAll", "kube-apiserver"), " s", False),
    ("load of the machine before", ("loadBefore",), "", False),
    ("load of the machine after", ("load",), "", False),
)
"""Label, place in a result, unit, and whether more is better."""


def show_turns(results: Sequence[dict[str, Any]], contenders: Sequence[Contender], fleet: Fleet) -> None:
    """Medians and, in brackets, the range; how many times better the first contender is, by the medians."""
    console = Console(width=120)
    rounds = max(result["round"] for result in results)
    table = Table(title=f"{len(fleet.jobs)} jobs of {fleet.trainers + fleet.rollouts} pods, median of {rounds}")
    table.add_column("")
    for contender in contenders:
        table.add_column(contender.name, justify="right")
    table.add_column("times better", justify="right")
    for label, path, unit, more in ROWS:
        values = [[dig(result, path) or 0.0 for result in results if result["operator"] == contender.name] for contender in contenders]
        medians = [statistics.median(each) for each in values]
        better = medians[0] / medians[1] if more else medians[1] / medians[0] if medians[0] else 0.0
        shown = "" if path[0].startswith("load") or not better else f"{better:.2f}"
        table.add_row(label, *(_shown(each, unit) for each in values), shown)
    console.print(table)
    for contender in contenders:
        mine = [result["untilRunning"]["calls"] for result in results if result["operator"] == contender.name][-1]
        calls = ", ".join(f"{call} {count / len(fleet.jobs):.2f}" for call, count in mine.items() if count >= len(fleet.jobs) / 20)
        console.print(f"{contender.name}, calls a job: {calls}")


def _shown(values: Sequence[float], unit: str) -> str:
    middle = f"{statistics.median(values):.4g}{unit}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.4g}–{max(values):.4g})"
