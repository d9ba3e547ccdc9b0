"""Which runs of a sweep may begin with the same warm-started model.

Supervised learning takes a good part of a small run, and arms that differ in how reinforcement learning goes would each do it again, to the
same weights. Here its job is split off: one that ends after the warm start, and one that begins with what that left. Both are pure
rewriting of jobs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.parse import parse_job
from reasonrl.api.run_files import FINAL_DIRECTORY
from reasonrl.api.sweep_jobs import SweepRun

WARM_START_DIRECTORY = "warm-start"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTask:
    """One process of a sweep. `name` is its directory within that of the sweep; it waits until the task `needs` has ended well."""

    name: str
    job: ReasoningRLJob
    needs: str | None = None


def separate_tasks(runs: list[SweepRun]) -> list[SweepTask]:
    """Every run with a warm start of its own."""
    return [SweepTask(name=run.name, job=run.job) for run in runs]


def tasks_with_shared_start(runs: list[SweepRun], *, directory: str) -> list[SweepTask]:
    """The tasks in order, each warm start before the first run that needs it. `directory` is that of the sweep, absolute: the runs name
    the model that they begin with by its path."""
    tasks: dict[str, SweepTask] = {}
    for run in runs:
        if run.job.spec.sft is None or run.job.spec.sft.only_warm_start:
            tasks[run.name] = SweepTask(name=run.name, job=run.job)
            continue
        start = f"{WARM_START_DIRECTORY}/{_key(run.job)}/seed-{run.seed}"
        tasks.setdefault(start, SweepTask(name=start, job=_only_warm_start(run.job)))
        model = f"{directory}/{start}/{FINAL_DIRECTORY}"
        tasks[run.name] = SweepTask(name=run.name, job=_started_from(run.job, model), needs=start)
    return list(tasks.values())


def _key(job: ReasoningRLJob) -> str:
    """Of everything but the seed that the weights after the warm start depend on."""
    _, spec = _parts(job)
    model = {name: value for name, value in spec["model"].items() if name != "reference"}
    trainer = {name: spec["trainer"][name] for name in ("tokensPerMicroBatch", "logitsChunkTokens")}
    parts = {"model": model, "sft": spec["sft"], "prompt": spec["prompt"], "trainer": trainer}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def _only_warm_start(job: ReasoningRLJob) -> ReasoningRLJob:
    document, spec = _parts(job)
    spec["sft"] = {**spec["sft"], "onlyWarmStart": True}
    # Nothing of these is looked at before reinforcement learning begins.
    spec["algorithm"]["kl"] = None
    spec["selection"] = []
    spec["evaluation"] = {**spec["evaluation"], "benchmarks": []}
    spec["checkpoint"] = {**spec["checkpoint"], "keepBest": None}
    document["metadata"] = {**document["metadata"], "name": WARM_START_DIRECTORY}
    return parse_job(document)


def _started_from(job: ReasoningRLJob, model: str) -> ReasoningRLJob:
    document, spec = _parts(job)
    spec["sft"] = None
    spec["model"] = {**spec["model"], "scratch": None, "path": model, "revision": None, "tokenizer": None}
    return parse_job(document)


def _parts(job: ReasoningRLJob) -> tuple[dict[str, Any], dict[str, Any]]:
    document: dict[str, Any] = job.dumped()
    return document, document["spec"]
