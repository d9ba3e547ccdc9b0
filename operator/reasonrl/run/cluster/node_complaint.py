"""A word from the run to a pod that holds its engine: engines do not last here, so this pod should be made anew, perhaps elsewhere.

A rollout pod only lends its node and sees nothing of the engine on it. Where engines die again and again, its GPU or its machine may be
the reason, which another pod on another node would not have. So the run leaves a file on that node, and the pod that finds it ends.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reasonrl.run.cluster.ray_node_process import COMPLAINT_FILE, DIRECTORY_VARIABLE

_LEAVE_SECONDS = 60.0


def leave_complaint(node_id: str, reason: str) -> None:
    """Leaves `reason` with the pod of that node, in a minute at most. Raises RayError when the node takes nothing any more."""
    options: dict[str, Any] = {
        "num_cpus": 0,
        "max_retries": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False),
    }
    task: Any = ray.remote(**options)(write_complaint)
    ray.get(task.remote(reason), timeout=_LEAVE_SECONDS)


def write_complaint(reason: str) -> None:
    """Runs on the node. One that no pod of ours holds has nobody who would read it."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory is not None:
        part = Path(directory, f"{COMPLAINT_FILE}.part")
        part.write_text(reason)
        part.rename(Path(directory, COMPLAINT_FILE))
