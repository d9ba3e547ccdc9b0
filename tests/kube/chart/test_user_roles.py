"""What people may do: the roles that Kubernetes brings learn about jobs."""

from __future__ import annotations

import pytest
from testbed.client import ApiError, Client
from testbed.cluster_job import manifest
from testbed.control_plane import ControlPlane
from testbed.deadline import wait_for
from testbed.rights import rights

from reasonrl.api import names

JOBS, RUNTIMES, CLUSTER_RUNTIMES = names.JOB_PLURAL, names.RUNTIME_PLURAL, names.CLUSTER_RUNTIME_PLURAL


def test_view_edit_and_admin_know_about_jobs(plane: ControlPlane, admin: Client, team: str) -> None:
    """By the real controller that aggregates roles."""
    people = {"viewer": "view", "stranger": "edit", "operator": "admin"}
    for user, role in people.items():
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": user, "namespace": team},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
        }
        admin.create(binding)
    view = {"get", "list", "watch"}
    edit = view | {"create", "update", "patch", "delete", "deletecollection"}
    expected = {
        "viewer": {JOBS: view, f"{JOBS}/status": view, f"{JOBS}/scale": view, RUNTIMES: view},
        "stranger": {JOBS: edit, f"{JOBS}/status": view, f"{JOBS}/scale": view | {"update", "patch"}, RUNTIMES: view},
        "operator": {JOBS: edit, f"{JOBS}/status": view, f"{JOBS}/scale": view | {"update", "patch"}, RUNTIMES: edit},
    }

    def ours(user: str) -> dict[str, set[str]]:
        found = rights(plane.client(user), team)
        return {resource: verbs for (group, resource), verbs in found.items() if group == names.GROUP and resource != CLUSTER_RUNTIMES}

    for user, wanted in expected.items():
        wait_for(lambda user=user, wanted=wanted: ours(user) == wanted, deadline=20, what=f"{people[user]} knows about jobs: {wanted}")
    plane.client("stranger").create(manifest("zero"), namespace=team)
    assert [job["metadata"]["name"] for job in plane.client("viewer").list(JOBS, namespace=team)] == ["zero"]
    for user, call in (
        ("viewer", lambda client: client.create(manifest("one"), namespace=team)),
        ("viewer", lambda client: client.delete(JOBS, "zero", namespace=team)),
        ("stranger", lambda client: client.patch(JOBS, "zero", {"status": {"step": 1}}, namespace=team, subresource="status")),
        ("operator", lambda client: client.list(JOBS, namespace="platform")),
    ):
        with pytest.raises(ApiError, match="forbidden"):
            call(plane.client(user))
