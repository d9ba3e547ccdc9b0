"""A machine of the local cluster: namespaces of its own for processes, mounts and network, as a virtual machine would have, in megabytes.

Ending its first process ends all of it. What runs in it shares the kernel, the clock and the disk with the host, and nothing else.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_cluster.layout import BRIDGE, HOST_ADDRESS, MACHINES, Layout
from local_cluster.processes import ClusterError, Known, children_of, end, known, recall, remember, start, tell, wait_until

_INIT = Path(__file__).with_name("machine_init.py")
_OWN = {
    # Fixed places that containerd, its shims and the kubelet write to, whatever their settings say.
    "/run/containerd": "run-containerd",
    "/run/netns": "run-netns",
    "/var/lib/cni": "cni",
    "/var/lib/kubelet": "kubelet",
    "/var/log": "log",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine `name`, running or not."""

    layout: Layout
    name: str

    @property
    def directory(self) -> Path:
        return self.layout.machine(self.name)

    @property
    def link(self) -> str:
        """Its cable, as the host sees it."""
        return f"rrl-{self.name}"

    def init(self) -> Known | None:
        return recall(self.directory / "init.pid")

    def inside(self, command: Sequence[str | Path]) -> list[str]:
        """`command`, as it is run in this machine."""
        init = self.init()
        if init is None:
            raise ClusterError(f"machine {self.name} does not run: scripts/local-cluster up")
        return ["nsenter", f"--target={init.pid}", "--mount", "--net", "--pid", "--", *map(str, command)]

    def tell(self, command: Sequence[str | Path], *, seconds: float = 120.0) -> str:
        return tell(self.inside(command), seconds=seconds)

    def log(self, daemon: str) -> Path:
        return self.layout.logs / f"{self.name}-{daemon}.log"

    def daemon(self, daemon: str) -> Known | None:
        """A daemon of this machine, when it runs."""
        return recall(self.directory / f"{daemon}.pid")

    def start_daemon(self, daemon: str, command: Sequence[str | Path]) -> None:
        """Starts `command` unless it runs already."""
        if self.daemon(daemon):
            return
        process = start(self.inside(command), log=self.log(daemon))

        # nsenter stays outside of the machine and waits; the daemon is its only child.
        def child() -> bool:
            if process.poll() is not None:
                raise ClusterError(f"{self.name}: {daemon} ended at once with {process.returncode}; see {self.log(daemon)}")
            return bool(children_of(process.pid))

        wait_until(child, what=f"{self.name}: the process of {daemon}", seconds=20.0, log=self.log(daemon))
        remember(self.directory / f"{daemon}.pid", known(children_of(process.pid)[0]))

    def stop_daemon(self, daemon: str, *, grace: float = 10.0) -> None:
        if process := self.daemon(daemon):
            end(process, grace=grace)
        (self.directory / f"{daemon}.pid").unlink(missing_ok=True)

    def check_daemon(self, daemon: str) -> None:
        if self.daemon(daemon) is None:
            lines = self.log(daemon).read_text(errors="replace").splitlines()[-15:] if self.log(daemon).exists() else []
            raise ClusterError(f"{self.name}: {daemon} ended; {self.log(daemon)} ends with\n" + "\n".join(lines))


def start_machine(machine: Machine, *, address: str) -> None:
    """Makes the namespaces and plugs the machine into the switch, unless it runs already."""
    if machine.init():
        return
    machine.directory.mkdir(parents=True, exist_ok=True)
    ready = machine.directory / "ready"
    ready.unlink(missing_ok=True)
    _make_mount_points(machine.layout)
    binds = [f"{machine.directory / own}:{place}" for place, own in _OWN.items()]
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation=private"]
    process = start([*unshare, sys.executable, "-I", _INIT, ready, *binds], log=machine.log("init"))

    def up() -> bool:
        if process.poll() is not None:
            raise ClusterError(f"machine {machine.name} did not start (root is needed); see {machine.log('init')}")
        return ready.exists()

    wait_until(up, what=f"machine {machine.name}", seconds=30.0, log=machine.log("init"))
    init = known(children_of(process.pid)[0])
    remember(machine.directory / "init.pid", init)
    with contextlib.suppress(ClusterError):
        tell(["ip", "link", "delete", machine.link])
    tell(["ip", "link", "add", machine.link, "type", "veth", "peer", "name", "eth0", "netns", str(init.pid)])
    tell(["ip", "link", "set", machine.link, "master", BRIDGE, "up"])
    machine.tell(["ip", "address", "add", f"{address}/{MACHINES}", "dev", "eth0"])
    machine.tell(["ip", "link", "set", "eth0", "up"])


def _make_mount_points(layout: Layout) -> None:
    """Directories that the host lacks, for machines to mount theirs over; noted, so that they go with the cluster."""
    missing = [place for place in _OWN if not Path(place).exists()]
    for place in missing:
        Path(place).mkdir(parents=True)
    with (layout.state / "mount-points").open("a") as note:
        note.writelines(f"{place}\n" for place in missing)


def remove_mount_points(layout: Layout) -> None:
    note = layout.state / "mount-points"
    for place in note.read_text().splitlines() if note.exists() else ():
        with contextlib.suppress(OSError):  # Somebody else uses it by now.
            Path(place).rmdir()


def stop_machine(machine: Machine) -> None:
    """Pulls the plug: every process of the machine ends at once, and all that it mounted goes."""
    if init := machine.init():
        init.send(signal.SIGKILL)
        end(init, grace=30.0)
    (machine.directory / "init.pid").unlink(missing_ok=True)
    with contextlib.suppress(ClusterError):
        tell(["ip", "link", "delete", machine.link])


def make_switch() -> None:
    """The bridge, with the host on it, unless it is there. Nothing routes beyond it: the cluster cannot reach the world."""
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        tell(["ip", "link", "add", BRIDGE, "type", "bridge"])
        tell(["ip", "address", "add", f"{HOST_ADDRESS}/{MACHINES}", "dev", BRIDGE])
    tell(["ip", "link", "set", BRIDGE, "up"])


def remove_switch() -> None:
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        tell(["ip", "link", "delete", BRIDGE])


def missing_programs() -> list[str]:
    """Programs that must be installed and are not."""
    wanted = ("containerd", "ctr", "runc", "buildah", "ip", "iptables", "conntrack", "nsenter", "unshare", "openssl", "cc")
    return [name for name in wanted if shutil.which(name) is None and not Path(f"/usr/sbin/{name}").exists()]
