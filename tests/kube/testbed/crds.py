"""Installs the project's CustomResourceDefinitions, as generated, and waits until the API server serves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from testbed.client import Client
from testbed.deadline import wait_for

SOURCE = Path(__file__).resolve().parents[3] / "charts" / "reasonrl" / "crds-source"


def install_crds(api: Client, source: Path = SOURCE, *, deadline: float = 20.0) -> list[str]:
    """Applies every CRD in `source` and returns their names once each is Established and can be listed."""
    manifests: list[dict[str, Any]] = [
        manifest for path in sorted(source.glob("*.yaml")) for manifest in yaml.safe_load_all(path.read_text()) if manifest
    ]
    names = [api.apply(manifest)["metadata"]["name"] for manifest in manifests if manifest["kind"] == "CustomResourceDefinition"]

    def unserved() -> list[str]:
        return [name for name in names if not _established(api, name) or not api.has(name)]

    wait_for(lambda: not unserved(), deadline=deadline, what=f"the CRDs of {source} served")
    return names


def _established(api: Client, name: str) -> bool:
    found = api.get("customresourcedefinitions", name)
    # A CRD that was made just now has none, and says so with a null.
    listed = (found.get("status") or {}).get("conditions") or ()
    conditions = {one["type"]: one["status"] for one in listed}
    if conditions.get("NamesAccepted") == "False":
        raise AssertionError(f"the API server does not take the names of CRD {name}: {found['status']['conditions']}")
    return conditions.get("Established") == "True"
