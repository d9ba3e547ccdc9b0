"""A node: containerd, kubelet and kube-proxy on a machine of their own, with half of the host's memory to give away."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from local_cluster import containerd
from local_cluster.layout import DNS_SERVICE, DOMAIN, PODS, SERVICES, Layout, Node
from local_cluster.machine import Machine, start_machine
from local_cluster.processes import ClusterError, wait_until
from local_cluster.programs import kubernetes_programs

CGROUPS = Path("/sys/fs/cgroup")


def node_machine(layout: Layout, node: Node) -> Machine:
    return Machine(layout, node.name)


def start_node(layout: Layout, node: Node, nodes: Sequence[Node]) -> None:
    """Starts what does not run. Returns when the kubelet runs, not when the node is Ready."""
    machine = node_machine(layout, node)
    start_machine(machine, address=node.address)
    _connect(machine, node, nodes)
    _make_cgroups(node)
    start_containerd(machine, node)
    start_kubelet(machine, node, share=len(nodes))
    _start_proxy(machine, node)


def _connect(machine: Machine, node: Node, nodes: Sequence[Node]) -> None:
    """The bridge of the node's pods, and the ways to the pods of other nodes. There is none to anywhere else."""
    if Path(machine.directory / "connected").exists():
        return
    ip = ["ip"]
    machine.tell([*ip, "link", "add", "cni0", "type", "bridge"])
    machine.tell([*ip, "address", "add", f"{node.gateway}/24", "dev", "cni0"])
    machine.tell([*ip, "link", "set", "cni0", "up"])
    # Service addresses are translated on their way out; only there must be a way.
    machine.tell([*ip, "route", "add", SERVICES, "dev", "cni0"])
    for other in nodes:
        if other != node:
            machine.tell([*ip, "route", "add", other.pods, "via", other.address])
    machine.tell(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    with contextlib.suppress(ClusterError):  # Where the module is not loaded, bridged packets meet no rules anyway.
        machine.tell(["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1"])
    Path(machine.directory / "connected").touch()


def start_containerd(machine: Machine, node: Node) -> None:
    root, state, network = (machine.directory / name for name in ("containerd", "containerd-state", "network"))
    if not root.exists():
        containerd.copy_store(machine.layout.seed / "root", root)
    network.mkdir(parents=True, exist_ok=True)
    (network / "10-local-cluster.conflist").write_text(containerd.network_plugin(node))
    configuration = machine.directory / "containerd.toml"
    configuration.write_text(containerd.settings(root=root, state=state, network=network))
    machine.start_daemon("containerd", ["containerd", "--config", configuration])
    address = str(containerd.socket_of(state))

    def answers() -> bool:
        machine.check_daemon("containerd")
        return subprocess.run(["ctr", "--address", address, "version"], check=False, capture_output=True).returncode == 0

    wait_until(answers, what=f"{node.name}: containerd", seconds=60.0, log=machine.log("containerd"))


def start_kubelet(machine: Machine, node: Node, *, share: int) -> None:
    """`share` is how many nodes divide the host's memory among them."""
    keys, directory = machine.layout.certificates, machine.directory
    resolver = directory / "resolv.conf"
    resolver.touch()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(keys / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "address": node.address,
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": str(keys / f"{node.name}.crt"),
        "tlsPrivateKeyFile": str(keys / f"{node.name}.key"),
        "containerRuntimeEndpoint": f"unix://{containerd.socket_of(directory / 'containerd-state')}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{_cgroup(node)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "systemReserved": {"memory": str(memory - memory // share)},
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # Nobody could pull an image again that was thrown away.
        "imageGCHighThresholdPercent": 100,
        "clusterDomain": DOMAIN,
        "clusterDNS": [DNS_SERVICE],
        "resolvConf": str(resolver),
        "podLogsDir": str(directory / "pod-logs"),
        "volumePluginDir": str(directory / "volume-plugins"),
        "nodeStatusUpdateFrequency": "5s",
        "serializeImagePulls": False,
    }
    configuration = directory / "kubelet.json"
    configuration.write_text(json.dumps(settings, indent=2) + "\n")
    flags = [
        f"--config={configuration}",
        f"--kubeconfig={keys / f'{node.name}.kubeconfig'}",
        "--root-dir=/var/lib/kubelet",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
    ]
    machine.start_daemon("kubelet", [kubernetes_programs() / "kubelet", *flags])


def _start_proxy(machine: Machine, node: Node) -> None:
    settings = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(machine.layout.certificates / "kube-proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": PODS,
        "hostnameOverride": node.name,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    configuration = machine.directory / "kube-proxy.json"
    configuration.write_text(json.dumps(settings, indent=2) + "\n")
    machine.start_daemon("kube-proxy", [kubernetes_programs() / "kube-proxy", f"--config={configuration}"])


def _cgroup(node: Node) -> str:
    return f"reasonrl-{node.name}"


def _hierarchies() -> list[Path]:
    """The roots of control groups: one with version 2, one a controller with version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [each for each in CGROUPS.iterdir() if each.is_dir() and not each.is_symlink() and each.name != "unified"]


def _make_cgroups(node: Node) -> None:
    """The kubelet wants its root there, and with version 1 the processors that may be used written into it."""
    for hierarchy in _hierarchies():
        own = hierarchy / _cgroup(node)
        own.mkdir(exist_ok=True)
        if (hierarchy / "cgroup.subtree_control").exists():
            for controller in ("cpuset", "cpu", "io", "memory", "pids"):
                with contextlib.suppress(OSError):
                    (hierarchy / "cgroup.subtree_control").write_text(f"+{controller}")
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / name).exists() and not (own / name).read_text().strip():
                (own / name).write_text((hierarchy / name).read_text())


def cgroups_of(node: Node) -> list[Path]:
    return [*CGROUPS.glob(_cgroup(node)), *CGROUPS.glob(f"*/{_cgroup(node)}")]


def remove_cgroups(node: Node, *, seconds: float = 20.0) -> None:
    """Removes the control groups of a node whose processes have ended; the kernel may take a moment to see that."""
    deadline = time.monotonic() + seconds
    for own in cgroups_of(node):
        while own.exists():
            for directory, _, _ in os.walk(own, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            if own.exists():
                if time.monotonic() > deadline:
                    raise ClusterError(f"control group {own} has processes still: see {own}/**/cgroup.procs")
                time.sleep(0.1)
