"""The tables that the scale benchmark prints: what was measured, and the operator's calls by verb and kind."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from operator_scale_check import Fleet


def show(results: list[dict[str, Any]], fleet: Fleet) -> None:
    if not results:
        return
    console = Console(width=110)
    pods = fleet.trainers + fleet.rollouts
    table = Table(title=f"{len(fleet.jobs)} jobs × ({fleet.trainers} trainers + {fleet.rollouts} rollout pods) = {fleet.pods} pods")
    table.add_column("")
    for result in results:
        table.add_column(result["scenario"], justify="right")
    for label, path, unit in ROWS:
        values = [dig(result, path) for result in results]
        if any(value is not None for value in values):
            table.add_row(label.format(limit=pods + 7), *("" if value is None else f"{value:g}{unit}" for value in values))
    console.print(table)
    for title, part in (("until all run", "untilRunning"), ("in all", "inAll")):
        calls = Table(title=f"The operator's calls for each job, {title}")
        calls.add_column("call")
        for result in results:
            calls.add_column(result["scenario"], justify="right")
        total: Counter[str] = Counter()
        for result in results:
            total.update(result[part]["calls"])
        for call, _ in total.most_common():
            calls.add_row(call, *(f"{result[part]['calls'].get(call, 0) / len(fleet.jobs):.2f}" for result in results))
        console.print(calls)


ROWS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("jobs created in", ("jobsCreatedSeconds",), " s"),
    ("last pod created after", ("lastPodSeconds",), " s"),
    ("pods a second", ("podsPerSecond",), ""),
    ("all Running in status after", ("allRunningSeconds",), " s"),
    ("all pods ready in status after", ("allReadySeconds",), " s"),
    ("a job from created to Running, median", ("createdToRunning", "0.5"), " s"),
    ("a job from created to Running, longest", ("createdToRunning", "1.0"), " s"),
    ("calls a job until it runs (target ≤ {limit})", ("untilRunning", "callsPerJob"), ""),
    ("  of which events", ("untilRunning", "eventsPerJob"), ""),
    ("CPU a job until it runs (target ≤ 20)", ("untilRunning", "cpuMsPerJob"), " ms"),
    ("  CPU meanwhile: kube-apiserver", ("cpuSecondsOfAll", "kube-apiserver"), " s"),
    ("  CPU meanwhile: etcd", ("cpuSecondsOfAll", "etcd"), " s"),
    ("  CPU meanwhile: nodes", ("cpuSecondsOfAll", "nodes"), " s"),
    ("  CPU meanwhile: operator", ("cpuSecondsOfAll", "operator"), " s"),
    ("  load of the machine", ("load",), ""),
    ("looks at a job until it runs", ("looksPerJob",), ""),
    ("peak memory when all run", ("untilRunning", "peakMiB"), " MiB"),
    ("while they run: share of a core", ("steady", "cpuShare"), ""),
    ("while they run: calls a second", ("steady", "callsPerSecond"), ""),
    ("killed pods", ("kills", "killed"), ""),
    ("pods made again", ("kills", "madeAgain"), ""),
    ("all right again after", ("kills", "recoveredSeconds"), " s"),
    ("CPU a pod made again", ("kills", "cpuMsPerPodMadeAgain"), " ms"),
    ("pods there when the operator was killed", ("restart", "podsMade"), ""),
    ("next pod after the kill", ("restart", "secondsToNextPod"), " s"),
    ("all Succeeded after the trainers ended", ("end", "allSucceededSeconds"), " s"),
    ("  of which until the nodes had said so", ("end", "reportedSeconds"), " s"),
    ("calls a job in all", ("inAll", "callsPerJob"), ""),
    ("CPU a job in all", ("inAll", "cpuMsPerJob"), " ms"),
    ("peak memory in all", ("inAll", "peakMiB"), " MiB"),
    ("CPU of the operator's start", ("start", "cpuSeconds"), " s"),
    ("memory before the first job", ("start", "residentMiB"), " MiB"),
)


def dig(result: dict[str, Any], path: tuple[str, ...]) -> float | None:
    found: Any = result
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return None if found is None else float(found)
