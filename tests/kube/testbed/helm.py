"""Real Helm on a control plane of its own, and the chart that it installs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonrl.api import names
from testbed.binaries import binaries
from testbed.client import Client
from testbed.control_plane import ADMIN, ControlPlane
from testbed.control_plane import control_plane as run_control_plane
from testbed.deadline import wait_for

CHART = Path(__file__).resolve().parents[3] / "charts" / "reasonrl"
CRDS = tuple(f"{plural}.{names.GROUP}" for plural in (names.JOB_PLURAL, names.RUNTIME_PLURAL, names.CLUSTER_RUNTIME_PLURAL))
GUARDED = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement"
"""On in OpenShift: an owner reference that blocks deletion takes a right on the owner."""


class HelmRefused(Exception):
    """Helm ended with an error; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Helm:
    """Real Helm, as an administrator of one control plane."""

    program: Path
    kubeconfig: Path
    scratch: Path

    def run(self, *words: str, values: Mapping[str, Any] | None = None) -> str:
        """Its output. HelmRefused where it fails."""
        command = [str(self.program), *words]
        if values is not None:
            written = self.scratch / "values.json"
            written.write_text(json.dumps(values))
            command += ["--values", str(written)]
        environment = {"HOME": str(self.scratch), "PATH": "/usr/bin:/bin", "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
        if done.returncode != 0:
            raise HelmRefused(done.stderr)
        return done.stdout

    def install(self, release: str, *flags: str, namespace: str, chart: Path = CHART, values: Mapping[str, Any] | None = None) -> str:
        return self.run("install", release, str(chart), "--namespace", namespace, "--create-namespace", *flags, values=values or {})

    def upgrade(self, release: str, *, namespace: str, chart: Path = CHART, values: Mapping[str, Any] | None = None) -> str:
        return self.run("upgrade", release, str(chart), "--namespace", namespace, values=values or {})

    def uninstall(self, release: str, *, namespace: str) -> str:
        return self.run("uninstall", release, "--namespace", namespace)


@contextmanager
def with_helm(directory: Path) -> Iterator[tuple[ControlPlane, Helm]]:
    """A control plane of its own: what Helm does to the CRDs must not reach the jobs of other tests."""
    with run_control_plane(audit=True, extra_flags=[GUARDED]) as plane:
        yield plane, Helm(program=binaries("helm")["helm"], kubeconfig=plane.kubeconfig(ADMIN), scratch=directory)


def new_namespace(admin: Client, name: str, **labels: str) -> str:
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    # The controller that makes it need not run yet, and no pod can be created without it.
    admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}})
    return name


def wait_served(admin: Client) -> None:
    wait_for(lambda: all(admin.has(name) for name in CRDS), deadline=20, what="our kinds are served")
