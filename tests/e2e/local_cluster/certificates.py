"""The certificates of a cluster: one authority, and one key pair for each of its parts. Made anew with each cluster, by openssl."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from local_cluster.layout import CONTROL_ADDRESS, KUBERNETES_SERVICE, SERVER, Layout, Node
from local_cluster.processes import tell

DAYS = "30"
_KEY = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]


def make_certificates(layout: Layout, nodes: Sequence[Node]) -> None:
    """Writes what is missing below `layout.certificates`: NAME.key, NAME.crt, and NAME.kubeconfig for the clients of the API server."""
    directory = layout.certificates
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    if not (directory / "ca.crt").exists():
        tell([*_KEY, directory / "ca.key"])
        request = ["openssl", "req", "-x509", "-new", "-key", str(directory / "ca.key"), "-subj", "/CN=local-cluster", "-days", DAYS]
        tell([*request, "-out", directory / "ca.crt"])
    if not (directory / "service-accounts.pub").exists():
        tell([*_KEY, directory / "service-accounts.key"])
        tell(["openssl", "pkey", "-in", directory / "service-accounts.key", "-pubout", "-out", directory / "service-accounts.pub"])
    kubernetes = ",".join(f"DNS:kubernetes{domain}" for domain in ("", ".default", ".default.svc", ".default.svc.cluster.local"))
    addresses = f"IP:127.0.0.1,IP:{CONTROL_ADDRESS},IP:{KUBERNETES_SERVICE}"
    _certificate(directory, "apiserver", "/CN=kube-apiserver", f"{kubernetes},DNS:localhost,{addresses}")
    _certificate(directory, "apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    clients = {
        "admin": "/O=system:masters/CN=admin",
        "kube-controller-manager": "/CN=system:kube-controller-manager",
        "kube-scheduler": "/CN=system:kube-scheduler",
        "kube-proxy": "/CN=system:kube-proxy",
        **{node.name: f"/O=system:nodes/CN=system:node:{node.name}" for node in nodes},
    }
    names = {node.name: f"DNS:{node.name},IP:127.0.0.1,IP:{node.address}" for node in nodes}
    for name, subject in clients.items():
        _certificate(directory, name, subject, names.get(name, ""))
        _kubeconfig(directory, name)
    (directory / "admin.kubeconfig").replace(layout.kubeconfig)


def _certificate(directory: Path, name: str, subject: str, alternatives: str = "") -> None:
    if (directory / f"{name}.crt").exists():
        return
    tell([*_KEY, directory / f"{name}.key"])
    request = tell(["openssl", "req", "-new", "-key", directory / f"{name}.key", "-subj", subject])
    extensions = directory / f"{name}.extensions"
    lines = ["extendedKeyUsage=clientAuth,serverAuth", "keyUsage=digitalSignature"]
    extensions.write_text("\n".join([*lines, *([f"subjectAltName={alternatives}"] if alternatives else [])]) + "\n")
    authority = ["-CA", str(directory / "ca.crt"), "-CAkey", str(directory / "ca.key"), "-CAcreateserial", "-days", DAYS]
    made = ["openssl", "x509", "-req", *authority, "-extfile", str(extensions), "-out", str(directory / f"{name}.crt")]
    tell(made, given=request)
    extensions.unlink()


def _kubeconfig(directory: Path, name: str) -> None:
    """A kubeconfig with everything in it, so that the file can be copied. JSON is YAML."""

    def encoded(file: str) -> str:
        return b64encode((directory / file).read_bytes()).decode()

    user = {"client-certificate-data": encoded(f"{name}.crt"), "client-key-data": encoded(f"{name}.key")}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": SERVER, "certificate-authority-data": encoded("ca.crt")}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": name}}],
        "current-context": "local",
    }
    path = directory / f"{name}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=2) + "\n")
