"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler, on a machine of their own."""

from __future__ import annotations

import subprocess

from local_cluster.layout import CONTROL, CONTROL_ADDRESS, PODS, SERVER, SERVICES, Layout
from local_cluster.machine import Machine
from local_cluster.processes import wait_until
from local_cluster.programs import kubernetes_programs

APISERVER = "kube-apiserver"
_ETCD = "http://127.0.0.1:2379"


def control_machine(layout: Layout) -> Machine:
    return Machine(layout, CONTROL)


def start_control_plane(machine: Machine) -> None:
    """Starts what does not run, and returns when the API server is ready."""
    start_etcd(machine)
    start_apiserver(machine)
    wait_ready(machine)
    start_controllers(machine)


def start_etcd(machine: Machine) -> None:
    peers = "http://127.0.0.1:2380"
    flags = [
        f"--data-dir={machine.directory / 'etcd'}",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        # The cluster does not outlive the machine, so nothing need survive its loss of power.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]
    machine.start_daemon("etcd", [kubernetes_programs() / "etcd", *flags])


def start_apiserver(machine: Machine) -> None:
    keys = machine.layout.certificates
    flags = [
        f"--etcd-servers={_ETCD}",
        f"--bind-address={CONTROL_ADDRESS}",
        f"--advertise-address={CONTROL_ADDRESS}",
        "--secure-port=6443",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--client-ca-file={keys / 'ca.crt'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={keys / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={keys / 'service-accounts.key'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={SERVICES}",
        f"--kubelet-client-certificate={keys / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={keys / 'apiserver-kubelet.key'}",
        f"--kubelet-certificate-authority={keys / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
    ]
    machine.start_daemon(APISERVER, [kubernetes_programs() / "kube-apiserver", *flags])


def wait_ready(machine: Machine) -> None:
    """Returns when the API server says that it is ready, and that the service of itself is there."""
    kubectl = [str(kubernetes_programs() / "kubectl"), f"--kubeconfig={machine.layout.kubeconfig}", "--request-timeout=5s"]

    def ready() -> bool:
        machine.check_daemon(APISERVER)
        return subprocess.run([*kubectl, "get", "--raw=/readyz"], check=False, capture_output=True).returncode == 0

    wait_until(ready, what=f"{SERVER}/readyz", seconds=120.0, log=machine.log(APISERVER))


def start_controllers(machine: Machine) -> None:
    keys, programs = machine.layout.certificates, kubernetes_programs()
    for name, flags in {
        "kube-controller-manager": [
            "--use-service-account-credentials",
            f"--service-account-private-key-file={keys / 'service-accounts.key'}",
            f"--root-ca-file={keys / 'ca.crt'}",
            f"--cluster-signing-cert-file={keys / 'ca.crt'}",
            f"--cluster-signing-key-file={keys / 'ca.key'}",
            f"--service-cluster-ip-range={SERVICES}",
            f"--cluster-cidr={PODS}",
            "--allocate-node-cidrs=false",
        ],
        "kube-scheduler": [],
    }.items():
        who = keys / f"{name}.kubeconfig"
        common = [f"--kubeconfig={who}", f"--authentication-kubeconfig={who}", f"--authorization-kubeconfig={who}"]
        machine.start_daemon(name, [programs / name, *common, "--bind-address=127.0.0.1", "--leader-elect=false", *flags])
