"""All rules over a whole job, in the order of the spec."""

from __future__ import annotations

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.problems import Problem
from reasonrl.api.support import future_field_problems
from reasonrl.api.validation.algorithm import algorithm_problems
from reasonrl.api.validation.cluster import cluster_problems
from reasonrl.api.validation.data import data_problems
from reasonrl.api.validation.engines import rollout_problems, trainer_problems
from reasonrl.api.validation.evaluation import evaluation_problems
from reasonrl.api.validation.model import model_problems
from reasonrl.api.validation.phases import phase_problems
from reasonrl.api.validation.records import record_problems
from reasonrl.api.validation.rewards import reward_problems
from reasonrl.api.validation.selection import selection_problems
from reasonrl.api.validation.warm_start import warm_start_problems

LONGEST_NAME = 63 - len("-rollout-9999")
"""A pod is named `<job>-<role>-<index>`, and its name is also a host name: 63 characters."""


def job_problems(job: ReasoningRLJob) -> list[Problem]:
    spec = job.spec
    found: list[Problem] = []
    if len(job.metadata.name) > LONGEST_NAME:
        found.append(
            Problem(
                "metadata.name",
                job.metadata.name,
                f"has {len(job.metadata.name)} characters; at most {LONGEST_NAME}, because its pods are named after it",
            )
        )
    if job.metadata.name[0].isdigit():
        found.append(Problem("metadata.name", job.metadata.name, "must begin with a letter, because its Service is named after it"))
    found += future_field_problems(spec)
    found += model_problems(spec)
    found += data_problems(spec)
    found += warm_start_problems(spec)
    found += algorithm_problems(spec)
    found += reward_problems(spec)
    found += selection_problems(spec)
    found += phase_problems(spec)
    found += rollout_problems(spec)
    found += trainer_problems(spec)
    found += evaluation_problems(spec)
    found += record_problems(spec)
    found += cluster_problems(spec)
    return found
