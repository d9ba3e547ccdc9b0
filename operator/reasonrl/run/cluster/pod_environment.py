"""Who a pod is and where the others are, as the operator (or the supervisor on one machine) tells it in its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api import names
from reasonrl.api.names import ROLES, Role
from reasonrl.run.errors import RunInputError

RAY_PORT = 6379
TERMINATION_MESSAGE = "/dev/termination-log"
SCRATCH = "/tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEnvironment:
    """`head` is the host name of trainer-0 and `host` the pod's own; `address` is the pod's IP, None where nobody says it. `attempt` counts
    the starts of the role, from 0. `output` is the run directory, and relative paths of the job are below `base_directory`; `control` the
    operator's requests. `pods_here` is how many pods share this machine's /dev/shm: on a cluster each has its own."""

    job: str
    namespace: str
    role: Role
    index: int
    attempt: int
    trainers: int
    gpus: int
    head: str
    host: str
    address: str | None
    status_port: int
    ray_port: int
    output: Path
    base_directory: Path
    control: Path | None
    termination_message: Path
    scratch: Path
    pods_here: int

    @property
    def is_head(self) -> bool:
        return self.role == "trainer" and self.index == 0

    @property
    def name(self) -> str:
        """The pod's name."""
        return names.pod_name(self.job, self.role, self.index)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> PodEnvironment:
        """Raises RunInputError, which names the variable."""
        role = _text(environ, "REASONRL_ROLE")
        if role not in ROLES:
            raise RunInputError(f"REASONRL_ROLE = {role!r}: it is {' or '.join(ROLES)}")
        head = _text(environ, "REASONRL_HEAD")
        control = environ.get("REASONRL_CONTROL")
        return cls(
            job=_text(environ, "REASONRL_JOB"),
            namespace=environ.get("REASONRL_NAMESPACE", "default"),
            role=role,
            index=_count(environ, "REASONRL_INDEX"),
            attempt=_count(environ, "REASONRL_ATTEMPT", 0),
            trainers=_count(environ, "REASONRL_TRAINERS"),
            gpus=_count(environ, "REASONRL_GPUS", 0),
            head=head,
            host=environ.get("REASONRL_HOST", head),
            address=environ.get("REASONRL_ADDRESS") or None,
            status_port=_count(environ, "REASONRL_STATUS_PORT", names.STATUS_PORT),
            ray_port=_count(environ, "REASONRL_RAY_PORT", RAY_PORT),
            output=Path(environ.get("REASONRL_OUTPUT") or environ.get("REASONRL_CHECKPOINTS") or names.CHECKPOINT_DIRECTORY),
            base_directory=Path(environ.get("REASONRL_BASE_DIRECTORY") or "/"),
            control=Path(control) if control else None,
            termination_message=termination_path(environ),
            scratch=Path(environ.get("REASONRL_SCRATCH") or SCRATCH),
            pods_here=max(1, _count(environ, "REASONRL_PODS_HERE", 1)),
        )


def termination_path(environ: Mapping[str, str]) -> Path:
    """Where the pod's last word goes, which it has also when the rest of its environment is wrong."""
    return Path(environ.get("REASONRL_TERMINATION_MESSAGE") or TERMINATION_MESSAGE)


def _text(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        raise RunInputError(f"{name} is not set: the operator sets it in a pod; on one machine, use reasonrl run --cluster")
    return value


def _count(environ: Mapping[str, str], name: str, otherwise: int | None = None) -> int:
    value = environ.get(name)
    if not value and otherwise is not None:
        return otherwise
    value = _text(environ, name)
    if not value.isdecimal():
        raise RunInputError(f"{name} = {value!r}: it is a number from 0")
    return int(value)
