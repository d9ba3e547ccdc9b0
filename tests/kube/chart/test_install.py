"""The chart installed, upgraded and uninstalled by real Helm: what the API server takes, and what outlives it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from testbed.client import ApiError, Client, Object
from testbed.cluster_job import manifest
from testbed.helm import CHART, CRDS, Helm, HelmRefused, new_namespace, wait_served, with_helm

from reasonrl.api import names

JOBS, RUNTIMES, CLUSTER_RUNTIMES = names.JOB_PLURAL, names.RUNTIME_PLURAL, names.CLUSTER_RUNTIME_PLURAL
DRY = {"dryRun": "All"}


def crd(admin: Client, name: str = CRDS[0]) -> Object:
    return admin.get("customresourcedefinitions", name)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[tuple[Client, Helm]]:
    with with_helm(tmp_path) as (plane, helm):
        yield plane.client(), helm


def next_chart(directory: Path) -> Path:
    """A later version of the chart, whose job has a field more in its status."""
    shutil.copytree(CHART, directory)
    described = yaml.safe_load((directory / "Chart.yaml").read_text())
    (directory / "Chart.yaml").write_text(yaml.safe_dump({**described, "version": "0.3.1"}))
    (path,) = (directory / "crds-source").glob("*_reasoningrljobs.yaml")
    # In C where it is there: the file has thousands of lines.
    body = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    schema = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["status"]["properties"]["newInNext"] = {"type": "string"}
    path.write_text("\n" + yaml.dump(body, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))
    return directory


@pytest.mark.slow
def test_jobs_outlive_upgrades_and_uninstalls(empty: tuple[Client, Helm], tmp_path: Path) -> None:
    admin, helm = empty
    said = helm.install("rl", namespace="platform")
    assert "every namespace, with 2 replicas" in said
    assert "kubectl delete crd reasoningrljobs" in said
    wait_served(admin)
    new_namespace(admin, "team")
    uid = admin.create(manifest("zero"), namespace="team")["metadata"]["uid"]
    assert admin.get("deployments", "rl-reasonrl", namespace="platform")["spec"]["replicas"] == 2

    # An upgrade changes what values say, and the CRDs.
    before = crd(admin)["metadata"]["generation"]
    helm.upgrade("rl", namespace="platform", values={"replicas": 3})
    assert admin.get("deployments", "rl-reasonrl", namespace="platform")["spec"]["replicas"] == 3
    assert crd(admin)["metadata"]["generation"] == before, "the same CRDs are left alone"
    helm.upgrade("rl", namespace="platform", chart=next_chart(tmp_path / "next"))
    status = crd(admin)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert "newInNext" in status["properties"], "an upgrade of the chart upgrades its CRDs"

    # Neither an uninstall nor giving up the CRDs takes the jobs.
    helm.uninstall("rl", namespace="platform")
    assert admin.find("deployments", "rl-reasonrl", namespace="platform") is None
    assert not [each for each in admin.list("clusterroles") if each["metadata"]["name"].startswith("rl-reasonrl")]
    assert admin.get(JOBS, "zero", namespace="team")["metadata"]["uid"] == uid
    helm.install("rl", namespace="platform")
    helm.upgrade("rl", namespace="platform", values={"crds": {"install": False}})
    helm.uninstall("rl", namespace="platform")
    assert admin.get(JOBS, "zero", namespace="team")["metadata"]["uid"] == uid

    # Another release takes the CRDs over only when it is told to.
    with pytest.raises(HelmRefused, match="invalid ownership metadata"):
        helm.install("other", namespace="elsewhere")
    helm.install("other", "--take-ownership", namespace="elsewhere", values={"crds": {"keep": False}})
    assert admin.get(JOBS, "zero", namespace="team")["metadata"]["uid"] == uid

    # Who switches keep off is told what that means, and gets it.
    assert "deletes the CRDs" in helm.run("get", "notes", "other", "--namespace", "elsewhere")
    helm.uninstall("other", namespace="elsewhere")
    for name in CRDS:
        admin.wait_gone("customresourcedefinitions", name, deadline=20)


def test_the_api_server_takes_every_object_of_the_chart(helm: Helm, admin: Client) -> None:
    """With all that can be on, but the ServiceMonitor, whose kind is not Kubernetes' own."""
    values = {
        "crds": {"install": False},
        "fullnameOverride": "all-on",
        "gangSchedulers": {"volcano": True, "coscheduling": True},
        "networkPolicy": {"enabled": True, "apiServer": {"cidrs": ["10.96.0.1/32"]}, "metricsFrom": [{"podSelector": {}}]},
        "priorityClassName": "system-cluster-critical",
        "tolerations": [{"key": "platform", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "pull"}],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com"}],
    }
    # A release, a namespace and an account whose names YAML takes for something else.
    helm.install("on", namespace="123", values={**values, "serviceAccount": {"name": "1e3"}})
    assert admin.find("serviceaccounts", "1e3", namespace="123")
    kinds = ("deployments", "networkpolicies", "poddisruptionbudgets")
    assert all(admin.find(kind, "all-on", namespace="123") for kind in kinds)
    helm.uninstall("on", namespace="123")


def test_pods_of_the_deployment_are_admitted_as_restricted(admin: Client) -> None:
    template = admin.get("deployments", "rl-reasonrl", namespace="platform")["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    }
    assert admin.create(pod, namespace="platform", query=DRY)["spec"]["serviceAccountName"] == "rl-reasonrl"
    loose = json.loads(json.dumps(pod))
    loose["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(ApiError, match="violates PodSecurity"):
        admin.create(loose, namespace="platform", query=DRY)
