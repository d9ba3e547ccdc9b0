"""The CustomResourceDefinitions of the job and its blueprints, made from the models: `python -m reasonrl.api.crd DIRECTORY`.

The schema refuses on the API server itself what `parse_job` refuses here, with the same words, as far as a schema and CEL can say it; the
operator checks a job again as a whole when it admits it. A test fails when the files are stale.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from reasonrl.api.crd_immutability import add_immutability
from reasonrl.api.crd_rules import add_job_rules, add_name_rules, add_shared_rules
from reasonrl.api.crd_schema import Schema, structural_schema
from reasonrl.api.job import KIND, JobSpec, ReasoningRLJob
from reasonrl.api.names import CLUSTER_RUNTIME_PLURAL, GROUP, JOB_PLURAL, RUNTIME_PLURAL, VERSION
from reasonrl.api.runtime import CLUSTER_RUNTIME_KIND, RUNTIME_KIND, ClusterReasoningRLRuntime, ReasoningRLRuntime, RuntimeSpec
from reasonrl.api.status import JobStatus
from reasonrl.api.yaml_text import yaml_text

DIRECTORY = Path("charts/reasonrl/crds-source")
CATEGORY = "reasonrl"

JOB_COLUMNS: tuple[tuple[str, str, str, str, int], ...] = (
    ("Status", "string", ".status.summary", "One word on how it goes", 0),
    ("Step", "integer", ".status.step", "Complete global steps", 0),
    ("Of", "integer", ".status.totalSteps", "Steps at most", 1),
    ("Phase", "string", ".status.phase", "Current phase", 0),
    ("Reward", "number", ".status.reward", "Mean reward of the last step", 0),
    ("Accuracy", "number", ".status.accuracy", "Share of right answers in the last step", 1),
    ("Length", "number", ".status.responseLength.mean", "Mean response length of the last step, in tokens", 0),
    ("P95", "number", ".status.responseLength.p95", "95th percentile of the response lengths, in tokens", 1),
    ("Truncated", "number", ".status.truncatedShare", "Share of responses cut off in the last step", 1),
    ("KL", "number", ".status.klCoefficient", "KL coefficient of the last step", 0),
    ("Trainers", "integer", ".status.trainers.ready", "Trainer pods that are ready", 1),
    ("Rollouts", "integer", ".status.rollouts.ready", "Rollout pods that are ready", 1),
    ("Checkpoint", "integer", ".status.lastCheckpointStep", "Step of the newest checkpoint", 1),
    ("Age", "date", ".metadata.creationTimestamp", "Since when the job exists", 0),
    ("Message", "string", ".status.message", "One sentence on how it goes", 1),
)
RUNTIME_COLUMNS: tuple[tuple[str, str, str, str, int], ...] = (
    ("Image", "string", ".spec.image", "Image of all pods", 0),
    ("Engine", "string", ".spec.rollout.engine", "Rollout engine", 0),
    ("Gang", "string", ".spec.scheduling.gang", "Who starts all trainers or none", 0),
    ("Queue", "string", ".spec.scheduling.queue", "Queue of the jobs", 0),
    ("Age", "date", ".metadata.creationTimestamp", "Since when the blueprint exists", 0),
)


def custom_resource_definitions() -> dict[str, Schema]:
    """All three, by file name."""
    return {f"{GROUP}_{crd['spec']['names']['plural']}.yaml": crd for crd in (job_crd(), runtime_crd(), cluster_runtime_crd())}


def job_crd() -> Schema:
    spec = structural_schema(JobSpec)
    add_shared_rules(spec)
    add_job_rules(spec)
    root = _root(ReasoningRLJob, spec)
    root["properties"]["status"] = structural_schema(JobStatus)
    _conditions_by_type(root["properties"]["status"])
    add_name_rules(root)
    add_immutability(root)
    subresources = {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.rollout.replicas",
            "statusReplicasPath": ".status.rollouts.ready",
            "labelSelectorPath": ".status.rollouts.selector",
        },
    }
    return _crd(
        kind=KIND,
        plural=JOB_PLURAL,
        short="rrlj",
        scope="Namespaced",
        schema=root,
        columns=JOB_COLUMNS,
        subresources=subresources,
    )


def runtime_crd() -> Schema:
    root = _root(ReasoningRLRuntime, _runtime_spec())
    return _crd(kind=RUNTIME_KIND, plural=RUNTIME_PLURAL, short="rrlr", scope="Namespaced", schema=root, columns=RUNTIME_COLUMNS)


def cluster_runtime_crd() -> Schema:
    root = _root(ClusterReasoningRLRuntime, _runtime_spec())
    return _crd(
        kind=CLUSTER_RUNTIME_KIND, plural=CLUSTER_RUNTIME_PLURAL, short="crrlr", scope="Cluster", schema=root, columns=RUNTIME_COLUMNS
    )


def _runtime_spec() -> Schema:
    spec = structural_schema(RuntimeSpec)
    add_shared_rules(spec)
    return spec


def _root(model: type[BaseModel], spec: Schema) -> Schema:
    spec["description"] = model.model_fields["spec"].description
    return {
        "type": "object",
        "description": " ".join((model.__doc__ or "").split()),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"{model.__name__}."},
            "metadata": {"type": "object"},
            "spec": spec,
        },
    }


def _conditions_by_type(status: Schema) -> None:
    status["properties"]["conditions"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


def _crd(
    *,
    kind: str,
    plural: str,
    short: str,
    scope: str,
    schema: Schema,
    columns: tuple[tuple[str, str, str, str, int], ...],
    subresources: Mapping[str, Any] | None = None,
) -> Schema:
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [_column(*column) for column in columns],
    }
    if subresources:
        version["subresources"] = dict(subresources)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": [CATEGORY],
            },
            "scope": scope,
            "versions": [version],
        },
    }


def _column(name: str, kind: str, path: str, description: str, priority: int) -> Schema:
    column: Schema = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": priority} if priority else column


def write(directory: Path) -> list[Path]:
    """Writes the files and returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, crd in custom_resource_definitions().items():
        path = directory / name
        path.write_text(
            f"# Made by `python -m reasonrl.api.crd` from operator/reasonrl/api. Do not edit.\n{yaml_text(crd)}", encoding="utf-8"
        )
        written.append(path)
    return written


if __name__ == "__main__":
    for each in write(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY):
        print(each)
