"""The Kubernetes programs of the cluster, which scripts/kube-binaries builds once a machine."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

from local_cluster.layout import ROOT
from local_cluster.processes import ClusterError

KUBERNETES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "helm",
)


@functools.cache
def kubernetes_programs() -> Path:
    """The directory with all of `KUBERNETES`."""
    return _built(KUBERNETES)


def coredns_program() -> Path:
    return _built(("coredns",)) / "coredns"


def _built(names: tuple[str, ...]) -> Path:
    command = [sys.executable, str(ROOT / "scripts" / "kube-binaries"), *names]
    result = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        raise ClusterError(f"{', '.join(names)}: could not be built; scripts/kube-binaries said why above")
    return Path(result.stdout.splitlines()[-1])
