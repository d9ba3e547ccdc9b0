"""The control plane of the testbed: a fixture that lies makes every test above it worthless."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from testbed.audit import AuditTrail
from testbed.client import ApiError, Client
from testbed.control_plane import ControlPlane
from testbed.deadline import wait_for
from testbed.objects import config_map, pod
from testbed.scratch import scratch_directory


class TestControlPlane:
    def test_serves_the_pinned_version(self, control_plane: ControlPlane, api: Client) -> None:
        pinned = (Path(__file__).parent / "gomod" / "go.mod").read_text()
        version = api.request("GET", "/version")
        assert f"k8s.io/kubernetes {version['gitVersion']} " in pinned
        assert control_plane.start_seconds < 60

    def test_enforces_rbac_by_user(self, control_plane: ControlPlane, namespace: str) -> None:
        with pytest.raises(ApiError) as refused:
            control_plane.client("stranger").list("pods", namespace=namespace)
        assert (refused.value.status, refused.value.reason) == (403, "Forbidden")

    def test_service_account_tokens_are_real(self, control_plane: ControlPlane, api: Client, namespace: str) -> None:
        token = api.token("default", namespace=namespace)
        mine = Client(control_plane.url, token=token, certificate_authority=control_plane.certificate_authority)
        review = mine.create({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}})
        assert review["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"

    def test_admits_restricted_pods_only_where_the_namespace_says_so(self, api: Client, namespace: str) -> None:
        api.patch("namespaces", namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
        with pytest.raises(ApiError, match="violates PodSecurity"):
            api.create(pod("loose"), namespace=namespace)

    def test_audit_log_counts_calls_by_user_verb_and_resource(self, api: Client, namespace: str, calls: AuditTrail) -> None:
        api.create(config_map("one"), namespace=namespace)
        api.patch("configmaps", "one", {"data": {"a": "b"}}, namespace=namespace)
        api.get("configmaps", "one", namespace=namespace)
        expected = {"create configmaps": 1, "patch configmaps": 1, "get configmaps": 1}
        wait_for(lambda: calls.count(user="admin", namespace=namespace) == expected, what="three calls in the audit log")

    def test_children_of_a_deleted_owner_are_collected(self, garbage_collector: ControlPlane, api: Client, namespace: str) -> None:
        owner = api.create(config_map("owner"), namespace=namespace)
        api.create(config_map("child", owner=owner), namespace=namespace)
        api.create(config_map("orphan"), namespace=namespace)
        api.delete("configmaps", "owner", namespace=namespace)
        api.wait_gone("configmaps", "child", namespace=namespace, deadline=30)
        assert api.find("configmaps", "orphan", namespace=namespace)

    def test_ends_with_the_process_that_started_it(self, tmp_path: Path) -> None:
        program = """
import sys, time
from testbed.control_plane import control_plane
with control_plane() as plane:
    print(plane.etcd.pid, plane.apiserver.pid, flush=True)
    time.sleep(600)
"""
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "TMPDIR": str(tmp_path)}
        parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(_alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        parent.stdout.close()
        wait_for(lambda: not any(_alive(pid) for pid in pids), what="etcd and kube-apiserver gone")

    def test_what_a_killed_process_left_is_swept(self, tmp_path: Path) -> None:
        program = """
import sys, time
from pathlib import Path
from testbed.scratch import scratch_directory
with scratch_directory("left-", parent=Path(sys.argv[1])) as directory:
    print(directory, flush=True)
    time.sleep(600)
"""
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment)
        assert parent.stdout is not None
        left = Path(parent.stdout.readline().strip())
        with scratch_directory("left-", parent=tmp_path) as mine:
            assert left.is_dir(), "the directory of a living process was swept"
            assert mine != left
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
        assert left.is_dir()
        with scratch_directory("left-", parent=tmp_path):
            assert not left.exists()


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet is dead all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False
