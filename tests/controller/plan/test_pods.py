from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from reasonrl.controller.kueue import group_labels

FULL: dict[str, Any] = {
    "image": "registry.example/train:1",
    "volumes": [{"claimName": "data", "mountPath": "/data"}, {"claimName": "scratch", "mountPath": "/scratch", "readOnly": False}],
    "pods": {
        "trainer": {
            "resources": {"requests": {"cpu": "8", "memory": "64Gi"}, "limits": {"memory": "64Gi"}},
            "sharedMemory": "16Gi",
            "env": [
                {"name": "HF_HOME", "value": "/data/hub"},
                {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
                {"name": "REASONRL_JOB_EXTRA", "value": "1"},
            ],
            "imagePullSecrets": [{"name": "pull"}],
            "imagePullPolicy": "Always",
            "nodeSelector": {"gpu": "h100"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "rack"}]}},
            "labels": {"team": "a"},
            "annotations": {"example.com/note": "b"},
            "serviceAccountName": "train",
            "runtimeClassName": "nvidia",
            "terminationGracePeriodSeconds": 900,
        },
        "rollout": {"gpuResourceName": "amd.com/gpu", "image": "registry.example/vllm:1"},
    },
    "scheduling": {"priorityClassName": "high", "topologyKey": "topology.kubernetes.io/zone", "spread": "Required"},
    "network": {"egress": [{"cidr": "10.2.0.0/16", "ports": [{"port": 443}]}]},
}


def pod(world: Any, name: str) -> dict[str, Any]:
    world.settle()
    return dict(world.bodies[name])


def restricted_faults(body: Mapping[str, Any]) -> list[str]:
    """The rules of the restricted pod security standard and the baseline below it, from its text and not from the code."""
    spec = body["spec"]
    faults = [f"spec.{field}" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    faults += [f"volume {each['name']}" for each in spec.get("volumes", []) if not set(each) - {"name"} <= allowed]
    of_pod = spec.get("securityContext", {})
    if of_pod.get("runAsUser") == 0:
        faults.append("runs as root")
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        own = container.get("securityContext", {})
        capabilities = own.get("capabilities", {})
        checks = {
            "privileged": own.get("privileged", False) is False,
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "drop": "ALL" in capabilities.get("drop", []),
            "add": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is True,
            "runAsUser": own.get("runAsUser") != 0,
            "seccomp": own.get("seccompProfile", of_pod.get("seccompProfile", {})).get("type") in ("RuntimeDefault", "Localhost"),
            "hostPort": all(not port.get("hostPort") for port in container.get("ports", [])),
            "procMount": own.get("procMount", "Default") == "Default",
        }
        faults += [f"{container['name']}: {name}" for name, fine in checks.items() if not fine]
    return faults


def test_the_check_finds_what_the_profile_forbids() -> None:
    assert "main: drop" in restricted_faults({"spec": {"containers": [{"name": "main"}], "hostNetwork": True}})
    assert "spec.hostNetwork" in restricted_faults({"spec": {"containers": [{"name": "main"}], "hostNetwork": True}})


@pytest.mark.parametrize("name", ["zero-trainer-0", "zero-trainer-1", "zero-rollout-0"])
@pytest.mark.parametrize("spec", [{}, FULL], ids=["plain", "full"])
def test_pods_meet_the_restricted_profile_and_hold_no_credentials(make_world: Any, name: str, spec: dict[str, Any]) -> None:
    body = pod(make_world(spec), name)
    assert restricted_faults(body) == []
    assert body["spec"]["automountServiceAccountToken"] is False
    assert body["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert body["spec"]["restartPolicy"] == "Never"


def test_whatever_a_container_writes_to_is_a_volume(world: Any) -> None:
    spec = pod(world, "zero-trainer-0")["spec"]
    writable = {each["mountPath"] for each in spec["containers"][0]["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"/tmp", "/dev/shm", "/checkpoints"}
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} in spec["volumes"]
    mounted = {each["name"] for each in spec["containers"][0]["volumeMounts"]}
    assert mounted == {each["name"] for each in spec["volumes"]}


def test_the_configuration_is_mounted_as_a_directory_so_that_live_edits_arrive(world: Any) -> None:
    spec = pod(world, "zero-rollout-0")["spec"]
    mount = next(each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "config")
    assert mount == {"name": "config", "mountPath": "/etc/reasonrl", "readOnly": True}
    volume = next(each for each in spec["volumes"] if each["name"] == "config")
    assert [each["key"] for each in volume["configMap"]["items"]] == ["job.yaml", "control.json"]


def test_every_pod_has_a_stable_name_under_the_service(world: Any) -> None:
    body = pod(world, "zero-trainer-1")
    assert (body["spec"]["hostname"], body["spec"]["subdomain"]) == ("zero-trainer-1", "zero")
    environment = {each["name"]: each.get("value") for each in body["spec"]["containers"][0]["env"]}
    assert environment["REASONRL_HEAD"] == "zero-trainer-0.zero.team.svc.cluster.local"
    service = world.object_bodies["Service", "zero"]["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    assert service["selector"].items() <= body["metadata"]["labels"].items()


def test_the_job_decides_on_resources_environment_and_placement_of_each_role(make_world: Any) -> None:
    world = make_world(FULL)
    body = pod(world, "zero-trainer-0")
    spec, container = body["spec"], body["spec"]["containers"][0]

    assert container["image"] == "registry.example/train:1"
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == {
        "requests": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "8"},
        "limits": {"memory": "64Gi", "nvidia.com/gpu": "8"},
    }
    environment = {each["name"]: each for each in container["env"]}
    assert len(environment) == len(container["env"])
    assert environment["HF_HOME"]["value"] == "/data/hub"
    assert environment["HF_TOKEN"] == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    assert environment["RAY_AUTH_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "zero-token", "key": "token"}}
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["nodeSelector"] == {"gpu": "h100"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["terminationGracePeriodSeconds"] == 900
    assert (spec["serviceAccountName"], spec["runtimeClassName"], spec["priorityClassName"]) == ("train", "nvidia", "high")
    assert body["metadata"]["labels"]["team"] == "a"
    assert body["metadata"]["annotations"] == {"example.com/note": "b"}
    assert next(each for each in spec["volumes"] if each["name"] == "shm")["emptyDir"]["sizeLimit"] == "16Gi"
    near = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [each["topologyKey"] for each in near] == ["rack", "topology.kubernetes.io/zone"]
    assert near[1]["labelSelector"]["matchLabels"]["reasonrl.dev/role"] == "trainer"
    apart = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [each["topologyKey"] for each in apart] == ["kubernetes.io/hostname"]

    other = world.bodies["zero-rollout-0"]["spec"]
    assert other["containers"][0]["image"] == "registry.example/vllm:1"
    assert other["containers"][0]["resources"] == {"requests": {"amd.com/gpu": "1"}, "limits": {"amd.com/gpu": "1"}}
    assert "nodeSelector" not in other
    claims = {each["persistentVolumeClaim"]["claimName"] for each in other["volumes"] if "persistentVolumeClaim" in each}
    assert claims == {"data", "scratch"}


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({"model": {"path": "hf://Qwen/Qwen2.5-32B"}}, 60 + 896),
        ({"model": {"path": "hf://Qwen/Qwen2.5-32B"}, "algorithm": {"kl": {"schedule": {"type": "constant", "value": 0.001}}}}, 60 + 1152),
        ({"model": {"path": "hf://Qwen/Qwen2.5-1.5B"}}, 300),
        ({"model": {"path": "hf://example/model"}}, 300),
        ({"model": {"path": "hf://Qwen/Qwen2.5-32B"}, "pods": {"trainer": {"terminationGracePeriodSeconds": 0}}}, 0),
    ],
    ids=["large", "with a reference", "small", "of unknown size", "as the job says"],
)
def test_trainers_are_given_the_time_to_write_a_checkpoint(make_world: Any, spec: dict[str, Any], seconds: int) -> None:
    world = make_world(spec)
    assert pod(world, "zero-trainer-1")["spec"]["terminationGracePeriodSeconds"] == seconds
    assert pod(world, "zero-rollout-0")["spec"]["terminationGracePeriodSeconds"] == 300


def test_labels_find_the_pod_again(world: Any) -> None:
    metadata = pod(world, "zero-trainer-1")["metadata"]
    labels = metadata["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "reasonrl"
    assert (labels["reasonrl.dev/job"], labels["reasonrl.dev/job-uid"]) == ("zero", "job-uid")
    assert (labels["reasonrl.dev/role"], labels["reasonrl.dev/index"], labels["reasonrl.dev/attempt"]) == ("trainer", "1", "0")
    owner = metadata["ownerReferences"][0]
    assert (owner["kind"], owner["controller"], owner["blockOwnerDeletion"]) == ("ReasoningRLJob", True, True)


def test_pods_that_serve_are_probed(world: Any) -> None:
    head, other, rollout = (pod(world, f"zero-{name}")["spec"]["containers"][0] for name in ("trainer-0", "trainer-1", "rollout-0"))
    assert head["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "status"}
    assert "livenessProbe" not in head
    assert "readinessProbe" not in other
    assert rollout["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert head["ports"] == [{"name": "status", "containerPort": 8471}]
    assert head["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_only_the_jobs_own_pods_dns_and_what_is_listed_is_reached(make_world: Any) -> None:
    world = make_world(FULL)
    labels = pod(world, "zero-trainer-0")["metadata"]["labels"]
    spec = world.object_bodies["NetworkPolicy", "zero"]["spec"]
    own = {"podSelector": {"matchLabels": {"reasonrl.dev/job-uid": "job-uid"}}}

    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"from": [own]}, {"ports": [{"port": 8471, "protocol": "TCP"}]}]
    assert spec["egress"][0] == {"to": [own]}
    assert {each["port"] for each in spec["egress"][1]["ports"]} == {53}
    assert spec["egress"][2:] == [{"to": [{"ipBlock": {"cidr": "10.2.0.0/16"}}], "ports": [{"port": 443, "protocol": "TCP"}]}]


def test_no_policy_where_the_job_wants_none(make_world: Any) -> None:
    world = make_world({"network": {"policy": "None"}})
    world.settle()
    assert ("NetworkPolicy", "zero") not in world.objects


@pytest.mark.parametrize(
    ("gang", "version", "scheduler"),
    [
        ("Volcano", "scheduling.volcano.sh/v1beta1", "volcano"),
        ("Coscheduling", "scheduling.x-k8s.io/v1alpha1", "scheduler-plugins-scheduler"),
    ],
)
def test_a_gang_scheduler_gets_a_group_of_the_trainers(make_world: Any, gang: str, version: str, scheduler: str) -> None:
    world = make_world({"scheduling": {"gang": gang} | ({"queue": "research"} if gang == "Volcano" else {})})
    body = pod(world, "zero-trainer-0")
    group = world.object_bodies["PodGroup", "zero"]

    assert group["apiVersion"] == version
    assert group["spec"]["minMember"] == 2
    assert body["spec"]["schedulerName"] == scheduler
    if gang == "Volcano":
        assert group["spec"]["queue"] == "research"
        assert body["metadata"]["annotations"]["scheduling.k8s.io/group-name"] == "zero"
    else:
        assert body["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] == "zero"
    assert "annotations" not in world.bodies["zero-rollout-0"]["metadata"] or gang == "Volcano"


def test_kueue_admits_the_trainers_of_one_start_as_a_group_and_rollout_pods_alone(make_world: Any) -> None:
    world = make_world({"scheduling": {"gang": "Kueue", "queue": "research"}})
    world.running()
    for index in range(2):
        metadata = world.bodies[f"zero-trainer-{index}"]["metadata"]
        assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == "research"
        assert metadata["labels"]["kueue.x-k8s.io/pod-group-name"] == "zero-gang-0"
        assert metadata["annotations"] == {
            "kueue.x-k8s.io/pod-group-total-count": "2",
            "kueue.x-k8s.io/retriable-in-group": "false",
        }
    rollout = world.bodies["zero-rollout-0"]["metadata"]
    assert rollout["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert "kueue.x-k8s.io/pod-group-name" not in rollout["labels"]
    assert "annotations" not in rollout
    assert "schedulerName" not in world.bodies["zero-trainer-0"]["spec"]
    world.end("zero-trainer-1", 3)
    for _ in range(3):
        world.settle()
        world.collect()
        world.wait(20)
    assert world.bodies["zero-trainer-0"]["metadata"]["labels"]["kueue.x-k8s.io/pod-group-name"] == "zero-gang-1", "a group is never mended"


def test_the_group_of_a_job_with_the_longest_name_is_a_label(make_world: Any) -> None:
    assert len(group_labels("a" * 50, 999_999)["kueue.x-k8s.io/pod-group-name"]) <= 63


def test_colocated_engines_need_no_pods_of_their_own(make_world: Any) -> None:
    phases = [{"name": "short", "maxResponseTokens": 512, "until": {"steps": 100}}]
    rollout = {"placement": "Colocated", "replicas": 2, "gpusPerReplica": 4, "engine": "vllm"}
    world = make_world({"rollout": rollout, "phases": phases}).running()

    assert world.names("rollout") == []
    assert world.condition("RolloutsReady")["status"] == "True"
    assert world.status["summary"] == "Running"


def test_without_a_volume_checkpoints_die_with_the_pod_and_the_job_says_so(make_world: Any) -> None:
    world = make_world({"checkpoint": {}})
    spec = pod(world, "zero-trainer-0")["spec"]
    assert {"name": "checkpoints", "emptyDir": {}} in spec["volumes"]
    assert "spec.checkpoint.volume" in world.condition("Admitted")["message"]
