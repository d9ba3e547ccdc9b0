"""The job's children other than pods: Service, ConfigMap, Secret, NetworkPolicy, and a PodGroup for those schedulers that need one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reasonrl.api import names
from reasonrl.controller.actions import Create, Patch
from reasonrl.controller.frozen_job import BLUEPRINT_FILE, BLUEPRINT_VERSION_FILE, FrozenJob, digest
from reasonrl.controller.ownership import child_labels, owner_references
from reasonrl.controller.pod_environment import TOKEN_KEY
from reasonrl.controller.records import JobRecord, ObjectRecord, Observed
from reasonrl.controller.requests import Control
from reasonrl.controller.settings import JobSettings, part
from reasonrl.controller.situation import lost_their_token

GENERATED_TOKEN = "<generated>"
"""Stands in the Secret's `stringData` for a random token. A plan must not be random: the executor puts it in when it creates
the Secret."""


def config_of(observed: Observed) -> ObjectRecord | None:
    """The job's ConfigMap, if it is there and not on its way out."""
    wanted = names.config_name(observed.job.key.name)
    return next(
        (each for each in observed.children.objects if each.kind == "ConfigMap" and each.name == wanted and not each.deleting), None
    )


def config_data(frozen: FrozenJob, control: Control) -> dict[str, str]:
    data = {names.CONFIG_JOB_FILE: frozen.text, names.CONFIG_CONTROL_FILE: control.text()}
    if frozen.blueprint is not None:
        data[BLUEPRINT_FILE] = json.dumps(frozen.blueprint)
        if frozen.version:
            data[BLUEPRINT_VERSION_FILE] = frozen.version
    return data


def config_patch(record: ObjectRecord, frozen: FrozenJob, control: Control) -> Patch | None:
    """What brings the ConfigMap up to date; None where it is."""
    changed = {key: value for key, value in config_data(frozen, control).items() if record.data.get(key) != value}
    body: dict[str, Any] = {"data": changed} if changed else {}
    if record.content != frozen.source:
        body["metadata"] = {"labels": {names.LABEL_TEMPLATE: frozen.source}}
    return Patch(kind="ConfigMap", name=record.name, uid=record.uid, body=body) if body else None


def missing_children(observed: Observed, settings: JobSettings, frozen: FrozenJob, control: Control) -> tuple[Create, ...]:
    """What has to be created; what is on its way out is waited for, and what another owner holds is not touched.

    A new token comes when the last pod with the lost one has gone: until then its absence is the evidence of what has to be done."""
    job = observed.job
    there = {(each.kind, each.name) for each in observed.children.objects}
    strangers = set(observed.children.strangers)
    bodies = [_config(job, frozen, control), _service(job), *([] if lost_their_token(observed) else [_secret(job)])]
    if part(settings.spec, "network").get("policy") != "None":
        bodies.append(_network_policy(job, settings))
    if settings.gang in ("Volcano", "Coscheduling"):
        bodies.append(_pod_group(job, settings))
    return tuple(
        Create(kind=body["kind"], body=body)
        for body in bodies
        if (body["kind"], body["metadata"]["name"]) not in there and body["metadata"]["name"] not in strangers
    )


def _object(job: JobRecord, api_version: str, kind: str, name: str, *, content: str, **rest: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": job.key.namespace,
        "labels": child_labels(job, content),
        "ownerReferences": owner_references(job),
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def _config(job: JobRecord, frozen: FrozenJob, control: Control) -> dict[str, Any]:
    name = names.config_name(job.key.name)
    return _object(job, "v1", "ConfigMap", name, content=frozen.source, data=config_data(frozen, control))


def _service(job: JobRecord) -> dict[str, Any]:
    spec = {
        "clusterIP": "None",
        # The trainers must find each other before they can be ready.
        "publishNotReadyAddresses": True,
        "selector": {names.LABEL_JOB_UID: job.uid},
        "ports": [{"name": "status", "port": names.STATUS_PORT, "targetPort": names.STATUS_PORT}],
    }
    return _object(job, "v1", "Service", names.service_name(job.key.name), content=digest(spec), spec=spec)


def _secret(job: JobRecord) -> dict[str, Any]:
    name = names.token_name(job.key.name)
    return _object(job, "v1", "Secret", name, content="token", type="Opaque", stringData={TOKEN_KEY: GENERATED_TOKEN})


def _network_policy(job: JobRecord, settings: JobSettings) -> dict[str, Any]:
    own = {"podSelector": {"matchLabels": {names.LABEL_JOB_UID: job.uid}}}
    dns = {
        # A cluster's DNS runs in whatever namespace; a cache on the node has a link-local address.
        "to": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "169.254.0.0/16"}}],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
    }
    spec = {
        "podSelector": own["podSelector"],
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [own]}, {"ports": [{"port": names.STATUS_PORT, "protocol": "TCP"}]}],
        "egress": [{"to": [own]}, dns, *(_egress(rule) for rule in part(settings.spec, "network").get("egress") or ())],
    }
    name = names.network_policy_name(job.key.name)
    return _object(job, "networking.k8s.io/v1", "NetworkPolicy", name, content=digest(spec), spec=spec)


def _egress(rule: Mapping[str, Any]) -> dict[str, Any]:
    allowed: dict[str, Any] = {"to": [{"ipBlock": {"cidr": rule["cidr"]}}]}
    if rule.get("ports"):
        allowed["ports"] = [{"port": each["port"], "protocol": each.get("protocol") or "TCP"} for each in rule["ports"]]
    return allowed


def _pod_group(job: JobRecord, settings: JobSettings) -> dict[str, Any]:
    """Of the trainers: rollout pods come and go, and training begins with few of them."""
    name = names.pod_group_name(job.key.name)
    spec: dict[str, Any] = {"minMember": settings.trainers}
    if settings.gang == "Coscheduling":
        return _object(job, "scheduling.x-k8s.io/v1alpha1", "PodGroup", name, content=digest(spec), spec=spec)
    if settings.queue:
        spec["queue"] = settings.queue
    priority = part(settings.spec, "scheduling").get("priorityClassName")
    if priority:
        spec["priorityClassName"] = priority
    return _object(job, "scheduling.volcano.sh/v1beta1", "PodGroup", name, content=digest(spec), spec=spec)
