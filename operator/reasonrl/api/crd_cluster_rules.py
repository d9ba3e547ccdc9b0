"""CEL rules of sections that a job and a blueprint share: engines, pods, volumes, network, scheduling, failure policy. They say what
`validation.cluster` and `validation.engines` say, within one section; the operator checks the merged job across sections."""

from __future__ import annotations

from reasonrl.api.crd_schema import quoted
from reasonrl.api.crd_values import Rule, value
from reasonrl.api.names import ROLES
from reasonrl.api.support import RELEASE
from reasonrl.api.validation.cluster import QUEUEING_GANGS, RESERVED_PREFIX, TAKEN_DIRECTORIES

_MOUNT = "(self.mountPath.endsWith('/') ? self.mountPath : self.mountPath + '/')"
_TAKEN = f"[{', '.join(quoted(f'{each}/') for each in TAKEN_DIRECTORIES)}]"


def _scheduling() -> list[Rule]:
    at = "scheduling"
    gang = value("gang", at=at)
    gangs = f"[{', '.join(map(quoted, QUEUEING_GANGS))}]"
    return [
        Rule(
            at=at,
            rule=f"!has(self.queue) || !has(self.gang) || self.gang in {gangs}",
            message="queue is read by gang: Kueue or Volcano alone; use one of them, or remove it",
            expression=f"'gang: %s has no queues; use gang: Kueue or Volcano, or remove queue'.format([{gang}])",
            field="queue",
        )
    ]


def _budget(role: str) -> list[Rule]:
    at = f"failurePolicy.{role}"
    return [
        Rule(
            at=at,
            rule="!has(self.backoffSeconds) || !has(self.maxBackoffSeconds) || self.backoffSeconds <= self.maxBackoffSeconds",
            message="backoffSeconds must be at most maxBackoffSeconds; lower it, or raise that",
            field="backoffSeconds",
        )
    ]


def _volumes() -> list[Rule]:
    return [
        Rule(
            at="volumes",
            rule="self.all(v, self.exists_one(w, w.mountPath == v.mountPath))",
            message="two volumes are mounted at the same mountPath; use another directory",
        ),
        Rule(
            at="volumes[]",
            rule=f"!{_TAKEN}.exists(t, {_MOUNT}.startsWith(t) || t.startsWith({_MOUNT}))",
            message=f"mountPath is taken by the pods themselves ({', '.join(TAKEN_DIRECTORIES)}); use a directory such as /data",
            field="mountPath",
        ),
    ]


def _pods(role: str) -> list[Rule]:
    at = f"pods.{role}"
    return [
        Rule(
            at=f"{at}.env",
            rule="self.all(v, self.exists_one(w, w.name == v.name))",
            message="an environment variable is given twice; keep one of them",
        ),
        Rule(at=f"{at}.env[]", rule="has(self.value) != has(self.valueFrom)", message="give exactly one of value and valueFrom"),
        Rule(
            at=f"{at}.env[].valueFrom",
            rule="has(self.secretKeyRef) != has(self.configMapKeyRef)",
            message="give exactly one of secretKeyRef and configMapKeyRef",
        ),
        Rule(
            at=f"{at}.resources",
            rule="!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || "
            "!isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k])) || "
            "!quantity(string(self.requests[k])).isGreaterThan(quantity(string(self.limits[k]))))",
            message="a request is more than its limit; lower it",
            field="requests",
        ),
        *(
            Rule(
                at=at,
                rule=f"!has(self.resources) || !has(self.resources.{field}) || "
                f"!({value('gpuResourceName', at=at)} in self.resources.{field})",
                message="GPUs are counted by gpusPerReplica of spec.trainer and spec.rollout; remove them here",
                field=f"resources.{field}",
            )
            for field in ("requests", "limits")
        ),
        *(
            Rule(
                at=at,
                rule=f"!has(self.{field}) || self.{field}.all(k, !k.startsWith({quoted(RESERVED_PREFIX)}))",
                message=f"{RESERVED_PREFIX} is the operator's own prefix; use another one",
                field=field,
            )
            for field in ("labels", "annotations")
        ),
        Rule(
            at=at,
            rule="!has(self.sharedMemory) || !has(self.resources) || !has(self.resources.limits) || "
            "!('memory' in self.resources.limits) || "
            "!isQuantity(string(self.sharedMemory)) || !isQuantity(string(self.resources.limits['memory'])) || "
            "!quantity(string(self.sharedMemory)).isGreaterThan(quantity(string(self.resources.limits['memory'])))",
            message="sharedMemory counts towards the memory limit, which is less; lower it",
            field="sharedMemory",
        ),
        Rule(
            at=f"{at}.tolerations[]",
            rule="!has(self.value) || !has(self.operator) || self.operator != 'Exists'",
            message="operator: Exists compares no value; remove it, or use operator: Equal",
            field="value",
        ),
        Rule(
            at=f"{at}.tolerations[]",
            rule="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            message="operator: Equal compares a key; give it, or use operator: Exists for every taint",
            field="key",
        ),
    ]


def _network() -> list[Rule]:
    return [
        Rule(
            at="network",
            rule="!has(self.policy) || self.policy != 'None' || !has(self.egress) || size(self.egress) == 0",
            message="policy: None restricts nothing; use policy: Restricted, or remove egress",
            field="egress",
        )
    ]


def _engines() -> list[Rule]:
    return [
        Rule(
            at="rollout",
            rule="!has(self.tools) || size(self.tools) == 0",
            message=f"tools are supported from version 0.5; this is {RELEASE}; remove the field",
            field="tools",
        ),
        Rule(
            at="rollout",
            rule="!has(self.replicas) || !has(self.minReplicas) || self.minReplicas <= self.replicas",
            message="minReplicas must be at most replicas, or training could never begin",
            expression="'minReplicas must be at most replicas (%d), or training could never begin'.format([self.replicas])",
            field="minReplicas",
        ),
    ]


CLUSTER_RULES: tuple[Rule, ...] = (
    *_scheduling(),
    *(rule for role in ROLES for rule in _budget(role)),
    *_volumes(),
    *(rule for role in ROLES for rule in _pods(role)),
    *_network(),
    *_engines(),
)
