"""What the job's pods may not do: the `restricted` profile of the pod security standards, and a root file system that nobody writes to."""

from __future__ import annotations

from typing import Any

RUN_AS = 65532
"""User and group of the pods, unprivileged in every image; group of the files on their volumes."""


def pod_security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": RUN_AS,
        "runAsGroup": RUN_AS,
        "fsGroup": RUN_AS,
        # Volumes with a million checkpoint files would be walked at each start otherwise.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
