"""The chart as Helm renders it: real Helm, no cluster."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from testbed.binaries import binaries

ROOT = Path(__file__).resolve().parents[2]


class Refused(Exception):
    """Helm did not render the chart; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Chart:
    helm: Path
    directory: Path
    scratch: Path
    _rendered: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, values: Mapping[str, Any] | None = None) -> str:
        """Helm's output. Raises Refused with what it said otherwise."""
        written = self.scratch / "values.json"
        written.write_text(json.dumps(values or {}))
        command = [str(self.helm), *words, "--values", str(written)]
        # No configuration of whoever runs the tests has a say.
        environment = {"HOME": str(self.scratch), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
        if done.returncode != 0:
            raise Refused(done.stdout + done.stderr)
        return done.stdout

    def text(self, values: Mapping[str, Any] | None = None) -> str:
        key = json.dumps(values or {}, sort_keys=True)
        if key not in self._rendered:
            place = ("rl", str(self.directory), "--namespace", "platform")
            self._rendered[key] = self.run("template", *place, values=values)
        return self._rendered[key]

    def objects(self, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return [each for each in yaml.load_all(self.text(values), Loader=loader) if each]


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """As release `rl` in namespace `platform`. Each set of values is rendered once."""
    return Chart(helm=binaries("helm")["helm"], directory=ROOT / "charts" / "reasonrl", scratch=tmp_path_factory.mktemp("helm"))


@pytest.fixture
def refused() -> type[Refused]:
    return Refused
