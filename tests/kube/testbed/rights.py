"""What an account may do, by the API server's own account."""

from __future__ import annotations

from testbed.client import Client
from testbed.control_plane import ControlPlane

EVERYBODYS = {"authentication.k8s.io", "authorization.k8s.io"}
"""Groups of which every account may ask who it is and what it may do."""


def rights(client: Client, namespace: str) -> dict[tuple[str, str], set[str]]:
    """All that an account may do in a namespace, by the API server's own account."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    answer = client.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)
    found: dict[tuple[str, str], set[str]] = {}
    for rule in answer["status"]["resourceRules"]:
        for group in set(rule["apiGroups"]) - EVERYBODYS:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames") or [""]:
                    found.setdefault((group, f"{resource} {name}".strip()), set()).update(rule["verbs"])
    return found


def as_account(plane: ControlPlane, account: str, namespace: str) -> Client:
    token = plane.client().token(account, namespace=namespace)
    return Client(plane.url, token=token, certificate_authority=plane.certificate_authority)
