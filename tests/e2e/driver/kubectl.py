"""kubectl as a person uses it, with its answers as dictionaries. Nothing of the operator's own client is in between."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Object = dict[str, Any]
T = TypeVar("T")


class KubectlRefused(Exception):
    """kubectl ended with an error; the text is what it said."""


class TooLate(AssertionError):
    """What was waited for did not come; the text says what, and what was seen last."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with one kubeconfig, in one namespace."""

    kubeconfig: str
    namespace: str
    program: str = "kubectl"

    def run(self, *words: str, given: str | None = None, seconds: float = 120.0) -> str:
        """Its output. Raises KubectlRefused."""
        command = [self.program, f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *words]
        done = subprocess.run(command, check=False, input=given, capture_output=True, text=True, timeout=seconds)
        if done.returncode != 0:
            raise KubectlRefused(f"kubectl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.run("apply", "--filename=-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.run("get", kind, name, "--output=json"))
        return found

    def find(self, kind: str, name: str) -> Object | None:
        """The object, or None when there is none."""
        text = self.run("get", kind, name, "--output=json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def all(self, kind: str, *, labels: str = "") -> list[Object]:
        words = ["get", kind, "--output=json", *([f"--selector={labels}"] if labels else [])]
        items: list[Object] = json.loads(self.run(*words))["items"]
        return items

    def delete(self, kind: str, name: str, *flags: str) -> None:
        self.run("delete", kind, name, "--ignore-not-found", *flags, seconds=400.0)

    def patch(self, kind: str, name: str, change: Mapping[str, Any], *flags: str) -> None:
        self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}", *flags)

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of each event of the object `name`, oldest first."""
        items = self.all("events")
        mine = [each for each in items if each["involvedObject"].get("name") == name]
        return [(each["reason"], each.get("message", "")) for each in sorted(mine, key=_moment)]


def _moment(event: Mapping[str, Any]) -> str:
    return str(event.get("eventTime") or event.get("lastTimestamp") or event["metadata"]["creationTimestamp"])


def wait_for(probe: Callable[[], T], *, seconds: float, what: str, shown: Callable[[], object] | None = None, every: float = 0.5) -> T:
    """Calls `probe` until it returns something true, which is returned. `shown` is asked what there was instead."""
    until = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > until:
            raise TooLate(f"{what}: not within {seconds:g} s; there was {shown() if shown else value!r}")
        time.sleep(every)
