"""Rules of what only a cluster reads: pods, volumes, network, scheduling, failure policy."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.job import JobSpec
from reasonrl.api.names import CHECKPOINT_DIRECTORY, CONFIG_DIRECTORY, GROUP
from reasonrl.api.pod_spec import EnvironmentVariable, PodOverrides
from reasonrl.api.problems import Problem
from reasonrl.api.quantity import amount_of, format_quantity

QUEUEING_GANGS = ("Kueue", "Volcano")
TAKEN_DIRECTORIES = (CHECKPOINT_DIRECTORY, CONFIG_DIRECTORY, "/dev", "/proc", "/sys", "/tmp", "/var/run")
"""Directories of the pods that have a purpose already: nothing is mounted at, in or around them."""
RESERVED_PREFIX = f"{GROUP}/"


def cluster_problems(spec: JobSpec) -> Iterator[Problem]:
    yield from _scheduling(spec)
    yield from _failure_policy(spec)
    yield from _volumes(spec)
    yield from _network(spec)
    for role, pods in (("trainer", spec.pods.trainer), ("rollout", spec.pods.rollout)):
        yield from _pods(f"spec.pods.{role}", pods)


def _scheduling(spec: JobSpec) -> Iterator[Problem]:
    scheduling = spec.scheduling
    if scheduling.gang == "Kueue" and scheduling.queue is None:
        yield Problem("spec.scheduling.queue", None, "gang: Kueue needs the name of a LocalQueue in the job's namespace")
    if scheduling.queue is not None and scheduling.gang not in QUEUEING_GANGS:
        yield Problem(
            "spec.scheduling.queue", scheduling.queue, f"gang: {scheduling.gang} has no queues; use gang: Kueue or Volcano, or remove it"
        )


def _failure_policy(spec: JobSpec) -> Iterator[Problem]:
    for role, budget in (("trainer", spec.failure_policy.trainer), ("rollout", spec.failure_policy.rollout)):
        if budget.backoff_seconds > budget.max_backoff_seconds:
            yield Problem(
                f"spec.failurePolicy.{role}.backoffSeconds",
                budget.backoff_seconds,
                f"must be at most maxBackoffSeconds ({budget.max_backoff_seconds}); lower it, or raise that",
            )


def _volumes(spec: JobSpec) -> Iterator[Problem]:
    for index, volume in enumerate(spec.volumes):
        path, here = f"spec.volumes[{index}].mountPath", volume.mount_path.rstrip("/")
        if any(here == earlier.mount_path.rstrip("/") for earlier in spec.volumes[:index]):
            yield Problem(path, volume.mount_path, "something is mounted there already; use another directory")
        taken = [each for each in TAKEN_DIRECTORIES if f"{here}/".startswith(f"{each}/") or f"{each}/".startswith(f"{here}/")]
        if taken:
            yield Problem(path, volume.mount_path, f"{taken[0]} is taken by the pods themselves; use a directory such as /data")


def _network(spec: JobSpec) -> Iterator[Problem]:
    if spec.network.policy == "None" and spec.network.egress:
        yield Problem("spec.network.egress", None, "policy: None restricts nothing; use policy: Restricted, or remove it")


def _pods(path: str, pods: PodOverrides) -> Iterator[Problem]:
    for index, variable in enumerate(pods.env):
        if any(variable.name == earlier.name for earlier in pods.env[:index]):
            yield Problem(f"{path}.env[{index}].name", variable.name, "is given already; keep one of them")
        yield from _variable(f"{path}.env[{index}]", variable)
    yield from _resources(path, pods)
    for field, keys in (("labels", pods.labels), ("annotations", pods.annotations)):
        for key in keys:
            if key.startswith(RESERVED_PREFIX):
                yield Problem(f"{path}.{field}", key, f"{RESERVED_PREFIX} is the operator's own; use another prefix")
    for index, toleration in enumerate(pods.tolerations):
        here = f"{path}.tolerations[{index}]"
        if toleration.operator == "Exists" and toleration.value is not None:
            yield Problem(f"{here}.value", toleration.value, "operator: Exists compares no value; remove it, or use operator: Equal")
        if toleration.operator == "Equal" and toleration.key is None:
            yield Problem(f"{here}.key", None, "operator: Equal compares a key; give it, or use operator: Exists for every taint")


def _variable(path: str, variable: EnvironmentVariable) -> Iterator[Problem]:
    if (variable.value is None) == (variable.value_from is None):
        yield Problem(path, variable.name, "give exactly one of value and valueFrom")
    source = variable.value_from
    if source is not None and (source.secret_key_ref is None) == (source.config_map_key_ref is None):
        yield Problem(f"{path}.valueFrom", None, "give exactly one of secretKeyRef and configMapKeyRef")


def _resources(path: str, pods: PodOverrides) -> Iterator[Problem]:
    requests, limits = pods.resources.requests, pods.resources.limits
    for field, amounts in (("requests", requests), ("limits", limits)):
        if pods.gpu_resource_name in amounts:
            yield Problem(
                f"{path}.resources.{field}",
                pods.gpu_resource_name,
                "GPUs are counted by gpusPerReplica of spec.trainer and spec.rollout; remove it here",
            )
    for name, amount in requests.items():
        if name in limits and amount_of(amount) > amount_of(limits[name]):
            yield Problem(f"{path}.resources.requests", f"{name}: {amount}", f"is more than its limit ({limits[name]}); lower it")
    memory, shared = limits.get("memory"), pods.shared_memory
    if memory is not None and shared is not None and shared > amount_of(memory):
        yield Problem(
            f"{path}.sharedMemory", format_quantity(shared), f"counts towards the memory limit, which is less ({memory}); lower it"
        )
