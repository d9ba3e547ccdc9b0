"""What the chart renders, over a matrix of values: safe pods, rights with reasons, CRDs as generated, a README that is true."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from reasonrl.api import names
from reasonrl.api.crd import custom_resource_definitions
from reasonrl.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
LIMITS = {
    "enabled": True,
    "maxGpusPerJob": 64,
    "maxRolloutReplicas": 8,
    "allowedImagePrefixes": ["registry.example.com/team/"],
    "requireQueue": True,
    "allowedQueues": ["research"],
    "allowedPriorityClasses": ["batch"],
    "requireNetworkPolicy": True,
    "advice": 'Ask "ml-platform".',
}
MATRIX: Mapping[str, Mapping[str, Any]] = {
    "defaults": {},
    "two namespaces": {"watchNamespaces": ["team-a", "team-b"]},
    "a namespace and cluster blueprints": {"watchNamespaces": ["team-a"], "rbac": {"clusterRuntimes": True}},
    "everything on": {
        "commonLabels": {"example.com/cost-centre": "42", "helm.sh/chart": "mine"},
        "image": {"registry": "registry.example.com", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "pull"}],
        "gangSchedulers": {"volcano": True, "coscheduling": True},
        "serviceAccount": {"name": "operator", "annotations": {"example.com/identity": "x"}},
        "replicas": 3,
        "operator": {"jobImage": "registry.example.com/runtime:1", "leaseName": "lease", "pollSeconds": 2.5},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
        "podAnnotations": {"example.com/a": "b"},
        "podLabels": {"example.com/c": "d"},
        "priorityClassName": "system-cluster-critical",
        "runAsUser": 1_000_680_000,
        "nodeSelector": {"example.com/pool": "platform"},
        "tolerations": [{"key": "platform", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "metrics": {"service": {"annotations": {"a": "b"}}, "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
        "networkPolicy": {"enabled": True, "metricsFrom": [{"podSelector": {}}], "apiServer": {"cidrs": ["10.96.0.1/32"]}},
        "admissionPolicy": LIMITS,
    },
    "limits in namespaces": {"watchNamespaces": ["team-a"], "networkPolicy": {"enabled": True}, "admissionPolicy": LIMITS},
    "as little as possible": {
        "crds": {"install": False},
        "userRoles": {"create": False, "aggregate": False},
        "rbac": {"create": False},
        "serviceAccount": {"create": False, "name": "given"},
        "podDisruptionBudget": {"enabled": False},
        "runAsUser": None,
        "metrics": {"service": {"enabled": False}},
        "topologySpread": {"key": ""},
        "replicas": 1,
    },
    "names that YAML takes for something else": {
        "fullnameOverride": "null",
        "nameOverride": "yes",
        "watchNamespaces": ["123", "true"],
        "serviceAccount": {"name": "1e3"},
        "operator": {"leaseName": "0x1"},
        "commonLabels": {"example.com/on": "off"},
        "networkPolicy": {"enabled": True},
        "admissionPolicy": {"enabled": True, "requireQueue": True},
    },
    "crds that go with the release": {"crds": {"keep": False}, "fullnameOverride": "reasonrl"},
}
CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
VERBS = {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}


matrix = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)


Object = dict[str, Any]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def deployment(objects: list[Object]) -> Object:
    (found,) = of_kind(objects, "Deployment")
    return found


def container(objects: list[Object]) -> Object:
    (found,) = deployment(objects)["spec"]["template"]["spec"]["containers"]
    return dict(found)


def operator_roles(objects: list[Object]) -> list[Object]:
    bound = {each["roleRef"]["name"] for each in objects if each["kind"].endswith("RoleBinding")}
    return [each for each in objects if each["kind"] in ("Role", "ClusterRole") and each["metadata"]["name"] in bound]


@matrix
def test_lint_finds_nothing(chart: Any, values: Mapping[str, Any]) -> None:
    chart.run("lint", "--strict", "--quiet", str(chart.directory), values=values)


@matrix
def test_every_object_is_labelled_named_and_placed(chart: Any, values: Mapping[str, Any]) -> None:
    seen = set()
    for each in chart.objects(values):
        metadata = each["metadata"]
        texts = [metadata["name"], metadata.get("namespace", ""), *metadata["labels"], *metadata["labels"].values()]
        assert all(isinstance(text, str) for text in texts)
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert metadata["labels"]["app.kubernetes.io/instance"] == "rl"
        for key, value in values.get("commonLabels", {}).items():
            assert metadata["labels"][key] == value
        assert ("namespace" in metadata) == (each["kind"] not in CLUSTER_WIDE), f"{each['kind']} {metadata['name']}"
        place = (each["kind"], metadata.get("namespace"), metadata["name"])
        assert place not in seen
        seen.add(place)


@matrix
def test_no_key_is_written_twice(chart: Any, values: Mapping[str, Any]) -> None:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for document in yaml.compose_all(chart.text(values), Loader=loader):
        for mapping in mappings(document):
            keys = [key.value for key, _ in mapping.value]
            assert len(keys) == len(set(keys)), f"written twice among {keys}"


def mappings(node: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from mappings(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from mappings(value)


@matrix
def test_pods_are_restricted_and_cannot_write(chart: Any, values: Mapping[str, Any]) -> None:
    objects = chart.objects(values)
    pod = deployment(objects)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"].get("runAsUser") == values.get("runAsUser", 65532)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container(objects)["securityContext"]
    assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not {"volumes", "hostNetwork", "hostPID", "hostIPC"} & set(pod)
    resources = container(objects)["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert "memory" in resources["limits"]


@matrix
def test_probes_ask_the_port_that_the_operator_serves(chart: Any, values: Mapping[str, Any]) -> None:
    own = container(chart.objects(values))
    (port,) = own["ports"]
    assert f"--metrics-port={port['containerPort']}" in own["args"]
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert own[probe]["httpGet"] == {"path": path, "port": port["name"]}


@matrix
def test_arguments_are_those_of_the_command(chart: Any, values: Mapping[str, Any]) -> None:
    command, *options = container(chart.objects(values))["args"]
    parsed = typer.main.get_command(app).commands[command].make_context(command, list(options))  # type: ignore[attr-defined]
    assert tuple(parsed.params["namespace"] or ()) == tuple(values.get("watchNamespaces", ()))
    assert parsed.params["lease_namespace"] == "platform"


def test_every_option_of_the_command_has_a_value(chart: Any) -> None:
    """But those that say where the API server is: in a pod, the service account does."""
    known = {option for each in typer.main.get_command(app).commands["operator"].params for option in each.opts}  # type: ignore[attr-defined]
    given = {argument.partition("=")[0] for argument in container(chart.objects(MATRIX["everything on"]))["args"][1:]}
    given |= {argument.partition("=")[0] for argument in container(chart.objects(MATRIX["two namespaces"]))["args"][1:]}
    assert known - given == {"--kubeconfig", "--context"}


@matrix
def test_selectors_find_the_operators_pods(chart: Any, values: Mapping[str, Any]) -> None:
    objects = chart.objects(values)
    labels = deployment(objects)["spec"]["template"]["metadata"]["labels"].items()
    selectors = [deployment(objects)["spec"]["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(objects, "PodDisruptionBudget")]
    selectors += [each["spec"]["selector"] for each in of_kind(objects, "Service")]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in of_kind(objects, "NetworkPolicy")]
    selectors += [each["labelSelector"]["matchLabels"] for each in spread(objects)]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels
    for monitor in of_kind(objects, "ServiceMonitor"):
        (service,) = of_kind(objects, "Service")
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]


def spread(objects: list[Object]) -> list[Object]:
    return list(deployment(objects)["spec"]["template"]["spec"].get("topologySpreadConstraints", ()))


@matrix
def test_rights_have_no_wildcards_and_no_power_over_rights(chart: Any, values: Mapping[str, Any]) -> None:
    for role in of_kind(chart.objects(values), "ClusterRole") + of_kind(chart.objects(values), "Role"):
        for rule in role["rules"]:
            assert set(rule) <= {"apiGroups", "resources", "verbs", "resourceNames"}
            assert set(rule["verbs"]) <= VERBS
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not any("*" in word for word in words)
            assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
            assert not {"pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token", "nodes"} & set(rule["resources"])


@matrix
def test_every_right_is_explained_where_it_stands(chart: Any, values: Mapping[str, Any]) -> None:
    text = chart.text(values)
    lines = text.splitlines()
    rules = [
        number for number, line in enumerate(lines) if re.match(r" +- apiGroups: \[[^\]]*\]$", line) and "resources:" in lines[number + 1]
    ]
    rules = [number for number in rules if "verbs:" in lines[number + 2] or "resourceNames:" in lines[number + 2]]
    count = sum(len(each["rules"]) for each in chart.objects(values) if each["kind"] in ("Role", "ClusterRole"))
    assert len(rules) == count
    for number in rules:
        assert lines[number - 1].strip().startswith("# "), f"no reason above line {number}: {lines[number : number + 3]}"


def test_rights_in_namespaces_are_those_of_the_cluster(chart: Any) -> None:
    (everywhere,) = [each for each in operator_roles(chart.objects({})) if each["kind"] == "ClusterRole"]
    roles = [each for each in operator_roles(chart.objects(MATRIX["two namespaces"])) if each["metadata"]["namespace"] != "platform"]
    assert [role["metadata"]["namespace"] for role in roles] == ["team-a", "team-b"]
    cluster_wide = [rule for rule in everywhere["rules"] if rule["resources"] == [names.CLUSTER_RUNTIME_PLURAL]]
    assert len(cluster_wide) == 1
    for role in roles:
        assert role["rules"] + cluster_wide == everywhere["rules"]


def test_an_install_for_namespaces_has_no_cluster_wide_right(chart: Any) -> None:
    assert all(each["kind"] == "Role" for each in operator_roles(chart.objects(MATRIX["two namespaces"])))
    (role,) = [
        each for each in operator_roles(chart.objects(MATRIX["a namespace and cluster blueprints"])) if each["kind"] == "ClusterRole"
    ]
    assert role["rules"] == [{"apiGroups": [names.GROUP], "resources": [names.CLUSTER_RUNTIME_PLURAL], "verbs": ["get"]}]


def test_rights_belong_to_the_operators_account_alone(chart: Any) -> None:
    for values, account in (({}, "rl-reasonrl"), (MATRIX["everything on"], "operator")):
        objects = chart.objects(values)
        for binding in [each for each in objects if each["kind"].endswith("RoleBinding")]:
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "platform"}]
        assert deployment(objects)["spec"]["template"]["spec"]["serviceAccountName"] == account


def test_podgroups_are_made_only_where_asked_for(chart: Any) -> None:
    def verbs(values: Mapping[str, Any], group: str) -> list[str]:
        (role,) = [each for each in operator_roles(chart.objects(values)) if each["kind"] == "ClusterRole"]
        (rule,) = [rule for rule in role["rules"] if rule["apiGroups"] == [group]]
        return list(rule["verbs"])

    volcano = {"gangSchedulers": {"volcano": True}}
    assert verbs({}, "scheduling.volcano.sh") == ["list", "watch"]
    assert verbs(volcano, "scheduling.volcano.sh") == ["get", "list", "watch", "create"]
    assert verbs(volcano, "scheduling.x-k8s.io") == ["list", "watch"]


@matrix
def test_crds_are_those_of_the_models(chart: Any, values: Mapping[str, Any]) -> None:
    crds = {each["metadata"]["name"]: each for each in of_kind(chart.objects(values), "CustomResourceDefinition")}
    if not values.get("crds", {}).get("install", True):
        assert not crds
        return
    made = custom_resource_definitions()
    generated = {each["metadata"]["name"]: each for each in (made.values() if isinstance(made, dict) else made)}
    assert crds.keys() == generated.keys()
    for name, crd in crds.items():
        assert crd["spec"] == generated[name]["spec"]
        kept = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert kept == ("keep" if values.get("crds", {}).get("keep", True) else None)


def test_no_file_of_a_crd_is_in_helms_crds_directory(chart: Any) -> None:
    """Helm would install it once and never upgrade it."""
    assert not (chart.directory / "crds").exists()


def test_replicas_are_spread_and_drained_one_by_one(chart: Any) -> None:
    objects = chart.objects({})
    assert deployment(objects)["spec"]["replicas"] == 2
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    (constraint,) = spread(objects)
    assert constraint["topologyKey"] == "kubernetes.io/hostname"


def test_the_image_is_the_charts_version_unless_said_otherwise(chart: Any) -> None:
    assert container(chart.objects({}))["image"] == "reasonrl/operator:0.3.0"
    assert container(chart.objects({"image": {"tag": "dev", "registry": "r.example.com:5000"}}))["image"] == (
        "r.example.com:5000/reasonrl/operator:dev"
    )
    digest = "sha256:" + "a" * 64
    assert container(chart.objects({"image": {"tag": "dev", "digest": digest}}))["image"] == f"reasonrl/operator@{digest}"


def test_versions_agree(chart: Any) -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    described = yaml.safe_load((chart.directory / "Chart.yaml").read_text())
    assert (described["version"], described["appVersion"]) == (project, project)


def test_the_network_policy_lets_the_operator_ask_trainers(chart: Any) -> None:
    (policy,) = of_kind(chart.objects(MATRIX["limits in namespaces"]), "NetworkPolicy")
    (rule,) = [rule for rule in policy["spec"]["egress"] if rule["ports"] == [{"port": names.STATUS_PORT, "protocol": "TCP"}]]
    (peer,) = rule["to"]
    assert peer["podSelector"]["matchLabels"] == {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_ROLE: "trainer"}
    assert peer["namespaceSelector"]["matchExpressions"][0]["values"] == ["team-a"]
    (api, *_) = policy["spec"]["egress"]
    assert [port["port"] for port in api["ports"]] == [443, 6443]


def test_limits_hold_where_jobs_are_run(chart: Any) -> None:
    bindings = of_kind(chart.objects(MATRIX["limits in namespaces"]), "ValidatingAdmissionPolicyBinding")
    assert len(bindings) == 3
    for binding in bindings:
        (expression,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert (expression["key"], expression["values"]) == ("kubernetes.io/metadata.name", ["team-a"])
    for binding in of_kind(chart.objects(MATRIX["everything on"]), "ValidatingAdmissionPolicyBinding"):
        assert "matchResources" not in binding["spec"]
        assert binding["spec"]["validationActions"] == ["Deny"]


def test_the_readme_is_what_the_values_say() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "chart-readme", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_readme_lists_every_right_of_the_operator(chart: Any) -> None:
    table = (chart.directory / "README.md").read_text().partition("## What the operator may do")[2].partition("## Values")[0]
    for role in operator_roles(chart.objects({})):
        for rule in role["rules"]:
            for resource in rule["resources"]:
                rows = [line for line in table.splitlines() if resource in re.split(r"[ ,|]+", line)]
                assert rows, f"{resource} is not in the README's table of rights"
                assert all(any(verb in row for row in rows) for verb in rule["verbs"]), (
                    f"{resource}: {rule['verbs']}, but the README has {rows}"
                )
