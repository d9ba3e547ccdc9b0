"""Kubeconfig files: how a program, a person and the operator are told where the API server is and who they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_kubeconfig(path: Path, *, server: str, token: str, certificate_authority: Path | None = None, namespace: str = "default") -> Path:
    """Writes a kubeconfig with one context to `path` and returns it. JSON is YAML, so every client reads it."""
    cluster: dict[str, Any] = {"server": server}
    if certificate_authority is not None:
        cluster["certificate-authority"] = str(certificate_authority)
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "reasonrl", "cluster": cluster}],
        "users": [{"name": "reasonrl", "user": {"token": token}}],
        "contexts": [{"name": "reasonrl", "context": {"cluster": "reasonrl", "user": "reasonrl", "namespace": namespace}}],
        "current-context": "reasonrl",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
