"""What the operator may do where the chart has installed it: exactly what it needs, shown by a job's whole life."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from testbed.audit import AuditTrail
from testbed.client import ApiError, Client
from testbed.cluster_job import ClusterJob, manifest
from testbed.control_plane import ControlPlane
from testbed.deadline import wait_for
from testbed.fake_kubelet import FakeKubelet, fake_kubelet
from testbed.helm import Helm
from testbed.kubeconfig import write_kubeconfig
from testbed.operator_process import OperatorProcess
from testbed.rights import as_account, rights

from reasonrl.api import names

JOBS, RUNTIMES, CLUSTER_RUNTIMES = names.JOB_PLURAL, names.RUNTIME_PLURAL, names.CLUSTER_RUNTIME_PLURAL
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
            names_that_are_taken(new_job(admin, kubelet, operator, calls, team, "taken"))
            a_pod_name_that_is_taken(new_job(admin, kubelet, operator, calls, team, "crowded"))
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


def blueprint(kind: str, name: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": f"{names.GROUP}/{names.VERSION}", "kind": kind, "metadata": {"name": name}, "spec": spec}


def test_an_operator_that_may_not_list_cluster_blueprints_or_pod_groups_acts_all_the_same(
    plane: ControlPlane, admin: Client, team: str, tmp_path: Path
) -> None:
    """Somebody wrote its role by hand and left out what is not needed everywhere."""
    rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs)}
        for (group, resource), verbs in RIGHTS.items()
        if resource != "podgroups"
    ]
    rules.append({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "patch"]})
    for kind, body in (
        ("ClusterRole", {"rules": rules}),
        (
            "ClusterRoleBinding",
            {
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "spare"},
                "subjects": [{"kind": "ServiceAccount", "name": "spare", "namespace": team}],
            },
        ),
    ):
        admin.apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "spare"}, **body})
    admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "spare"}}, namespace=team)
    kubeconfig = write_kubeconfig(
        tmp_path / "spare",
        server=plane.url,
        token=admin.token("spare", namespace=team),
        certificate_authority=plane.certificate_authority,
    )
    options = ["--lease-namespace", team, "--lease-name", "spare"]
    operator = OperatorProcess(kubeconfig=kubeconfig, directory=tmp_path, options=options)
    calls = AuditTrail.from_now(plane)
    operator.start()
    try:
        with fake_kubelet(plane, namespace=team) as kubelet:
            new_job(admin, kubelet, operator, calls, team, "zero").create().wait_summary("Running")
        assert operator.page("/readyz") == "ok"
        assert operator.page("/healthz") == "ok"
        log = operator.log()
        for kind in ("podgroups are done without", "blueprints of kind ClusterReasoningRLRuntime are asked for by name"):
            assert 1 <= log.count(kind) <= 2, f"told once for each API that has such a kind:\n{log[-3000:]}"
        refused = [call for call in calls.calls(user=f"system:serviceaccount:{team}:spare") if call.code == 403]
        assert {(call.verb, call.resource) for call in refused} == {("list", "podgroups"), ("list", CLUSTER_RUNTIMES)}
    finally:
        operator.stop()


def lose_a_rollout_pod(job: ClusterJob) -> None:
    lost = job.pod("rollout", 1)
    job.kubelet.fail(lost, 3)
    wait_for(lambda: job.kubelet.made(lost) == 2, deadline=40, what=f"{lost} is replaced")
    job.wait_summary("Running")


def edit_while_it_runs(job: ClusterJob) -> None:
    schedule = {"type": "constant", "value": 0.002}
    job.edit({"algorithm": {"kl": {"schedule": schedule}}})
    wait_for(lambda: job.config()["algorithm"]["kl"]["schedule"]["value"] == 0.002, deadline=20, what="the edit reaches the ConfigMap")


def names_that_are_taken(job: ClusterJob) -> None:
    """Objects of somebody else have the names that the job's children would have: the operator looks whose they are."""
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
    ):
        job.api.create(body, namespace=job.namespace)
    job.create()
    wait_for_a_look_at(job, {"services", "configmaps", "secrets", "networkpolicies"})
    job.api.delete(JOBS, job.name, namespace=job.namespace)


def a_pod_name_that_is_taken(job: ClusterJob) -> None:
    """As before; pods come after all that they need, so this is found only where nothing else is taken."""
    name = job.pod("trainer", 0)
    container = {"name": "main", "image": "example.com/other"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
    job.api.create(pod, namespace=job.namespace)
    job.create()
    wait_for_a_look_at(job, {"pods"})
    job.api.delete(JOBS, job.name, namespace=job.namespace)
    job.api.delete("pods", name, namespace=job.namespace, grace=0)


def wait_for_a_look_at(job: ClusterJob, wanted: set[str]) -> None:
    user = "system:serviceaccount:platform:rl-reasonrl"

    def looked_at() -> set[str]:
        return {call.resource for call in job.calls.calls(user=user, namespace=job.namespace) if call.verb == "get" and call.code == 200}

    wait_for(lambda: wanted <= looked_at(), deadline=20, what=f"the operator looks whose objects these are; it looked at {looked_at()}")


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
            admin.apply(blueprint("ClusterReasoningRLRuntime", "shared", image="shared/runtime:1"))
            admin.create(blueprint("ReasoningRLRuntime", "own", image="own/runtime:1"), namespace=team)
            by_blueprint = new_job(admin, kubelet, operator, calls, team, "mine")
            by_blueprint.create({"runtimeRef": {"kind": "ReasoningRLRuntime", "name": "own"}}).wait_summary("Running")
            assert by_blueprint.config()["image"] == "own/runtime:1"
            job = new_job(admin, kubelet, operator, calls, team, "asks")
            job.create({"runtimeRef": {"kind": "ClusterReasoningRLRuntime", "name": "shared"}})
            refused = job.wait_condition("Admitted", "False", "RuntimeForbidden")
            for text in ("ClusterReasoningRLRuntime 'shared'", "rbac.clusterRuntimes: true", f"ReasoningRLRuntime of namespace {team}"):
                assert text in refused["message"]
            assert (job.status()["summary"], job.pods(), operator.page("/readyz")) == ("Pending", {}, "ok")
            # What it may not do it does not go on trying, and what it is then allowed to do it notices without a restart.
            helm.upgrade("one", namespace="one", values={**values, "rbac": {"clusterRuntimes": True}})
            assert rights(account, "platform") == {(names.GROUP, CLUSTER_RUNTIMES): {"get"}}
            job.wait_summary("Running", deadline=60)
            assert job.config()["image"] == "shared/runtime:1"
            asked = calls.calls(user="system:serviceaccount:one:one-reasonrl")
            forbidden = [(call.verb, call.resource, call.name) for call in asked if call.code == 403]
            assert set(forbidden) == {("get", CLUSTER_RUNTIMES, "shared")}
            assert len(forbidden) <= 12, "each look may ask, every few seconds at most"
            assert not [call for call in asked if call.resource == CLUSTER_RUNTIMES and call.verb != "get"]
    finally:
        operator.stop()
    helm.uninstall("one", namespace="one")
    assert not [role for role in admin.list("roles", namespace=team) if role["metadata"]["name"] == "one-reasonrl"]
    # The account is gone as well; how soon its token is refused is the API server's cache's to say.
    with contextlib.suppress(ApiError):
        assert rights(account, team) == {}
