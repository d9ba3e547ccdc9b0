"""etcd and kube-apiserver on loopback, and on request the real kube-controller-manager: a Kubernetes without nodes, ready in seconds.

Authorisation is RBAC, admission is what Kubernetes has by default, and tokens of `USERS` say who calls; so what a test sees is what a
cluster would do. Everything lies in a temporary directory, and the processes end with the one that started them.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from testbed.binaries import binaries
from testbed.child_process import ChildProcess, ProcessEnded, start_child, stop_all
from testbed.client import Client
from testbed.kubeconfig import write_kubeconfig
from testbed.pem import write_signing_key
from testbed.scratch import scratch_directory

ADMIN = "admin"
FAKE_KUBELET = "fake-kubelet"
USERS: Mapping[str, Sequence[str]] = {
    ADMIN: ("system:masters",),
    FAKE_KUBELET: ("system:masters",),
    "controller-manager": ("system:masters",),
    "operator": (),
    "viewer": (),
    "stranger": (),
}
"""Who has a token, and the groups they are in. Those without a group may do what a test's RBAC objects say."""
CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "clusterrole-aggregation-controller",
)
READY_SECONDS = 60.0
TMPFS = Path("/dev/shm")
TMPFS_ROOM = 512 * 2**20


class NotReady(Exception):
    """The control plane did not come up; the text has the ends of the logs."""


@dataclass(slots=True)
class ControlPlane:
    """A running control plane: where it is, who may speak to it, what is kept of it."""

    directory: Path
    port: int
    tokens: Mapping[str, str]
    etcd: ChildProcess
    apiserver: ChildProcess
    start_seconds: float
    audit_log: Path | None
    controller_manager: ChildProcess | None = field(default=None)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def certificate_authority(self) -> Path:
        return self.directory / "certificates" / "apiserver.crt"

    def client(self, user: str = ADMIN) -> Client:
        return Client(self.url, token=self.tokens[user], certificate_authority=self.certificate_authority)

    def kubeconfig(self, user: str = ADMIN, *, namespace: str = "default") -> Path:
        """The path of a kubeconfig for one of `USERS`."""
        path = self.directory / f"{user}.{namespace}.kubeconfig"
        return write_kubeconfig(
            path, server=self.url, token=self.tokens[user], certificate_authority=self.certificate_authority, namespace=namespace
        )

    def start_controller_manager(self, controllers: Sequence[str] = CONTROLLERS) -> None:
        """Starts the real kube-controller-manager with `controllers` alone. CRDs that are there before are collected without delay; the
        garbage collector looks for new kinds each 30 s."""
        if self.controller_manager is not None:
            return
        program = binaries("kube-controller-manager")["kube-controller-manager"]
        arguments = [
            f"--kubeconfig={self.kubeconfig('controller-manager')}",
            f"--controllers={','.join(controllers)}",
            f"--service-account-private-key-file={self.directory / 'service-account.key'}",
            f"--root-ca-file={self.certificate_authority}",
            "--leader-elect=false",
            "--secure-port=0",
            "--concurrent-gc-syncs=20",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]
        self.controller_manager = start_child(
            "kube-controller-manager", [program, *arguments], log=self.directory / "kube-controller-manager.log"
        )

    def stop_controller_manager(self) -> None:
        if self.controller_manager is not None:
            self.controller_manager.stop()
            self.controller_manager = None

    def children(self) -> list[ChildProcess]:
        return [child for child in (self.controller_manager, self.apiserver, self.etcd) if child is not None]

    def log_tails(self, lines: int = 25) -> str:
        return "\n".join(child.log_tail(lines) for child in self.children())

    def check(self) -> None:
        """Raises ProcessEnded when a part of the control plane is not running any more."""
        for child in self.children():
            child.check()


@contextmanager
def control_plane(*, audit: bool = False, extra_flags: Sequence[str] = (), keep: bool = False) -> Iterator[ControlPlane]:
    """A control plane for as long as the block lasts. `audit` writes each request's metadata as a line of JSON; `keep` leaves the logs."""
    with (
        scratch_directory("reasonrl-kube-", keep=keep) as directory,
        scratch_directory("reasonrl-etcd-", parent=_fast_directory()) as data,
    ):
        plane = _start_with_retries(directory=directory, data=data, audit=audit, extra_flags=extra_flags)
        try:
            yield plane
        finally:
            for child in plane.children():
                child.kill()  # Nothing of its state is kept, and a polite end waits for every open watch.


def _fast_directory() -> Path | None:
    """Memory for etcd's files where there is room, else the usual temporary directory."""
    return TMPFS if TMPFS.is_dir() and shutil.disk_usage(TMPFS).free > TMPFS_ROOM else None


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _start_with_retries(*, directory: Path, data: Path, audit: bool, extra_flags: Sequence[str]) -> ControlPlane:
    """Starts the pair; a port that another process took in between is no reason to fail."""
    for attempt in range(3):
        try:
            return _start(directory=directory, data=data / str(attempt), audit=audit, extra_flags=extra_flags)
        except ProcessEnded as error:
            if attempt == 2 or "address already in use" not in str(error):
                raise
    raise AssertionError("the last attempt returns or raises")


def _start(*, directory: Path, data: Path, audit: bool, extra_flags: Sequence[str]) -> ControlPlane:
    programs = binaries("etcd", "kube-apiserver")
    started = time.monotonic()
    etcd_port, port = _free_ports(2)
    etcd_url = f"http://127.0.0.1:{etcd_port}"
    tokens = {user: secrets.token_urlsafe(24) for user in USERS}
    _write_inputs(directory, tokens)
    etcd_flags = [
        f"--data-dir={data}",
        f"--listen-client-urls={etcd_url}",
        f"--advertise-client-urls={etcd_url}",
        "--listen-peer-urls=http://127.0.0.1:0",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=4294967296",
        "--log-level=warn",
    ]
    etcd = start_child("etcd", [programs["etcd"], *etcd_flags], log=directory / "etcd.log")
    audit_log = directory / "audit.log" if audit else None
    flags = _apiserver_flags(directory=directory, etcd_url=etcd_url, port=port, audit_log=audit_log)
    apiserver = start_child("kube-apiserver", [programs["kube-apiserver"], *flags, *extra_flags], log=directory / "kube-apiserver.log")
    plane = ControlPlane(
        directory=directory, port=port, tokens=tokens, etcd=etcd, apiserver=apiserver, start_seconds=0.0, audit_log=audit_log
    )
    try:
        _wait_ready(plane)
    except BaseException:
        stop_all(plane.children(), grace=1.0)
        raise
    plane.start_seconds = time.monotonic() - started
    return plane


def _write_inputs(directory: Path, tokens: Mapping[str, str]) -> None:
    """The files that the API server reads when it starts."""
    (directory / "certificates").mkdir(exist_ok=True)
    rows = [f'{tokens[user]},{user},{user},"{",".join(groups)}"' for user, groups in USERS.items()]
    (directory / "tokens.csv").write_text("\n".join(rows) + "\n")
    if not (directory / "service-account.key").exists():
        write_signing_key(directory / "service-account.key")
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}
    (directory / "audit-policy.json").write_text(json.dumps(policy))


def _apiserver_flags(*, directory: Path, etcd_url: str, port: int, audit_log: Path | None) -> list[str]:
    key = directory / "service-account.key"
    flags = [
        f"--etcd-servers={etcd_url}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={directory / 'certificates'}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--endpoint-reconciler-type=none",
        "--shutdown-delay-duration=0s",
        "--profiling=false",
    ]
    if audit_log is not None:
        flags += [f"--audit-policy-file={directory / 'audit-policy.json'}", f"--audit-log-path={audit_log}", "--audit-log-maxsize=4096"]
    return flags


def _wait_ready(plane: ControlPlane) -> None:
    """Until /readyz says so; the certificate is there before that, since the server makes it first."""
    until = time.monotonic() + READY_SECONDS
    last = "no answer"
    while time.monotonic() < until:
        plane.check()
        if plane.certificate_authority.exists():
            try:
                status, last = plane.client().raw("GET", "/readyz")
                if status == 200:
                    return
            except (urllib3.exceptions.HTTPError, OSError) as error:
                last = str(error)
        time.sleep(0.05)
    raise NotReady(f"the API server was not ready within {READY_SECONDS:.0f} s ({last[:300]}); the logs end with\n{plane.log_tails()}")
