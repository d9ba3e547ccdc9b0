"""What the containers of each role run."""

from __future__ import annotations

from reasonrl.api import names
from reasonrl.api.names import Role

_CONFIG = f"{names.CONFIG_DIRECTORY}/{names.CONFIG_JOB_FILE}"


def pod_command(role: Role) -> list[str]:
    """Which of its role a pod is, it reads from its environment."""
    if role == "trainer":
        return ["reasonrl", "trainer", "--config", _CONFIG]
    return ["reasonrl", "rollout", "--config", _CONFIG]
