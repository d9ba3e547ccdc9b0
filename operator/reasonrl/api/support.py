"""What this release refuses, and from which version on it is supported.

A field either works or is refused; nothing is accepted and ignored. There are two levels. What nothing in this release reads is refused
when a job is parsed. What `reasonrl plan` reads but one machine cannot run is refused when a job is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reasonrl.api.failure_policy_spec import FailurePolicySpec
from reasonrl.api.job import JobSpec, ReasoningRLJob
from reasonrl.api.network_spec import NetworkSpec
from reasonrl.api.pod_spec import PodsSpec
from reasonrl.api.problems import Problem
from reasonrl.api.scheduling_spec import SchedulingSpec

RELEASE = "0.3"


@dataclass(frozen=True, slots=True)
class FutureField:
    """A field that must keep its default until `version`. `used` says whether a job sets it to something else; `until_then` is what to "
    "do."""

    field: str
    version: str
    what: str
    until_then: str
    used: Callable[[JobSpec], bool]


FUTURE_FIELDS = (FutureField("spec.rollout.tools", "0.5", "tools are", "remove the field", lambda spec: bool(spec.rollout.tools)),)

FUTURE_VARIANTS: Mapping[tuple[str, ...], Mapping[str, tuple[str, str]]] = {}
"""Lists of the spec whose items come in types: types of a later version, with that version and what they are. There are none now."""


CLUSTER_FIELDS: Sequence[tuple[str, str, Callable[[JobSpec], bool]]] = (
    ("spec.image", "applies", lambda spec: spec.image is not None),
    ("spec.pods", "applies", lambda spec: spec.pods != PodsSpec()),
    ("spec.volumes", "are mounted", lambda spec: bool(spec.volumes)),
    ("spec.network", "applies", lambda spec: spec.network != NetworkSpec()),
    ("spec.scheduling", "applies", lambda spec: spec.scheduling != SchedulingSpec()),
    (
        "spec.failurePolicy",
        "is carried out by the operator: here a failed run ends, and the same command goes on with it; it applies",
        lambda spec: spec.failure_policy != FailurePolicySpec(),
    ),
    ("spec.checkpoint.volume", "is mounted", lambda spec: spec.checkpoint.volume is not None),
    ("spec.ttlSecondsAfterFinished", "applies", lambda spec: spec.ttl_seconds_after_finished is not None),
    (
        "spec.activeDeadlineSeconds",
        "is kept by the operator: here the run ends with its last phase; it applies",
        lambda spec: spec.active_deadline_seconds is not None,
    ),
)
"""Fields that only an operator carries out: what it does with them, and whether a job sets them."""


def future_field_problems(spec: JobSpec) -> Iterator[Problem]:
    """Fields that nothing in this release reads, where a job uses them."""
    for each in FUTURE_FIELDS:
        if each.used(spec):
            yield Problem(
                each.field, None, f"{each.what} supported from version {each.version}; this is {RELEASE}. Until then, {each.until_then}"
            )


def future_variant_problems(mapping: Mapping[str, object]) -> Iterator[Problem]:
    """Rewards, selection rules and filters of a later version, in a job as it was written: their other fields are not known yet, so
    they cannot be parsed."""
    for keys, versions in FUTURE_VARIANTS.items():
        items: object = mapping.get("spec")
        for key in keys:
            items = items.get(key) if isinstance(items, Mapping) else None
        for index, item in enumerate(items if isinstance(items, list) else ()):
            kind = item.get("type") if isinstance(item, Mapping) else None
            if isinstance(kind, str) and kind in versions:
                version, what = versions[kind]
                path = f"spec.{'.'.join(keys)}[{index}]"
                yield Problem(f"{path}.type", kind, f"{what} is supported from version {version}; this is {RELEASE}. Remove {path}")


def unsupported_on_one_machine(job: ReasoningRLJob) -> list[Problem]:
    """What `reasonrl run` refuses, although `reasonrl plan` reads it."""
    return [*_unsupported_engines(job.spec), *_unsupported_lifecycle(job.spec)]


def unsupported_without_operator(job: ReasoningRLJob) -> list[Problem]:
    """What `reasonrl run --cluster` refuses: what takes objects of a real cluster."""
    return list(_unsupported_lifecycle(job.spec))


def _unsupported_engines(spec: JobSpec) -> Iterator[Problem]:
    if spec.trainer.engine == "deepspeed":
        yield Problem(
            "spec.trainer.engine",
            "deepspeed",
            "deepspeed runs in processes of its own: use reasonrl run --cluster; or, to run in this process, engine: torch with "
            "replicas: 1, zeroStage: 0 and offload: none",
        )


def _unsupported_lifecycle(spec: JobSpec) -> Iterator[Problem]:
    if spec.suspend:
        yield Problem("spec.suspend", True, "only a cluster can suspend a job; stop a local run with SIGTERM: it saves a checkpoint")
    if spec.runtime_ref is not None:
        yield Problem(
            "spec.runtimeRef",
            spec.runtime_ref.name,
            "a blueprint is an object of a cluster, and this machine does not have it; write what it says into the job, and remove this",
        )


def cluster_only_fields(job: ReasoningRLJob) -> list[str]:
    """Sentences on what a job says that holds on a cluster alone, for `reasonrl run` to print."""
    spec = job.spec
    sentences = []
    if spec.rollout.replicas > 1 or spec.rollout.min_replicas > 1:
        sentences.append(
            f"spec.rollout.replicas: {spec.rollout.replicas} and minReplicas: {spec.rollout.min_replicas} apply on a cluster; "
            "here there is one rollout engine, in this process."
        )
    if spec.rollout.gpus_per_replica or spec.trainer.gpus_per_replica:
        sentences.append(
            f"spec.rollout.gpusPerReplica: {spec.rollout.gpus_per_replica} and spec.trainer.gpusPerReplica: "
            f"{spec.trainer.gpus_per_replica} apply "
            "on a cluster; here everything is on this machine's first GPU, or on its CPU when it has none."
        )
    if spec.rollout.placement != "Disaggregated":
        sentences.append(
            f"spec.rollout.placement: {spec.rollout.placement} applies on a cluster; here sampling and training share one process."
        )
    if spec.rollout.max_staleness:
        sentences.append(
            f"spec.rollout.maxStaleness: {spec.rollout.max_staleness} applies on a cluster; here every step samples with current weights."
        )
    reshaped = [phase.name for phase in spec.phases if phase.rollout is not None]
    if reshaped:
        sentences.append(f"The rollout shape of phase {', '.join(reshaped)} applies on a cluster; here it stays as it is.")
    if job.metadata.namespace != "default":
        sentences.append(f"metadata.namespace: {job.metadata.namespace} applies on a cluster.")
    sentences += [f"{field} {what} on a cluster." for field, what, used in CLUSTER_FIELDS if used(spec)]
    return sentences
