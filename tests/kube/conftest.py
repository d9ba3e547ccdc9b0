"""Fixtures of the tests that need a real API server: one control plane a session, one namespace a test.

Nothing here skips. Where the Kubernetes programs are missing they are built, and where that fails the tests fail with the reason: a
green run has met a real API server.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from testbed.audit import AuditTrail
from testbed.client import ApiError, Client
from testbed.cluster_job import ClusterJob
from testbed.control_plane import ADMIN, ControlPlane
from testbed.control_plane import control_plane as run_control_plane
from testbed.crds import install_crds
from testbed.fake_kubelet import FakeKubelet, fake_kubelet
from testbed.fault_proxy import FaultProxy
from testbed.operator_process import OperatorProcess

KEEP_LOGS = bool(os.environ.get("REASONRL_KEEP_LOGS"))
"""Leaves the control plane's logs, the audit log and the kubeconfigs in the temporary directory."""


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """etcd and kube-apiserver as Kubernetes has them, without our kinds; each request is in the audit log."""
    with run_control_plane(audit=True, keep=KEEP_LOGS) as plane:
        yield plane
        plane.check()


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> list[str]:
    """Our kinds, as generated for the chart: the names of the CRDs, once they are served."""
    return install_crds(control_plane.client())


@pytest.fixture(scope="session")
def garbage_collector(control_plane: ControlPlane, crds: list[str]) -> ControlPlane:
    """The control plane with the real kube-controller-manager: garbage collector, namespaces, service accounts, aggregated roles.

    Our kinds come first: the collector looks for new ones each 30 s only.
    """
    control_plane.start_controller_manager()
    return control_plane


@pytest.fixture(scope="session")
def api(control_plane: ControlPlane) -> Client:
    """The API server as its administrator."""
    return control_plane.client(ADMIN)


@pytest.fixture
def namespace(control_plane: ControlPlane, api: Client) -> Iterator[str]:
    """A fresh namespace with its default service account; what is in it is deleted after the test, also where nothing collects garbage."""
    name = f"test-{secrets.token_hex(4)}"
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    try:
        api.create(account, namespace=name)
    except ApiError as error:
        if error.status != 409:
            raise
    yield name
    for resource in (
        "reasoningrljobs",
        "reasoningrlruntimes",
        "pods",
        "services",
        "configmaps",
        "secrets",
        "networkpolicies",
        "leases",
        "events",
    ):
        if api.has(resource):
            api.delete_all(resource, namespace=name, grace=0)
    api.delete("namespaces", name)


@pytest.fixture
def kubelet(control_plane: ControlPlane, namespace: str) -> Iterator[FakeKubelet]:
    """Nodes that play the pods of the test's namespace."""
    with fake_kubelet(control_plane, namespace=namespace) as player:
        yield player


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[FaultProxy]:
    """A proxy before the API server that passes everything on until the test asks for faults."""
    with FaultProxy(control_plane) as between:
        yield between


@pytest.fixture
def calls(control_plane: ControlPlane) -> AuditTrail:
    """What the API server was asked since the test began, from its own audit log."""
    return AuditTrail.from_now(control_plane)


@pytest.fixture(scope="module")
def operator_of_module(control_plane: ControlPlane, crds: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One operator for the whole cluster as long as a module's tests run: modules with operators of their own are not disturbed by it."""
    process = OperatorProcess(kubeconfig=control_plane.kubeconfig(ADMIN), directory=tmp_path_factory.mktemp("operator"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
def operator(operator_of_module: OperatorProcess) -> Iterator[OperatorProcess]:
    """The whole operator as a process of its own, acting; started again if a test before this one ended it."""
    operator_of_module.start()
    yield operator_of_module
    if operator_of_module.running:
        assert "Traceback" not in operator_of_module.log(), operator_of_module.log()[-6000:]


@pytest.fixture
def new_job(api: Client, kubelet: FakeKubelet, operator: OperatorProcess, calls: AuditTrail, namespace: str) -> Callable[[str], ClusterJob]:
    """Makes jobs to drive, by name, in the test's namespace."""
    return lambda name: ClusterJob(api=api, kubelet=kubelet, operator=operator, calls=calls, namespace=namespace, name=name)


@pytest.fixture
def job(new_job: Callable[[str], ClusterJob]) -> ClusterJob:
    """A job to drive, not created yet."""
    return new_job("zero")
