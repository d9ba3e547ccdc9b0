"""The chart on a real API server: installed, upgraded and uninstalled by real Helm; its rights, limits and roles at work.

No node runs the operator's image here, so the operator is started as a process of its own: with the arguments that the installed Deployment
has, as the service account that the chart made, by a token that the API server issued for it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from testbed.audit import AuditTrail
from testbed.binaries import binaries
from testbed.client import ApiError, Client
from testbed.cluster_job import ClusterJob, manifest
from testbed.control_plane import ADMIN, CONTROLLERS, ControlPlane
from testbed.control_plane import control_plane as run_control_plane
from testbed.deadline import wait_for
from testbed.fake_kubelet import FakeKubelet, fake_kubelet
from testbed.kubeconfig import write_kubeconfig
from testbed.operator_process import OperatorProcess

from reasonrl.api import names

CHART = Path(__file__).resolve().parents[2] / "charts" / "reasonrl"
CRDS = tuple(f"{plural}.{names.GROUP}" for plural in (names.JOB_PLURAL, names.RUNTIME_PLURAL, names.CLUSTER_RUNTIME_PLURAL))
JOBS, RUNTIMES, CLUSTER_RUNTIMES = names.JOB_PLURAL, names.RUNTIME_PLURAL, names.CLUSTER_RUNTIME_PLURAL
GUARDED = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement"
"""On in OpenShift: an owner reference that blocks deletion takes a right on the owner."""
DRY = {"dryRun": "All"}
Object = dict[str, Any]


class HelmRefused(Exception):
    """Helm ended with an error; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Helm:
    """Real Helm, as an administrator of one control plane."""

    program: Path
    kubeconfig: Path
    scratch: Path

    def run(self, *words: str, values: Mapping[str, Any] | None = None) -> str:
        """Its output. HelmRefused where it fails."""
        command = [str(self.program), *words]
        if values is not None:
            written = self.scratch / "values.json"
            written.write_text(json.dumps(values))
            command += ["--values", str(written)]
        environment = {"HOME": str(self.scratch), "PATH": "/usr/bin:/bin", "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
        if done.returncode != 0:
            raise HelmRefused(done.stderr)
        return done.stdout

    def install(self, release: str, *flags: str, namespace: str, chart: Path = CHART, values: Mapping[str, Any] | None = None) -> str:
        return self.run("install", release, str(chart), "--namespace", namespace, "--create-namespace", *flags, values=values or {})

    def upgrade(self, release: str, *, namespace: str, chart: Path = CHART, values: Mapping[str, Any] | None = None) -> str:
        return self.run("upgrade", release, str(chart), "--namespace", namespace, values=values or {})

    def uninstall(self, release: str, *, namespace: str) -> str:
        return self.run("uninstall", release, "--namespace", namespace)


@contextmanager
def fresh(directory: Path) -> Iterator[tuple[ControlPlane, Helm]]:
    """A control plane of its own: what Helm does to the CRDs must not reach the jobs of other tests."""
    with run_control_plane(audit=True, extra_flags=[GUARDED]) as plane:
        yield plane, Helm(program=binaries("helm")["helm"], kubeconfig=plane.kubeconfig(ADMIN), scratch=directory)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlPlane, Helm]]:
    """A control plane with the chart installed as `rl` in namespace `platform`, where pods must be restricted, and the real controllers."""
    with fresh(tmp_path_factory.mktemp("helm")) as (plane, helm):
        admin = plane.client()
        new_namespace(admin, "platform", **{"pod-security.kubernetes.io/enforce": "restricted"})
        helm.install("rl", namespace="platform")
        wait_served(admin)
        plane.start_controller_manager((*CONTROLLERS, "validatingadmissionpolicy-status-controller"))
        yield plane, helm
        plane.check()


@pytest.fixture(scope="module")
def plane(cluster: tuple[ControlPlane, Helm]) -> ControlPlane:
    return cluster[0]


@pytest.fixture(scope="module")
def helm(cluster: tuple[ControlPlane, Helm]) -> Helm:
    return cluster[1]


@pytest.fixture(scope="module")
def admin(plane: ControlPlane) -> Client:
    return plane.client()


@pytest.fixture
def team(admin: Client, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, where jobs may be."""
    return new_namespace(admin, f"team-{abs(hash(request.node.name)) % 10**9}")


def new_namespace(admin: Client, name: str, **labels: str) -> str:
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    # The controller that makes it need not run yet, and no pod can be created without it.
    admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}})
    return name


def wait_served(admin: Client) -> None:
    wait_for(lambda: all(admin.has(name) for name in CRDS), deadline=20, what="our kinds are served")


def crd(admin: Client, name: str = CRDS[0]) -> Object:
    return admin.get("customresourcedefinitions", name)


# --- installing, upgrading, uninstalling


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[tuple[Client, Helm]]:
    with fresh(tmp_path) as (plane, helm):
        yield plane.client(), helm


def next_chart(directory: Path) -> Path:
    """A later version of the chart, whose job has a field more in its status."""
    shutil.copytree(CHART, directory)
    described = yaml.safe_load((directory / "Chart.yaml").read_text())
    (directory / "Chart.yaml").write_text(yaml.safe_dump({**described, "version": "0.2.1"}))
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


# --- what the operator may do


RIGHTS = {
    (names.GROUP, JOBS): {"list", "watch", "delete"},
    (names.GROUP, f"{JOBS}/status"): {"patch"},
    (names.GROUP, f"{JOBS}/finalizers"): {"update"},
    (names.GROUP, RUNTIMES): {"get", "list", "watch"},
    ("", "pods"): {"get", "list", "watch", "create", "delete"},
    ("", "services"): {"get", "list", "watch", "create"},
    ("", "configmaps"): {"get", "list", "watch", "create", "patch"},
    ("", "secrets"): {"get", "list", "watch", "create"},
    ("networking.k8s.io", "networkpolicies"): {"get", "list", "watch", "create"},
    ("", "events"): {"get", "create", "patch"},
    ("scheduling.volcano.sh", "podgroups"): {"list", "watch"},
    ("scheduling.x-k8s.io", "podgroups"): {"list", "watch"},
}
"""Written here once more, and not read from the chart: a right that slips into it is noticed."""
CLUSTER_RIGHTS = {(names.GROUP, CLUSTER_RUNTIMES): {"get", "list", "watch"}}
LEASE_RIGHTS = {("coordination.k8s.io", "leases"): {"create"}, ("coordination.k8s.io", "leases rl-reasonrl"): {"get", "patch"}}
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


def test_the_account_has_exactly_the_rights_that_the_operator_needs(plane: ControlPlane, team: str) -> None:
    operator = as_account(plane, "rl-reasonrl", "platform")
    assert rights(operator, team) == RIGHTS | CLUSTER_RIGHTS
    assert rights(operator, "platform") == RIGHTS | CLUSTER_RIGHTS | LEASE_RIGHTS


def test_what_the_operator_does_not_need_is_forbidden(plane: ControlPlane, admin: Client, team: str) -> None:
    operator = as_account(plane, "rl-reasonrl", "platform")
    admin.create(manifest("zero"), namespace=team)
    forbidden: dict[str, Callable[[], object]] = {
        "edit a job": lambda: operator.patch(JOBS, "zero", {"spec": {"suspend": True}}, namespace=team),
        "create a job": lambda: operator.create(manifest("other"), namespace=team),
        "delete all jobs": lambda: operator.delete_all(JOBS, namespace=team),
        "edit a pod": lambda: operator.patch("pods", "x", {}, namespace=team),
        "edit a Secret": lambda: operator.patch("secrets", "x", {}, namespace=team),
        "delete a Secret": lambda: operator.delete("secrets", "x", namespace=team),
        "edit a Service": lambda: operator.patch("services", "x", {}, namespace=team),
        "read nodes": lambda: operator.list("nodes"),
        "read namespaces": lambda: operator.list("namespaces"),
        "read service accounts": lambda: operator.list("serviceaccounts", namespace=team),
        "read other leases": lambda: operator.list("leases", namespace="platform"),
        "take another lease": lambda: operator.patch("leases", "other", {}, namespace="platform"),
        "make a lease elsewhere": lambda: operator.request("POST", f"/apis/coordination.k8s.io/v1/namespaces/{team}/leases", {}),
        "bind a role": lambda: operator.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {}),
        "read CRDs": lambda: operator.list("customresourcedefinitions"),
        "run a command in a pod": lambda: operator.request("POST", f"/api/v1/namespaces/{team}/pods/x/exec"),
        "read a log": lambda: operator.request("GET", f"/api/v1/namespaces/{team}/pods/x/log"),
        "ask for a token": lambda: operator.token("default", namespace=team),
        "change a blueprint": lambda: operator.patch(CLUSTER_RUNTIMES, "x", {}),
    }
    for what, call in forbidden.items():
        with pytest.raises(ApiError) as refused:
            call()
        assert (refused.value.status, what) == (403, what)


def operator_as_installed(plane: ControlPlane, directory: Path, *, release: str, namespace: str) -> OperatorProcess:
    """The operator with the arguments of the installed Deployment, as its service account. Only where it listens is the test's."""
    admin, name = plane.client(), f"{release}-reasonrl"
    pod = admin.get("deployments", name, namespace=namespace)["spec"]["template"]["spec"]
    arguments = [each for each in pod["containers"][0]["args"][1:] if not each.startswith(("--metrics-", "--poll-seconds"))]
    kubeconfig = write_kubeconfig(
        directory / "kubeconfig",
        server=plane.url,
        token=admin.token(pod["serviceAccountName"], namespace=namespace),
        certificate_authority=plane.certificate_authority,
    )
    return OperatorProcess(kubeconfig=kubeconfig, directory=directory, options=arguments)


def used_rights(calls: AuditTrail, user: str) -> dict[str, set[str]]:
    used: dict[str, set[str]] = {}
    for call in calls.calls(user=user):
        if call.resource:
            used.setdefault(call.resource, set()).add(call.verb)
    return used


UNSEEN = {
    f"{JOBS}/finalizers": {"update"},  # asked by the admission plug-in in the operator's name, which the audit log does not show
    "events": {"get", "patch"},  # an event that repeats, after the operator was started again: tests/controller
    "podgroups": {"watch"},  # only where the kind exists
    RUNTIMES: {"get"},  # a blueprint that is asked for before the watch has shown it
    CLUSTER_RUNTIMES: {"get"},
}
"""Rights of which the life below makes no use that can be seen."""


def test_a_job_lives_its_life_with_these_rights_and_no_more(plane: ControlPlane, admin: Client, team: str, tmp_path: Path) -> None:
    calls = AuditTrail.from_now(plane)
    user = "system:serviceaccount:platform:rl-reasonrl"
    operator = operator_as_installed(plane, tmp_path, release="rl", namespace="platform")
    operator.start()
    try:
        with fake_kubelet(plane, namespace=team) as kubelet:
            job = new_job(admin, kubelet, operator, calls, team, "zero")
            job.create({"ttlSecondsAfterFinished": 1})
            job.wait_summary("Running")
            job.report(5)
            lose_a_rollout_pod(job)
            edit_while_it_runs(job)
            names_that_are_taken(job.api, new_job(admin, kubelet, operator, calls, team, "taken"))
            kubelet.succeed(job.pod("trainer", 0))
            kubelet.succeed(job.pod("trainer", 1))
            admin.wait_gone(JOBS, "zero", namespace=team, deadline=40)
            admin.wait_gone("secrets", names.token_name("zero"), namespace=team, deadline=40)
        refused = {(call.verb, call.resource, call.name) for call in calls.calls(user=user) if call.code == 403}
        assert not refused, f"the operator lacks rights: {refused}; its log ends with {operator.log()[-2000:]}"
        granted: dict[str, set[str]] = {}
        for (_, resource), verbs in (RIGHTS | CLUSTER_RIGHTS | LEASE_RIGHTS).items():
            granted.setdefault(resource.partition(" ")[0], set()).update(verbs)
        used = used_rights(calls, user)
        idle = {resource: verbs - used.get(resource, set()) for resource, verbs in granted.items()}
        assert {resource: verbs for resource, verbs in idle.items() if verbs - UNSEEN.get(resource, set())} == {}, (
            "rights that nothing needs"
        )
    finally:
        operator.stop()
    assert admin.get("leases", "rl-reasonrl", namespace="platform")["spec"]["holderIdentity"] == "", "the lease is given back"


def new_job(admin: Client, kubelet: FakeKubelet, operator: OperatorProcess, calls: AuditTrail, namespace: str, name: str) -> ClusterJob:
    return ClusterJob(api=admin, kubelet=kubelet, operator=operator, calls=calls, namespace=namespace, name=name)


def lose_a_rollout_pod(job: ClusterJob) -> None:
    lost = job.pod("rollout", 1)
    job.kubelet.fail(lost, 3)
    wait_for(lambda: job.kubelet.made(lost) == 2, deadline=40, what=f"{lost} is replaced")
    job.wait_summary("Running")


def edit_while_it_runs(job: ClusterJob) -> None:
    schedule = {"type": "constant", "value": 0.002}
    job.edit({"algorithm": {"kl": {"schedule": schedule}}})
    wait_for(lambda: job.config()["algorithm"]["kl"]["schedule"]["value"] == 0.002, deadline=20, what="the edit reaches the ConfigMap")


def names_that_are_taken(admin: Client, job: ClusterJob) -> None:
    """Objects of somebody else have the names that the job's children would have: the operator looks whose they are."""
    container = {"name": "main", "image": "example.com/other"}
    place = {"namespace": job.namespace}
    for body in (
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": names.service_name(job.name)}, "spec": {"clusterIP": "None"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": names.config_name(job.name)}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": names.token_name(job.name)}},
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": names.network_policy_name(job.name)},
            "spec": {"podSelector": {}},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": job.pod("trainer", 0)}, "spec": {"containers": [container]}},
    ):
        admin.create(body, **place)
    job.create()
    user = "system:serviceaccount:platform:rl-reasonrl"

    def looked_at() -> set[str]:
        return {call.resource for call in job.calls.calls(user=user, namespace=job.namespace) if call.verb == "get" and call.code == 200}

    wanted = {"services", "configmaps", "secrets", "networkpolicies"}
    wait_for(lambda: wanted <= looked_at(), deadline=20, what=f"the operator looks whose objects these are; it looked at {looked_at()}")
    admin.delete(JOBS, job.name, namespace=job.namespace)
    admin.delete("pods", job.pod("trainer", 0), namespace=job.namespace, grace=0)


def test_an_install_for_one_namespace_sees_nothing_else(plane: ControlPlane, helm: Helm, admin: Client, team: str, tmp_path: Path) -> None:
    values = {"crds": {"install": False}, "userRoles": {"create": False, "aggregate": False}, "watchNamespaces": [team]}
    helm.install("one", namespace="one", values=values)
    account = as_account(plane, "one-reasonrl", "one")
    lease = {(group, resource.replace("rl-", "one-", 1)): verbs for (group, resource), verbs in LEASE_RIGHTS.items()}
    assert rights(account, team) == RIGHTS
    assert rights(account, "one") == lease, "not even in its own namespace"
    assert rights(account, "platform") == {}
    with pytest.raises(ApiError, match="forbidden"):
        account.list("secrets", namespace="one")
    calls = AuditTrail.from_now(plane)
    operator = operator_as_installed(plane, tmp_path, release="one", namespace="one")
    operator.start()
    try:
        with fake_kubelet(plane, namespace=team) as kubelet:
            new_job(admin, kubelet, operator, calls, team, "zero").create().wait_summary("Running")
        asked = calls.calls(user="system:serviceaccount:one:one-reasonrl")
        assert {call.namespace for call in asked if call.resource} == {team, "one"}
        assert not [call for call in asked if call.code == 403]
    finally:
        operator.stop()
    helm.upgrade("one", namespace="one", values={**values, "rbac": {"clusterRuntimes": True}})
    assert rights(account, "platform") == {(names.GROUP, CLUSTER_RUNTIMES): {"get"}}
    helm.uninstall("one", namespace="one")
    assert rights(account, team) == {}


# --- what people may do


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


# --- what the platform allows


LIMITS = {
    "enabled": True,
    "namespaceSelector": {"matchLabels": {"limits": "on"}},
    "advice": "Ask #ml-platform.",
    "maxGpusPerJob": 8,
    "allowedImagePrefixes": ["registry.example.com/team/", "registry.example.com/base:"],
    "requireQueue": True,
    "allowedQueues": ["research", "urgent"],
    "allowedPriorityClasses": ["batch"],
    "requireNetworkPolicy": True,
}
QUEUED: Mapping[str, Any] = {"scheduling": {"gang": "Kueue", "queue": "research"}}


@pytest.fixture(scope="module")
def limited(helm: Helm, admin: Client) -> str:
    """A namespace where the limits of `LIMITS` hold; they come from a release of their own."""
    values = {"crds": {"install": False}, "rbac": {"create": False}, "userRoles": {"create": False, "aggregate": False}}
    helm.install("limits", namespace="limits", values={**values, "admissionPolicy": LIMITS})
    namespace = new_namespace(admin, "limited", limits="on")
    probe = manifest("probe")
    wait_for(lambda: said(admin, probe, namespace), deadline=30, what="the policies are in force")
    wait_for(lambda: said(admin, blueprint({"network": {"policy": "None"}}), namespace), deadline=30, what="that of blueprints, too")
    return namespace


def said(admin: Client, body: Object, namespace: str) -> str:
    """What the API server says against creating the object; nothing where it would."""
    try:
        admin.create(body, namespace=namespace, query=DRY)
    except ApiError as error:
        return error.message
    return ""


def blueprint(spec: Mapping[str, Any]) -> Object:
    return {"apiVersion": f"{names.GROUP}/{names.VERSION}", "kind": "ReasoningRLRuntime", "metadata": {"name": "b"}, "spec": dict(spec)}


def phases(*rollouts: Mapping[str, Any] | None) -> list[Object]:
    return [
        {"name": f"p{number}", "maxResponseTokens": 64, "until": {"steps": 10}, **({"rollout": shape} if shape else {})}
        for number, shape in enumerate(rollouts)
    ]


CLUSTER_BLUEPRINT = {"runtimeRef": {"name": "h100"}}
NAMESPACE_BLUEPRINT = {"runtimeRef": {"kind": "ReasoningRLRuntime", "name": "own"}}
ALLOWED: Mapping[str, Mapping[str, Any]] = {
    "within all limits": QUEUED,
    "exactly the limit": {**QUEUED, "trainer": {"replicas": 3, "gpusPerReplica": 2}},
    "an image from the team's": {**QUEUED, "image": "registry.example.com/team/train:1"},
    "a tag of the base image": {**QUEUED, "pods": {"rollout": {"image": "registry.example.com/base:2"}}},
    "a class that is listed": {"scheduling": {**QUEUED["scheduling"], "priorityClassName": "batch"}},
    "a phase within the limit": {**QUEUED, "phases": phases(None, {"replicas": 3, "gpusPerReplica": 2})},
    "a blueprint of the cluster has the queue": CLUSTER_BLUEPRINT,
    "rollouts that share the trainers' GPUs": {
        **QUEUED,
        "trainer": {"replicas": 4, "gpusPerReplica": 2},
        "rollout": {"placement": "Colocated", "replicas": 4, "gpusPerReplica": 2},
    },
}
REFUSED: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "no queue": ({}, "spec.scheduling.queue: this cluster runs jobs from queues alone"),
    "a blueprint of the namespace and no queue": (NAMESPACE_BLUEPRINT, "spec.scheduling.queue: this cluster runs jobs from queues alone"),
    "another queue": ({"scheduling": {"gang": "Kueue", "queue": "mine"}}, "mine is not among the queues of this cluster: research, urgent"),
    "too many trainers": (
        {**QUEUED, "trainer": {"replicas": 4, "gpusPerReplica": 2}},
        "10 GPUs (trainers: 4 of 2, rollouts: 2 of 1) are more than the 8 that this cluster allows a job; lower replicas or "
        "gpusPerReplica. Ask #ml-platform.",
    ),
    "too many rollouts": ({**QUEUED, "rollout": {"replicas": 7}}, "9 GPUs (trainers: 2 of 1, rollouts: 7 of 1)"),
    "too many in a later phase": (
        {**QUEUED, "phases": phases(None, {"replicas": 7})},
        "phase p1: with its rollout pods the job has more than",
    ),
    "GPUs past the count": (
        {**QUEUED, "pods": {"trainer": {"gpuResourceName": "example.com/x", "resources": {"limits": {"nvidia.com/gpu": 8}}}}},
        "spec.pods.trainer.resources.limits: GPUs are asked for by spec.trainer.gpusPerReplica",
    ),
    "replicas here, GPUs in the blueprint": (
        {**QUEUED, **CLUSTER_BLUEPRINT, "trainer": {"gpusPerReplica": None}},
        "spec.trainer: write both replicas and gpusPerReplica, or neither",
    ),
    "a phase's replicas here, GPUs in the blueprint": (
        {**QUEUED, **CLUSTER_BLUEPRINT, "rollout": None, "phases": phases({"replicas": 9})},
        "spec.phases: a phase that changes rollout.replicas must say gpusPerReplica as well",
    ),
    "an image from elsewhere": (
        {**QUEUED, "image": "docker.example.org/x:1"},
        "image docker.example.org/x:1: images must begin with registry.example.com/team/ or registry.example.com/base:",
    ),
    "an image whose name only begins like the team's": ({**QUEUED, "image": "registry.example.com/team-x/a"}, "images must begin with"),
    "one role's image": ({**QUEUED, "pods": {"trainer": {"image": "x"}}}, "image x: images must begin with"),
    "another class": ({"scheduling": {**QUEUED["scheduling"], "priorityClassName": "system"}}, "system may not be used by jobs; use batch"),
    "no network policy": ({**QUEUED, "network": {"policy": "None"}}, "spec.network.policy: None is not allowed on this cluster"),
}
REFUSED_BLUEPRINTS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "image": ({"image": "x"}, "image x: images must begin with"),
    "network": ({"network": {"policy": "None"}}, "spec.network.policy: None is not allowed"),
    "GPUs": ({"trainer": {"replicas": 2, "gpusPerReplica": 8}}, "16 GPUs (trainers: 2 of 8, rollouts: 1 of 0)"),
    "queue": ({"scheduling": {"gang": "Kueue", "queue": "mine"}}, "mine is not among the queues of this cluster"),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_a_job_within_the_limits_is_taken(admin: Client, limited: str, case: str) -> None:
    assert said(admin, written(ALLOWED[case]), limited) == ""


@pytest.mark.parametrize("case", REFUSED)
def test_a_job_beyond_the_limits_is_refused_with_what_to_do(admin: Client, limited: str, case: str) -> None:
    spec, message = REFUSED[case]
    assert message in said(admin, written(spec), limited)


@pytest.mark.parametrize("case", REFUSED_BLUEPRINTS)
def test_a_blueprint_of_a_namespace_cannot_hold_what_its_jobs_may_not(admin: Client, limited: str, case: str) -> None:
    spec, message = REFUSED_BLUEPRINTS[case]
    assert message in said(admin, blueprint(spec), limited)


def written(spec: Mapping[str, Any]) -> Object:
    """A job whose nulls are fields that are not written."""
    return without_nulls(manifest("j", spec))


def without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return value


def test_limits_hold_only_where_they_are_selected(admin: Client, limited: str, team: str) -> None:
    assert said(admin, manifest("j"), limited)
    assert said(admin, manifest("j"), team) == ""


def test_jobs_from_before_the_limits_can_be_labelled_and_suspended_but_not_resumed(admin: Client, limited: str) -> None:
    new_namespace(admin, limited, limits="off")
    wait_for(lambda: not said(admin, manifest("old"), limited), deadline=20, what="no limits")
    admin.create(manifest("old"), namespace=limited)
    new_namespace(admin, limited, limits="on")
    wait_for(lambda: said(admin, manifest("probe"), limited), deadline=20, what="limits")
    admin.patch(JOBS, "old", {"metadata": {"labels": {"a": "b"}}}, namespace=limited)
    admin.patch(JOBS, "old", {"status": {"summary": "Running"}}, namespace=limited, subresource="status")
    with pytest.raises(ApiError, match="from queues alone"):
        admin.patch(JOBS, "old", {"spec": {"seed": 7}}, namespace=limited)
    with pytest.raises(ApiError, match="not among the queues"):
        admin.patch(JOBS, "old", {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "mine"}}}, namespace=limited)
    admin.patch(JOBS, "old", {"spec": {"suspend": True}}, namespace=limited)
    with pytest.raises(ApiError, match="from queues alone"):
        admin.patch(JOBS, "old", {"spec": {"suspend": False}}, namespace=limited)


def test_scaling_cannot_go_past_the_limit_on_gpus(admin: Client, limited: str) -> None:
    admin.create(manifest("scaled", QUEUED), namespace=limited)

    def scale(replicas: int) -> Object:
        return admin.patch(JOBS, "scaled", {"spec": {"replicas": replicas}}, namespace=limited, subresource="scale")

    with pytest.raises(ApiError, match=r"edit spec\.rollout\.replicas of the job instead"):
        scale(3)
    scale(1)
    admin.patch(JOBS, "scaled", {"spec": {"rollout": {"replicas": 6}}}, namespace=limited)
    with pytest.raises(ApiError, match="9 GPUs"):
        admin.patch(JOBS, "scaled", {"spec": {"rollout": {"replicas": 7}}}, namespace=limited)


def test_autoscalers_have_a_limit_of_their_own(helm: Helm, admin: Client) -> None:
    values = {"crds": {"install": False}, "rbac": {"create": False}, "userRoles": {"create": False, "aggregate": False}}
    limits = {"enabled": True, "maxRolloutReplicas": 4, "namespaceSelector": {"matchLabels": {"scale": "on"}}}
    helm.install("scale", namespace="scale", values={**values, "admissionPolicy": limits})
    namespace = new_namespace(admin, "scaled", scale="on")
    too_many = manifest("j", {"rollout": {"replicas": 5}})
    wait_for(lambda: said(admin, too_many, namespace), deadline=30, what="the policy is in force")
    assert "5 is more than the 4 rollout pods" in said(admin, too_many, namespace)
    assert "phase p0" in said(admin, manifest("j", {"phases": phases({"replicas": 5})}), namespace)
    admin.create(manifest("j"), namespace=namespace)

    def refused() -> str:
        try:
            admin.patch(JOBS, "j", {"spec": {"replicas": 5}}, namespace=namespace, subresource="scale")
        except ApiError as error:
            return error.message
        return ""

    admin.patch(JOBS, "j", {"spec": {"replicas": 4}}, namespace=namespace, subresource="scale")
    assert "5 is more than the 4 rollout pods" in refused()
    helm.uninstall("scale", namespace="scale")


def test_the_policies_fit_the_schemas(admin: Client, limited: str) -> None:
    """The real controller has checked each expression against the CRD that it is about."""
    for name in ("limits-reasonrl-jobs", "limits-reasonrl-blueprints"):
        policy = admin.wait_for("validatingadmissionpolicies", name, lambda each: "typeChecking" in each.get("status", {}), deadline=30)
        assert policy["status"]["typeChecking"].get("expressionWarnings", []) == []
