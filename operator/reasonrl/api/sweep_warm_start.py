"""Which runs of a sweep may begin with the same warm-started model.

Supervised learning takes a good part of a small run, and arms that differ in how reinforcement learning goes would each do it again, to the
same weights. Here its job is split off: one that ends after the warm start, and one that begins with what that left. Both are pure
rewriting of jobs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.parse import parse_job
from reasonrl.api.run_files import FINAL_DIRECTORY
from reasonrl.api.sweep_jobs import SweepRun
from reasonrl.api.sweep_spec import WARM_START_DIRECTORY


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
        document = _only_warm_start(run.job)
        start = f"{WARM_START_DIRECTORY}/{_key(document)}/seed-{run.seed}"
        tasks.setdefault(start, SweepTask(name=start, job=parse_job(document)))
        model = f"{directory}/{start}/{FINAL_DIRECTORY}"
        tasks[run.name] = SweepTask(name=run.name, job=_started_from(run.job, model), needs=start)
    return list(tasks.values())


def _only_warm_start(job: ReasoningRLJob) -> dict[str, Any]:
    """A job of nothing but what the weights after the warm start depend on, so that it is the same whichever arm it was taken from. A
    batch, a reward and a phase are there because a job must have them; nothing reads them."""
    spec = _dumped(job)["spec"]
    return {
        "apiVersion": job.api_version,
        "kind": job.kind,
        "metadata": {"name": WARM_START_DIRECTORY},
        "spec": {
            "seed": spec["seed"],
            "model": {name: value for name, value in spec["model"].items() if name != "reference"},
            "prompt": spec["prompt"],
            # The tokenizer of a model made from nothing is that of the first source's task.
            "data": {"train": spec["data"]["train"]},
            "sft": {**spec["sft"], "onlyWarmStart": True},
            "algorithm": {"promptsPerStep": 1},
            "rewards": [{"type": "answer"}],
            "phases": [{"name": WARM_START_DIRECTORY, "maxResponseTokens": 1, "until": {"steps": 1}}],
            "trainer": {name: spec["trainer"][name] for name in ("tokensPerMicroBatch", "logitsChunkTokens")},
        },
    }


def _key(document: Mapping[str, Any]) -> str:
    """The same for all seeds."""
    parts = {name: value for name, value in document["spec"].items() if name != "seed"}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def _started_from(job: ReasoningRLJob, model: str) -> ReasoningRLJob:
    document = _dumped(job)
    spec = document["spec"]
    spec["sft"] = None
    spec["model"] |= {"scratch": None, "path": model, "revision": None, "tokenizer": None}
    return parse_job(document)


def _dumped(job: ReasoningRLJob) -> dict[str, Any]:
    return job.dumped()
