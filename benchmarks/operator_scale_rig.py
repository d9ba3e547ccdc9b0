"""What the scale benchmark runs on: one real API server, fake nodes, and an operator (ours or another), each a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from operator_scale_measure import OPERATOR, Check, Key, Usage, WrongEnd, usage_of
from reasonrl.api import names

MAIN = "from reasonrl.cli.app import main; main()"
HERE = Path(__file__).resolve().parent


@dataclass(slots=True, kw_only=True)
class Operator:
    """An operator's process. The CPU of processes that were killed counts on.

    `leads` is what it writes into its log when it begins to work."""

    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    leads: str
    starts: int = 0
    child: ChildProcess | None = None
    _spent: float = 0.0
    _peak: float = 0.0
    _last: Usage = field(default=Usage(0.0, 0.0, 0.0))

    def start(self) -> None:
        self.starts += 1
        log = self.directory / f"operator-{self.starts}.log"
        self.child = start_child("operator", list(self.command), log=log, environment=dict(self.environment))

    def wait_leading(self, deadline: float = 60.0) -> None:
        wait_for(lambda: self.leads in self.log(), deadline=deadline, what="the operator leads", every=0.05)

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


def our_operator(kubeconfig: Path, directory: Path, options: Sequence[str]) -> Operator:
    """`reasonrl operator` with what the chart sets."""
    words = [sys.executable, "-c", MAIN, "operator", "--kubeconfig", str(kubeconfig)]
    serving = ["--metrics-host", "127.0.0.1", "--metrics-port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return Operator(command=[*words, *serving, *options], environment=environment, directory=directory, leads="leading as")


def looks(operator: Operator) -> float:
    """How many looks at jobs this start of ours has finished, by its own metrics."""
    port = re.findall(r"health and metrics on port (\d+)", operator.log())[-1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page = str(answer.read().decode())
    return sum(float(count) for count in re.findall(r"^reasonrl_operator_reconcile_seconds_count\S* (\S+)$", page, re.MULTILINE))


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
class Contender:
    """An operator that is measured: how it is started, which kinds it brings, what a job of it looks like and when it is up.

    `word` is the field of a job's status that says in one word how it goes, `running` that word when the job has all that it asked for;
    `ready` tells more exactly."""

    name: str
    resource: str
    crds: Sequence[Path]
    start: Callable[[Path, Path], Operator]
    """Of a kubeconfig and a directory for logs."""
    manifest: Callable[[Key], dict[str, Any]]
    word: str
    running: str
    ready: Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    contender: Contender
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


def ours(fleet: Fleet, options: Sequence[str]) -> Contender:
    def ready(status: dict[str, Any]) -> bool:
        return (
            status.get("summary") == "Running"
            and status["trainers"]["ready"] == fleet.trainers
            and status["rollouts"]["ready"] == fleet.rollouts
        )

    return Contender(
        name="ReasonRL",
        resource=names.JOB_PLURAL,
        crds=sorted(SOURCE.glob("*.yaml")),
        start=lambda kubeconfig, directory: our_operator(kubeconfig, directory, options),
        manifest=lambda job: job_manifest(job, trainers=fleet.trainers, rollouts=fleet.rollouts),
        word="summary",
        running="Running",
        ready=ready,
    )


@contextmanager
def rig(fleet: Fleet, contender: Contender, *, keep: bool) -> Iterator[Rig]:
    """All of it, for one scenario: nothing of the one before is left in etcd or in a cache."""
    with control_plane(audit=True, keep=keep) as plane:
        api = plane.client()
        _install_kinds(api, contender.crds)
        _allow_operator(api)
        for namespace in fleet.namespaces:
            api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}, namespace=namespace)
        kubelet = Kubelet(plane.kubeconfig(FAKE_KUBELET), plane.directory)
        operator = contender.start(plane.kubeconfig(OPERATOR), plane.directory)
        try:
            yield Rig(contender=contender, plane=plane, api=api, kubelet=kubelet, operator=operator)
        finally:
            operator.stop()
            kubelet.kill()


def _install_kinds(api: Client, crds: Sequence[Path]) -> None:
    """The kinds, and until they can be listed: just after a CRD is established its storage is not ready yet."""
    # In C where it is there: such files have tens of thousands of lines.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    names_of_crds = [api.apply(yaml.load(path.read_text(), Loader=loader))["metadata"]["name"] for path in crds]

    def served() -> bool:
        try:
            return all(api.has(name) and api.list(name) is not None for name in names_of_crds)
        except ApiError as error:
            if error.status in (404, 429):
                return False
            raise

    wait_for(served, deadline=30.0, what="the kinds served", every=0.1)


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
