"""A control plane with the operator for a contributor's laptop: what `make dev-cluster` starts, until Ctrl-C.

The same parts as in the tests, plus Node objects and pods that seem to run if asked for, so that `kubectl apply` shows something within
a minute.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from testbed.binaries import BinariesMissing, binaries
from testbed.child_process import ChildProcess, ProcessEnded, start_child, stop_all
from testbed.control_plane import ADMIN, FAKE_KUBELET, ControlPlane, NotReady, control_plane
from testbed.crds import SOURCE, install_crds
from testbed.deadline import wait_for

ROOT = Path(__file__).resolve().parents[3]
KUBECONFIG = ROOT / "build" / "dev-cluster" / "kubeconfig"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/dev-cluster", description="a Kubernetes API server and the operator on this machine, until Ctrl-C"
    )
    parser.add_argument("--fake-kubelet", action="store_true", help="nodes that play pods: they run, and trainer-0 reports steps")
    parser.add_argument("--seconds-per-step", type=float, default=5.0, help="how fast the played runs advance (default 5)")
    parser.add_argument("--operator", action=argparse.BooleanOptionalAction, default=True, help="start `reasonrl operator`")
    shown = KUBECONFIG.relative_to(ROOT)
    parser.add_argument("--kubeconfig", type=Path, default=KUBECONFIG, help=f"where to write it (default {shown})")
    arguments = parser.parse_args()
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    try:
        programs = binaries("etcd", "kube-apiserver", "kubectl", "kube-controller-manager")
        with control_plane() as plane:
            run(plane, arguments, done, kubectl=programs["kubectl"])
    except (BinariesMissing, NotReady, ProcessEnded) as error:
        say(str(error))
        return 1
    return 0


def run(plane: ControlPlane, arguments: argparse.Namespace, done: threading.Event, *, kubectl: Path) -> None:
    """Starts what was asked for, says how to use it, and watches over it until `done`."""
    crds = install_crds(plane.client())
    plane.start_controller_manager()
    arguments.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(plane.kubeconfig(ADMIN), arguments.kubeconfig)
    children: list[ChildProcess] = []
    try:
        if arguments.fake_kubelet:
            children.append(_fake_kubelet(plane, arguments.seconds_per_step))
        if arguments.operator and (command := _operator_command()):
            environment = {**os.environ, "KUBECONFIG": str(arguments.kubeconfig)}
            log = plane.directory / "operator.log"
            children.append(start_child("operator", command, log=log, environment=environment, death_signal=signal.SIGTERM))
        _explain(plane, arguments.kubeconfig, kubectl=kubectl, crds=crds, children=children)
        while not done.wait(0.5):
            plane.check()
            for child in children:
                child.check()
        say("stopping")
    finally:
        stop_all(children)
        arguments.kubeconfig.unlink(missing_ok=True)


def say(text: str) -> None:
    print(f"dev-cluster: {text}", file=sys.stderr, flush=True)


def _operator_command() -> list[str]:
    """The installed `reasonrl operator`, or nothing where this version of the package has none."""
    program = str(Path(sys.executable).parent / "reasonrl")
    probe = subprocess.run([program, "operator", "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False)
    if probe.returncode != 0:
        say("`reasonrl operator` does not start (is the extra `operator` installed?): going on without it")
        return []
    return [program, "operator"]


def _fake_kubelet(plane: ControlPlane, seconds_per_step: float) -> ChildProcess:
    command = [
        *(sys.executable, "-m", "testbed.play_pods", "--register-nodes"),
        *("--kubeconfig", str(plane.kubeconfig(FAKE_KUBELET))),
        *("--script", f'*-trainer-0={{"status": {{"secondsPerStep": {seconds_per_step}}}}}'),
    ]
    child = start_child("fake-kubelet", command, log=plane.directory / "fake-kubelet.log")

    def playing() -> bool:
        child.check()
        return "playing" in child.log.read_text()

    wait_for(playing, deadline=30, what="the fake kubelet playing")
    return child


def _explain(plane: ControlPlane, kubeconfig: Path, *, kubectl: Path, crds: Sequence[str], children: Sequence[ChildProcess]) -> None:
    running = ", ".join(["etcd", "kube-apiserver", "kube-controller-manager", *(child.name for child in children)])
    print(
        f"""
Kubernetes is ready at {plane.url} after {plane.start_seconds:.1f} s: {running}.
CRDs: {", ".join(crds) or f"none in {SOURCE}"}.
Logs: {plane.directory}/*.log

In another terminal:

    export KUBECONFIG={kubeconfig}
    export PATH={kubectl.parent}:$PATH
    kubectl apply -f examples/quickstart.yaml
    kubectl get rrlj -w

Ctrl-C here ends it all and forgets what was in it.""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
