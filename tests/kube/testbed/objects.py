"""Small objects of Kubernetes, as tests of the testbed make them, and what is read of a pod."""

from __future__ import annotations

from typing import Any

from reasonrl.api import names
from testbed.client import Object


def pod(name: str, *, role: str = "rollout", index: int = 0, **spec: Any) -> Object:
    labels = {names.LABEL_ROLE: role, names.LABEL_INDEX: str(index)}
    container = {"name": names.CONTAINER, "image": "reasonrl/runtime"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [container], **spec},
    }


def config_map(name: str, *, owner: Object | None = None, **data: str) -> Object:
    metadata: Object = {"name": name}
    if owner is not None:
        reference = {"apiVersion": "v1", "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        metadata["ownerReferences"] = [{**reference, "controller": True, "blockOwnerDeletion": True}]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def phase(found: Object) -> str:
    return str(found["status"]["phase"])


def condition(found: Object, kind: str) -> Object:
    return next((one for one in found["status"].get("conditions", ()) if one["type"] == kind), {})


def ending(found: Object) -> Object:
    state: Object = found["status"]["containerStatuses"][0]["state"]["terminated"]
    return state
