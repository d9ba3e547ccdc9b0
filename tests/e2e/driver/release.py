"""The chart's release as the tests have it: installed once, into a namespace that admits restricted pods alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHART = Path(__file__).resolve().parents[3] / "charts" / "reasonrl"
RELEASE = "reasonrl"
NAMESPACE = "reasonrl-system"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


class HelmRefused(Exception):
    """Helm ended with an error; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Release:
    """`values` are those of every install and upgrade."""

    kubeconfig: str
    values: Mapping[str, Any]
    program: str = "helm"

    def helm(self, *words: str, given: str | None = None, seconds: float = 300.0) -> str:
        command = [self.program, f"--kubeconfig={self.kubeconfig}", f"--namespace={NAMESPACE}", *words]
        done = subprocess.run(command, check=False, input=given, capture_output=True, text=True, timeout=seconds)
        if done.returncode != 0:
            raise HelmRefused(f"helm {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def install(self, **values: Any) -> str:
        """Installs, or upgrades what is there; returns when the operator is ready."""
        given = json.dumps({**self.values, **values})
        return self.helm("upgrade", "--install", RELEASE, str(CHART), "--values=-", "--wait", "--timeout=240s", given=given)

    def uninstall(self) -> str:
        return self.helm("uninstall", RELEASE, "--wait", "--ignore-not-found")
