"""What the scale benchmark runs on: one real API server, fake nodes, and `reasonrl operator`, each a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from testbed.child_process import ChildProcess, start_child
from testbed.client import ApiError, Client
from testbed.control_plane import FAKE_KUBELET, ControlPlane, control_plane
from testbed.crds import SOURCE
from testbed.deadline import wait_for

from operator_scale_check import Fleet
from operator_scale_measure import OPERATOR, Usage, WrongEnd, usage_of
from reasonrl.api import names

MAIN = "from reasonrl.cli.app import main; main()"
HERE = Path(__file__).resolve().parent


@dataclass(slots=True)
class Operator:
    """`reasonrl operator` with what the chart sets. The CPU of processes that were killed counts on."""

    kubeconfig: Path
    directory: Path
    options: Sequence[str] = ()
    starts: int = 0
    child: ChildProcess | None = None
    _spent: float = 0.0
    _peak: float = 0.0
    _last: Usage = field(default=Usage(0.0, 0.0, 0.0))

    def start(self) -> None:
        self.starts += 1
        words = [sys.executable, "-c", MAIN, "operator", "--kubeconfig", str(self.kubeconfig)]
        serving = ["--metrics-host", "127.0.0.1", "--metrics-port", "0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        log = self.directory / f"operator-{self.starts}.log"
        self.child = start_child("operator", [*words, *serving, *self.options], log=log, environment=environment)

    def wait_leading(self, deadline: float = 60.0) -> None:
        wait_for(lambda: "leading as" in self.log(), deadline=deadline, what="the operator leads", every=0.05)

    def log(self) -> str:
        assert self.child is not None
        self.child.check()
        return self.child.log.read_text()

    def usage(self) -> Usage:
        """Of all starts together; the peak is the highest of any."""
        assert self.child is not None
        self.child.check()
        self._last = usage_of(self.child.pid)
        return Usage(cpu=self._spent + self._last.cpu, resident=self._last.resident, peak=max(self._peak, self._last.peak))

    def looks(self) -> float:
        """How many looks at jobs this start has finished, by its own metrics."""
        port = re.findall(r"health and metrics on port (\d+)", self.log())[-1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            page = str(answer.read().decode())
        return sum(float(count) for count in re.findall(r"^reasonrl_operator_reconcile_seconds_count\S* (\S+)$", page, re.MULTILINE))

    def kill(self) -> None:
        """SIGKILL: no word to anybody, the lease stays taken."""
        assert self.child is not None
        before = self.usage()
        self.child.process.send_signal(signal.SIGKILL)
        self.child.process.wait(10)
        self._spent, self._peak = before.cpu, before.peak

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()


class Kubelet:
    """The fake nodes' process, told over its stdin; it ends with this process."""

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        command = [sys.executable, str(HERE / "operator_scale_kubelet.py"), "--kubeconfig", str(kubeconfig)]
        self._log = directory / "kubelet.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self._answer()

    def end_pods(self, pods: Sequence[tuple[str, str]], *, exit_code: int, message: str = "") -> list[str]:
        """The UIDs of the pods whose containers have ended."""
        ended: list[str] = self._ask({"end": list(pods), "exitCode": exit_code, "message": message})["ended"]
        return ended

    def made(self) -> dict[tuple[str, str], int]:
        """How many pods of each name there have ever been."""
        return {(namespace, name): count for namespace, name, count in self._ask({"made": True})["made"]}

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> dict[str, Any]:
        """What it cost."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        report = self._answer()
        self._process.wait(30)
        if report["errors"]:
            raise WrongEnd(f"the fake kubelet failed: {report['errors'][:3]}")
        return report

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WrongEnd(f"the fake kubelet ended: {self._log.read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    plane: ControlPlane
    api: Client
    kubelet: Kubelet
    operator: Operator

    def cpu_of_all(self) -> dict[str, float]:
        """CPU seconds of each process so far: on a small machine they share what there is."""
        pids = {
            "kube-apiserver": self.plane.apiserver.pid,
            "etcd": self.plane.etcd.pid,
            "nodes": self.kubelet.pid,
            "benchmark": os.getpid(),
        }
        return {"operator": self.operator.usage().cpu, **{name: usage_of(pid).cpu for name, pid in pids.items()}}


@contextmanager
def rig(fleet: Fleet, *, operator_options: Sequence[str], keep: bool) -> Iterator[Rig]:
    """All of it, for one scenario: nothing of the one before is left in etcd or in a cache."""
    with control_plane(audit=True, keep=keep) as plane:
        api = plane.client()
        _install_kinds(api)
        _allow_operator(api)
        for namespace in fleet.namespaces:
            api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}, namespace=namespace)
        kubelet = Kubelet(plane.kubeconfig(FAKE_KUBELET), plane.directory)
        operator = Operator(plane.kubeconfig(OPERATOR), plane.directory, operator_options)
        try:
            yield Rig(plane=plane, api=api, kubelet=kubelet, operator=operator)
        finally:
            operator.stop()
            kubelet.kill()


def _install_kinds(api: Client) -> None:
    """Our kinds, and until they can be listed: just after a CRD is established its storage is not ready yet."""
    manifests = [yaml.safe_load(path.read_text()) for path in sorted(SOURCE.glob("*.yaml"))]
    names_of_crds = [api.apply(manifest)["metadata"]["name"] for manifest in manifests]

    def served() -> bool:
        try:
            return all(api.has(name) and api.list(name) is not None for name in names_of_crds)
        except ApiError as error:
            if error.status in (404, 429):
                return False
            raise

    wait_for(served, deadline=30.0, what="our kinds served", every=0.1)


def _allow_operator(api: Client) -> None:
    """The operator is a user of its own, so that the audit log tells its calls from all others; its rights don't matter here."""
    api.create(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "scale-operator"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR}],
        }
    )


def job_manifest(job: tuple[str, str], *, trainers: int, rollouts: int) -> dict[str, Any]:
    """A job as a team would write it. Restarts don't wait, so that what is measured is the operator and not its patience."""
    namespace, name = job
    budget = {"maxRestarts": 10, "backoffSeconds": 0, "maxBackoffSeconds": 0}
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": "ReasoningRLJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"path": "hf://example/model"},
            "data": {"train": [{"path": "/data/train.jsonl"}]},
            "algorithm": {"promptsPerStep": 64, "rolloutsPerPrompt": 8},
            "rewards": [{"type": "answer"}],
            "phases": [{"name": "main", "maxResponseTokens": 4096, "until": {"steps": 1000}}],
            "rollout": {"placement": "Disaggregated", "replicas": rollouts, "minReplicas": 1, "gpusPerReplica": 1, "engine": "vllm"},
            "trainer": {"replicas": trainers, "gpusPerReplica": 8, "engine": "deepspeed"},
            "checkpoint": {"volume": {"claimName": "checkpoints"}},
            "pods": {role: {"resources": {"limits": {"memory": "64Gi"}}} for role in names.ROLES},
            "failurePolicy": {"trainer": budget, "rollout": budget},
        },
    }
