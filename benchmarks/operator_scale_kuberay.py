"""The KubeRay operator as a contender of the scale benchmark: RayClusters of as many pods as our jobs have, on the same rig.

It is built from its Go module into the cache beside the Kubernetes programs; nothing of it is part of this repository. It runs as its
makers ship it, but tuned for load: its defaults (one reconcile at a time, 100 calls a second) are those of a small cluster.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operator_scale_check import Fleet
from operator_scale_measure import Key
from operator_scale_rig import Contender, Operator

MODULE = "github.com/ray-project/kuberay/ray-operator"
VERSION = "v1.6.1"
RAY = "2.52.0"
BUILD_SECONDS = 2400.0
CALLS_A_SECOND = 2000
KINDS = ("rayclusters", "rayjobs", "rayservices")
"""Its controllers watch all three."""


class CannotBuild(Exception):
    """Why there is no KubeRay operator; the text says what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeRay:
    program: Path
    crds: tuple[Path, ...]


def built() -> KubeRay:
    """The operator, built if need be (minutes, the first time), and its CRDs. Raises CannotBuild."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reasonrl" / "kube" / "bench" / f"kuberay-{VERSION}"
    home.mkdir(parents=True, exist_ok=True)
    program = home / "ray-operator"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        go = shutil.which("go") or "/usr/local/go/bin/go"
        if not os.access(go, os.X_OK):
            raise CannotBuild("there is no Go toolchain; install Go 1.25 or newer, or leave --against out")
        (home / "go.mod").write_text(
            f"module reasonrl.dev/benchmarks/kuberay\n\ngo 1.25.0\n\nrequire {MODULE} {VERSION}\n\ntool {MODULE}\n"
        )
        if not program.exists():
            aside = home / f".ray-operator-{os.getpid()}"
            _go(go, home, "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", str(aside), MODULE)
            os.replace(aside, program)
        source = Path(_go(go, home, "list", "-mod=mod", "-m", "-f", "{{.Dir}}", MODULE).strip())
    crds = tuple(source / "config" / "crd" / "bases" / f"ray.io_{kind}.yaml" for kind in KINDS)
    missing = [str(path) for path in crds if not path.exists()]
    if missing:
        raise CannotBuild(f"{MODULE} {VERSION} has no {', '.join(missing)}")
    return KubeRay(program=program, crds=crds)


def kuberay(fleet: Fleet, *, reconciles: int) -> Contender:
    """A RayCluster for each job: the head stands for trainer-0, workers for all other pods. `reconciles` go on at the same time."""
    found = built()
    workers = fleet.trainers + fleet.rollouts - 1

    def ready(status: dict[str, Any]) -> bool:
        return status.get("state") == "ready" and status.get("readyWorkerReplicas") == workers

    return Contender(
        name=f"KubeRay {VERSION}",
        resource="rayclusters",
        crds=found.crds,
        start=lambda kubeconfig, directory: _operator(found.program, kubeconfig, directory, reconciles),
        manifest=lambda job: raycluster(job, workers=workers),
        word="state",
        running="ready",
        ready=ready,
    )


def raycluster(job: Key, *, workers: int) -> dict[str, Any]:
    """As its makers' sample has it, with the resources of our pods."""
    namespace, name = job
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "rayVersion": RAY,
            "headGroupSpec": {"rayStartParams": {}, "template": _template("ray-head", gpus=8)},
            "workerGroupSpecs": [
                {
                    "groupName": "workers",
                    "replicas": workers,
                    "minReplicas": workers,
                    "maxReplicas": workers,
                    "rayStartParams": {},
                    "template": _template("ray-worker", gpus=1),
                }
            ],
        },
    }


def _template(container: str, *, gpus: int) -> dict[str, Any]:
    resources = {"cpu": "1", "memory": "64Gi", "nvidia.com/gpu": str(gpus)}
    return {
        "spec": {
            "containers": [{"name": container, "image": f"rayproject/ray:{RAY}", "resources": {"limits": resources, "requests": resources}}]
        }
    }


def _operator(program: Path, kubeconfig: Path, directory: Path, reconciles: int) -> Operator:
    options = {
        "kubeconfig": str(kubeconfig),
        "reconcile-concurrency": str(reconciles),
        "qps": str(CALLS_A_SECOND),
        "burst": str(2 * CALLS_A_SECOND),
        "leader-election-namespace": "default",
        "metrics-addr": "0",
        "health-probe-bind-address": "0",
    }
    return Operator(
        command=[str(program), *(f"--{name}={value}" for name, value in options.items())],
        environment=dict(os.environ),
        directory=directory,
        leads='"worker count"',
    )


def _go(go: str, home: Path, *words: str) -> str:
    began = time.monotonic()
    try:
        done = subprocess.run(
            [go, *words],
            cwd=home,
            env={**os.environ, "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotBuild(f"go {words[0]} did not end within {BUILD_SECONDS:.0f} s; what was compiled is kept, so run this again") from None
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-15:])
        raise CannotBuild(f"go {words[0]} ended with {done.returncode} after {time.monotonic() - began:.0f} s:\n{tail}")
    return done.stdout
