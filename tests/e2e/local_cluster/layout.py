"""Where the local cluster keeps its files, and the addresses that it uses: what all its other modules agree upon."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
"""The repository."""

BRIDGE = "rrl0"
"""The switch that the machines of the cluster hang on; the host has a foot in it."""
HOST_ADDRESS = "10.99.0.1"
CONTROL_ADDRESS = "10.99.0.2"
MACHINES = 24
"""Length of the prefix of the machines' network, 10.99.0.0/24."""
PODS = "10.98.0.0/16"
SERVICES = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
DOMAIN = "cluster.local"
SERVER = f"https://{CONTROL_ADDRESS}:6443"
CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Node:
    """The `number`th node, from 1: its name, its address, and the range that its pods' addresses come from."""

    number: int

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def address(self) -> str:
        return f"10.99.0.{10 + self.number}"

    @property
    def pods(self) -> str:
        return f"10.98.{self.number}.0/24"

    @property
    def gateway(self) -> str:
        return f"10.98.{self.number}.1"


@dataclass(frozen=True, slots=True)
class Layout:
    """`seed` holds the images as containerd unpacked them, and outlives a cluster; `state` is all of one cluster, and goes with it."""

    home: Path

    @property
    def seed(self) -> Path:
        return self.home / "images"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    def machine(self, name: str) -> Path:
        return self.state / "machines" / name


def cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reasonrl"


def layout() -> Layout:
    """The layout below $LOCAL_CLUSTER_HOME, by default a directory of the user's cache."""
    return Layout(Path(os.environ.get("LOCAL_CLUSTER_HOME") or cache_home() / "local-cluster"))
