"""containerd as the local cluster runs it: its settings, its network plug-in, and the store of images that all nodes begin with.

An image is unpacked once, into the seed, and the stores of all nodes begin with links to its layers, which are only ever read. So a runtime
image of gigabytes costs its disk once, however many nodes there are, and a cluster is up, and gone, in seconds.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from local_cluster.layout import Node
from local_cluster.processes import tell

PAUSE = "localhost/reasonrl/pause:1"
_UNUSED = ("aufs", "btrfs", "zfs", "devmapper")


def settings(*, root: Path, state: Path, network: Path | None) -> str:
    """The configuration file; with `network` it serves a kubelet, else it only keeps images."""
    disabled = [f"io.containerd.snapshotter.v1.{name}" for name in _UNUSED] + ["io.containerd.internal.v1.opt"]
    if network is None:
        disabled.append("io.containerd.grpc.v1.cri")
    lines = [
        "version = 2",
        f"root = {json.dumps(str(root))}",
        f"state = {json.dumps(str(state))}",
        f"disabled_plugins = {json.dumps(disabled)}",
        "oom_score = 0",
        "[grpc]",
        f"  address = {json.dumps(str(socket_of(state)))}",
    ]
    if network is not None:
        cri = '"io.containerd.grpc.v1.cri"'
        lines += [
            f"[plugins.{cri}]",
            f"  sandbox_image = {json.dumps(PAUSE)}",
            # Where the host itself is confined, nothing may lower its own score.
            "  restrict_oom_score_adj = true",
            "  disable_apparmor = true",
            f"[plugins.{cri}.cni]",
            '  bin_dir = "/usr/lib/cni"',
            f"  conf_dir = {json.dumps(str(network))}",
            f"[plugins.{cri}.containerd.runtimes.runc]",
            '  runtime_type = "io.containerd.runc.v2"',
            f"[plugins.{cri}.containerd.runtimes.runc.options]",
            "  SystemdCgroup = false",
        ]
    return "\n".join(lines) + "\n"


def socket_of(state: Path) -> Path:
    return state / "containerd.sock"


def network_plugin(node: Node) -> str:
    """A bridge for the node's pods. They reach the other nodes by the routes of their own, and nothing beyond: there is no masquerading."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": node.pods, "gateway": node.gateway}]]}
    bridge = {"type": "bridge", "bridge": "cni0", "isDefaultGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": addresses}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "local-cluster", "plugins": [bridge, ports]}, indent=2) + "\n"


def copy_store(seed: Path, root: Path) -> None:
    """Makes `root`, which must not be there, a store with the images of `seed`: containerd's own files copied, unpacked layers linked."""
    tree = Path("io.containerd.snapshotter.v1.overlayfs", "snapshots")
    (root / tree).mkdir(parents=True)
    for entry in sorted(seed.iterdir()):
        if entry.name != tree.parts[0]:
            tell(["cp", "--archive", entry, root / entry.name])
    shutil.copy2(seed / tree.parent / "metadata.db", root / tree.parent / "metadata.db")
    for layer in (seed / tree).iterdir():
        (root / tree / layer.name).symlink_to(layer)
