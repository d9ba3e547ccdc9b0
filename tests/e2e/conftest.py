"""Fixtures of the tests on a real cluster: `make e2e`. Without it nothing here is collected, because minutes and pods are needed.

The cluster is that of KUBECONFIG; scripts/e2e starts a local one where there is none. Everything is made in namespaces of its own and taken
away again, whatever happened.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from driver.jobs import Job
from driver.kubectl import Kubectl, Object
from driver.release import NAMESPACE, RESTRICTED, Release

collect_ignore_glob = [] if os.environ.get("REASONRL_E2E") else ["test_*.py"]

REGISTRY = os.environ.get("REASONRL_E2E_REGISTRY", "localhost")
"""Before reasonrl/operator and reasonrl/runtime in the names of the images."""
STORAGE_CLASS = os.environ.get("REASONRL_E2E_STORAGE_CLASS", "")
VOLUMES = os.environ.get("REASONRL_E2E_VOLUMES", "")
"""A directory that all nodes see, as on the local cluster: volumes are made in it. Without one, STORAGE_CLASS provides them."""
REPORT = Path(os.environ.get("REASONRL_E2E_REPORT", "build/e2e"))


@pytest.fixture(scope="session")
def version() -> str:
    lines = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version = "))


@pytest.fixture(scope="session")
def report() -> Path:
    """Where what a person may want to read afterwards is written."""
    REPORT.mkdir(parents=True, exist_ok=True)
    return REPORT


@pytest.fixture(scope="session")
def runtime_image(version: str) -> str:
    return f"{REGISTRY}/reasonrl/runtime:{version}"


@pytest.fixture(scope="session")
def admin() -> Kubectl:
    """The cluster's administrator, in the operator's namespace."""
    kubeconfig = os.environ.get("KUBECONFIG", "")
    assert kubeconfig, "KUBECONFIG is not set: use make e2e"
    return Kubectl(kubeconfig, NAMESPACE)


@pytest.fixture(scope="session")
def release(admin: Kubectl, version: str, runtime_image: str, report: Path) -> Iterator[Release]:
    """The operator, installed by helm into a namespace that admits restricted pods alone."""
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": RESTRICTED}})
    values = {
        "image": {"registry": REGISTRY, "tag": version},
        "operator": {"jobImage": runtime_image, "pollSeconds": 1, "logLevel": "info"},
        "crds": {"keep": False},
    }
    made = Release(admin.kubeconfig, values)
    made.install()
    try:
        yield made
    finally:
        (report / "operator.log").write_text(admin.run("logs", "--selector=app.kubernetes.io/name=reasonrl", "--tail=-1", "--prefix"))
        made.uninstall()
        admin.delete("namespace", NAMESPACE)


@pytest.fixture(scope="module")
def namespace(admin: Kubectl, release: Release) -> Iterator[Kubectl]:
    """A fresh namespace for jobs, which admits restricted pods alone; it and its volumes go with the module's last test."""
    name = f"e2e-{secrets.token_hex(3)}"
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    try:
        yield Kubectl(admin.kubeconfig, name)
    finally:
        admin.delete("namespace", name)
        admin.run("delete", "persistentvolumes", f"--selector=reasonrl.dev/e2e={name}", "--ignore-not-found")


@pytest.fixture(scope="module")
def claim(namespace: Kubectl) -> Callable[[str], str]:
    """Makes a claim with a volume that pods of every node may write to: its name is the answer."""

    def make(name: str) -> str:
        size = {"storage": "2Gi"}
        spec: Object = {"accessModes": ["ReadWriteMany"], "resources": {"requests": size}}
        if VOLUMES:
            whole = f"{namespace.namespace}-{name}"
            directory = Path(VOLUMES, whole)
            directory.mkdir(parents=True)
            # The kubelet does not give directories of the host to a pod's group.
            os.chown(directory, 65532, 65532)
            volume = {
                "capacity": size,
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "hostPath": {"path": str(directory), "type": "Directory"},
                "claimRef": {"namespace": namespace.namespace, "name": name},
            }
            labels = {"reasonrl.dev/e2e": namespace.namespace}
            namespace.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": whole, "labels": labels}, "spec": volume})
            spec.update(storageClassName="", volumeName=whole)
        elif STORAGE_CLASS:
            spec["storageClassName"] = STORAGE_CLASS
        namespace.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec})
        return name

    return make


@pytest.fixture
def removed(namespace: Kubectl) -> Iterator[list[Job]]:
    """Jobs put in here are deleted after the test, and their pods are waited for: two cores have no room for those of two tests."""
    jobs: list[Job] = []
    yield jobs
    for job in jobs:
        namespace.delete("reasoningrljobs.reasonrl.dev", job.name)
        namespace.run("delete", "pods", f"--selector=reasonrl.dev/job={job.name}", "--grace-period=1", "--ignore-not-found")
