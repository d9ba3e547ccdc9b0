"""Up and down of the whole cluster. Both can be said at any time: up starts what does not run, down ends what does and forgets it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from local_cluster import dns
from local_cluster.certificates import make_certificates
from local_cluster.control_plane import control_machine, start_control_plane
from local_cluster.images import fill_seed
from local_cluster.layout import BRIDGE, CONTROL_ADDRESS, HOST_ADDRESS, Layout, Node
from local_cluster.machine import Machine, make_switch, missing_programs, remove_mount_points, remove_switch, start_machine, stop_machine
from local_cluster.node import cgroups_of, node_machine, remove_cgroups, start_node
from local_cluster.processes import ClusterError, tell
from local_cluster.programs import kubernetes_programs

_KERNEL = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
"""Settings of the one kernel that a kubelet changes, and that down puts back."""


def say(text: str) -> None:
    print(f"local-cluster: {text}", file=sys.stderr, flush=True)


def up(layout: Layout, *, nodes: int, images: list[str]) -> None:
    """A cluster of `nodes` nodes that have `images`, Ready and with DNS. Raises ClusterError."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ClusterError("the local cluster needs Linux and root; any other cluster serves as well: set KUBECONFIG")
    if missing := missing_programs():
        raise ClusterError(f"missing: {', '.join(missing)}; docs/cluster/local.md says what to install")
    with _locked(layout):
        all_nodes = [Node(number) for number in range(1, nodes + 1)]
        running = [node for node in map(Node, range(1, 10)) if node_machine(layout, node).init()]
        if running and len(running) != nodes:
            raise ClusterError(f"a cluster of {len(running)} nodes is up; take it down first: scripts/local-cluster down")
        programs = kubernetes_programs()
        if not running:
            fill_seed(layout, images)
            _forget(layout)
        started = time.monotonic()
        layout.state.mkdir(parents=True, exist_ok=True)
        _note_kernel(layout)
        make_certificates(layout, all_nodes)
        make_switch()
        _start_control(layout, all_nodes)
        say(f"API server ready after {time.monotonic() - started:.1f} s")
        for node in all_nodes:
            start_node(layout, node, all_nodes)
        kubectl = [str(programs / "kubectl"), f"--kubeconfig={layout.kubeconfig}"]
        tell([*kubectl, "apply", "--filename=-"], given=dns.manifests())
        tell([*kubectl, "wait", "--for=create", *(f"node/{node.name}" for node in all_nodes), "--timeout=90s"])
        tell([*kubectl, "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=90s"])
        tell([*kubectl, "rollout", "status", "--namespace=kube-system", "deployment/coredns", "--timeout=90s"])
        say(f"{nodes} nodes and DNS ready after {time.monotonic() - started:.1f} s")


def _start_control(layout: Layout, nodes: Sequence[Node]) -> None:
    control = control_machine(layout)
    fresh = control.init() is None
    start_machine(control, address=CONTROL_ADDRESS)
    if fresh:
        for node in nodes:
            # The host finds pods as well: a test can read their metrics.
            control.tell(["ip", "route", "add", node.pods, "via", node.address])
            tell(["ip", "route", "replace", node.pods, "via", node.address, "src", HOST_ADDRESS])
    start_control_plane(control)


def down(layout: Layout) -> None:
    """Ends the cluster and forgets it; programs and images stay in the cache. Raises ClusterError when anything else is left."""
    started = time.monotonic()
    with _locked(layout):
        _forget(layout)
        if left := leftovers(layout):
            raise ClusterError("left after the end: " + "; ".join(left))
    say(f"down after {time.monotonic() - started:.1f} s")


def _forget(layout: Layout) -> None:
    for node in map(Node, range(1, 10)):
        if node_machine(layout, node).directory.exists():
            stop_machine(node_machine(layout, node))
            remove_cgroups(node)
    if control_machine(layout).directory.exists():
        stop_machine(control_machine(layout))
    remove_switch()
    remove_mount_points(layout)
    _restore_kernel(layout)
    if layout.state.exists():
        shutil.rmtree(layout.state)


def leftovers(layout: Layout) -> list[str]:
    """What of a cluster is still on the host: processes, mounts, links, routes, control groups, files."""
    state = str(layout.state)
    left = [f"mount {line.split()[1]}" for line in Path("/proc/mounts").read_text().splitlines() if state in line]
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if any(word.decode(errors="replace").startswith(state) or f"={state}".encode() in word for word in words):
                    left.append(f"process {entry.name} {words[0].decode(errors='replace')}")
    left += [f"link {each.name}" for each in Path("/sys/class/net").iterdir() if each.name == BRIDGE or each.name.startswith("rrl-")]
    left += [f"route {line}" for line in tell(["ip", "route"]).splitlines() if line.startswith("10.98.")]
    left += [f"control group {own}" for number in range(1, 10) for own in cgroups_of(Node(number))]
    return [*left, *([f"directory {state}"] if layout.state.exists() else [])]


def status(layout: Layout) -> list[str]:
    """What runs, a line a machine."""
    machines = [control_machine(layout), *(node_machine(layout, Node(number)) for number in range(1, 10))]
    return [_line(machine) for machine in machines if machine.directory.exists()]


def _line(machine: Machine) -> str:
    if machine.init() is None:
        return f"{machine.name}: ended"
    daemons = sorted(path.stem for path in machine.directory.glob("*.pid") if path.stem != "init")
    return f"{machine.name}: " + ", ".join(name if machine.daemon(name) else f"{name} (ended)" for name in daemons)


def _note_kernel(layout: Layout) -> None:
    noted = layout.state / "kernel"
    if not noted.exists():
        noted.write_text("".join(f"{name} {Path('/proc/sys', name).read_text().strip()}\n" for name in _KERNEL))


def _restore_kernel(layout: Layout) -> None:
    noted = layout.state / "kernel"
    for line in noted.read_text().splitlines() if noted.exists() else ():
        name, value = line.split()
        if Path("/proc/sys", name).read_text().strip() != value:
            Path("/proc/sys", name).write_text(value)


@contextlib.contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    """One up or down at a time."""
    layout.home.mkdir(parents=True, exist_ok=True)
    with (layout.home / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
