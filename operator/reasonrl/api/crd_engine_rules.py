"""CEL rules across the sections that a blueprint may fill in: engines, checkpoints, telemetry, scheduling. They say what the modules of
`validation` say, and are judged only when the job names no blueprint: what one may still change is the operator's to judge.
"""

from __future__ import annotations

from reasonrl.api.crd_data_rules import NO_BENCHMARKS
from reasonrl.api.crd_values import Rule, default, value
from reasonrl.api.names import ROLES
from reasonrl.api.quantity import format_quantity
from reasonrl.api.validation.cluster import QUEUEING_GANGS
from reasonrl.api.validation.evaluation import REWARD_METRIC

_LATER = "has(self.runtimeRef) || "


def _engines() -> list[Rule]:
    engine, trainer = value("rollout.engine"), value("trainer.engine")
    one = "the torch engine is one process on one GPU or CPU"
    return [
        Rule(
            at="",
            rule=f"{_LATER}{value('rollout.minReplicas')} <= {value('rollout.replicas')}",
            message="minReplicas must be at most replicas, or training could never begin",
            field="rollout.minReplicas",
        ),
        Rule(
            at="",
            rule=f"{_LATER}{engine} != 'torch' || {value('rollout.gpusPerReplica')} <= 1",
            message="the torch engine uses one GPU; use engine: vllm, or more replicas of one GPU each",
            field="rollout.gpusPerReplica",
        ),
        Rule(
            at="",
            rule=f"{_LATER}{value('rollout.placement')} != 'Colocated' || {value('rollout.replicas')} * "
            f"{value('rollout.gpusPerReplica')} <= {value('trainer.replicas')} * {value('trainer.gpusPerReplica')}",
            message="the rollout engines have more GPUs than the trainers whose GPUs they share; use fewer, or placement: Disaggregated",
            field="rollout.gpusPerReplica",
        ),
        Rule(
            at="",
            rule=f"{_LATER}{value('rollout.placement')} != 'Colocated' || {value('rollout.maxStaleness')} == 0",
            message="sampling and training take turns with placement: Colocated, so nothing can be sampled ahead; use 0, or Disaggregated",
            field="rollout.maxStaleness",
        ),
        Rule(
            at="",
            rule=f"{_LATER}{engine} == 'vllm' || {value('rollout.memoryUtilization')} == {default('rollout.memoryUtilization')}",
            message="memoryUtilization is read by engine: vllm alone; remove it",
            field="rollout.memoryUtilization",
        ),
        Rule(
            at="",
            rule=f"{_LATER}{engine} == 'vllm' || !has(self.rollout) || !has(self.rollout.keyValueCache)",
            message="keyValueCache is read by engine: vllm alone; remove it",
            field="rollout.keyValueCache",
        ),
        Rule(
            at="",
            rule=f"{_LATER}!has(self.rollout) || !has(self.rollout.keyValueCache) || {value('rollout.gpusPerReplica')} == 0",
            message="keyValueCache is for a CPU; on a GPU use memoryUtilization",
            field="rollout.keyValueCache",
        ),
        *(
            Rule(
                at="",
                rule=f"{_LATER}{trainer} != 'torch' || {value(f'trainer.{field}')} {sound}",
                message=f"{one}; use engine: deepspeed, or {field}: {instead}",
                field=f"trainer.{field}",
            )
            for field, sound, instead in (
                ("zeroStage", "== 0", "0"),
                ("offload", "== 'none'", "none"),
                ("replicas", "<= 1", "1"),
                ("gpusPerReplica", "<= 1", "1"),
            )
        ),
        *(
            Rule(
                at="",
                rule=f"{_LATER}{trainer} != 'deepspeed' || {value('trainer.offload')} != '{offload}' || "
                f"{value('trainer.zeroStage')} >= {stage}",
                message=f"offload: {offload} needs zeroStage {stage} or more",
                field="trainer.offload",
            )
            for offload, stage in (("optimizer", 1), ("parameters", 3))
        ),
    ]


def _gpu_memory() -> list[Rule]:
    usual = f"'{format_quantity(int(default('trainer.gpuMemory')))}', '{default('trainer.gpuMemory')}'"
    return [
        Rule(
            at="",
            rule=f"{_LATER}!has(self.trainer) || !has(self.trainer.gpuMemory) || string(self.trainer.gpuMemory) in [{usual}] || "
            f"{value('trainer.gpusPerReplica')} > 0 || {value('rollout.gpusPerReplica')} > 0",
            message="gpuMemory: this job asks for no GPU; give gpusPerReplica, or remove it",
            field="trainer.gpuMemory",
        )
    ]


def _records() -> list[Rule]:
    return [
        Rule(
            at="",
            rule="!has(self.checkpoint) || !has(self.checkpoint.keepBest) || "
            f"self.checkpoint.keepBest.metric == '{REWARD_METRIC}' || !({NO_BENCHMARKS}) && "
            "self.evaluation.benchmarks.exists(b, b.name == self.checkpoint.keepBest.metric)",
            message=f"metric: no benchmark has this name; use one of them, or {REWARD_METRIC}",
            field="checkpoint.keepBest.metric",
        ),
        Rule(
            at="",
            rule=f"{_LATER}{value('telemetry.prometheusAddress')} == {default('telemetry.prometheusAddress')} || "
            "self.?telemetry.?prometheusPort.hasValue()",
            message="nothing listens at prometheusAddress without prometheusPort; give it, or remove this",
            field="telemetry.prometheusAddress",
        ),
        Rule(
            at="",
            rule=f"{_LATER}{value('telemetry.rolloutsEverySteps')} > 0 || {value('telemetry.rolloutsPerStep')} == "
            f"{default('telemetry.rolloutsPerStep')}",
            message="rolloutsEverySteps: 0 writes none; raise that, or remove rolloutsPerStep",
            field="telemetry.rolloutsPerStep",
        ),
    ]


def _cluster() -> list[Rule]:
    """What `crd_cluster_rules` leaves to the whole, because a blueprint may say the other half."""
    return [
        Rule(
            at="",
            rule=f"{_LATER}{value('scheduling.gang')} != 'Kueue' || self.?scheduling.?queue.hasValue()",
            message="gang: Kueue needs queue, the name of a LocalQueue in the job's namespace",
            field="scheduling.queue",
        ),
        Rule(
            at="",
            rule=f"{_LATER}{value('scheduling.gang')} in {list(QUEUEING_GANGS)} || !self.?scheduling.?queue.hasValue()",
            message="queue is read by gang: Kueue or Volcano alone; use one of them, or remove it",
            field="scheduling.queue",
        ),
        *(
            Rule(
                at="",
                rule=f"{_LATER}{value(f'failurePolicy.{role}.backoffSeconds')} <= {value(f'failurePolicy.{role}.maxBackoffSeconds')}",
                message="backoffSeconds must be at most maxBackoffSeconds; lower it, or raise that",
                field=f"failurePolicy.{role}.backoffSeconds",
            )
            for role in ROLES
        ),
    ]


ENGINE_RULES: tuple[Rule, ...] = (*_engines(), *_gpu_memory(), *_records(), *_cluster())
