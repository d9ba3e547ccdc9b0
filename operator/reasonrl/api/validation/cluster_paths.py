"""Paths of a job that is meant for a cluster: where its pods look, there is no job file that a path could be relative to.

On one machine a relative path is relative to the job file, so this is no rule of every job: the operator asks it when it admits one, the
CRD says it on the API server, and `reasonrl validate --cluster` says it before either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from reasonrl.api.data_spec import DataSource
from reasonrl.api.job import JobSpec
from reasonrl.api.problems import Problem
from reasonrl.api.reward_spec import FunctionReward
from reasonrl.api.validation.model import HUB_PREFIX

ON_A_VOLUME = "an absolute path that the pods have, such as /data/… on one of spec.volumes"
RELATIVE = "this path is relative, and on a cluster there is no job file that it could be relative to"


class LocalPath(NamedTuple):
    """A path that the job names at `field`, and what it should be: "file", "directory", or either."""

    field: str
    path: str
    wanted: str


def local_paths(spec: JobSpec) -> Iterator[LocalPath]:
    """Every path of the job that is not of the hub, in the order of the spec."""
    for name, path in (("path", spec.model.path), ("tokenizer", spec.model.tokenizer)):
        if path is not None and not path.startswith(HUB_PREFIX):
            yield LocalPath(f"spec.model.{name}", path, "directory")
    lists: tuple[tuple[str, tuple[DataSource, ...]], ...] = (
        ("spec.data.train", spec.data.train),
        ("spec.sft.train", spec.sft.train if spec.sft is not None else ()),
        ("spec.evaluation.benchmarks", spec.evaluation.benchmarks),
    )
    for at, sources in lists:
        for index, source in enumerate(sources):
            if source.path is not None:
                yield LocalPath(f"{at}[{index}].path", source.path, "file or directory")
    for index, reward in enumerate(spec.rewards):
        if isinstance(reward, FunctionReward):
            yield LocalPath(f"spec.rewards[{index}].path", reward.path, "file")


def cluster_path_problems(spec: JobSpec) -> Iterator[Problem]:
    """Paths that are neither absolute nor of the hub. Any other `…://` is refused of every job, and not again here."""
    for field, path, wanted in local_paths(spec):
        if not path.startswith("/") and "://" not in path:
            hub = ", or hf://organisation/name" if wanted == "directory" else ""
            yield Problem(field, path, f"{RELATIVE}; use {ON_A_VOLUME}{hub}")
