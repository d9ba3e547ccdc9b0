"""What a run says of itself on a cluster: the answer of trainer-0's `/status` while it runs, and the termination message when it has ended.

The run writes both and the operator reads both, across releases and from pods that may be sick. So reading never raises: a body that
cannot be read gives the reason, and fields of a later release are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

Body = TypeVar("Body", bound="_Message")

LARGEST_BODY = 64 * 1024
"""Bytes of a `/status` answer; a larger one is not read."""
LARGEST_TERMINATION_MESSAGE = 4096
"""Bytes that Kubernetes keeps of a container's termination message."""

Stage = Literal["loading", "warmStart", "rollout", "grade", "update", "weightSync", "checkpoint", "evaluation"]
Text = Annotated[str, Field(max_length=1024)]
Name = Annotated[str, Field(max_length=253)]
Step = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Message(BaseModel):
    model_config = ConfigDict(
        extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False, protected_namespaces=()
    )

    def to_json(self) -> bytes:
        """The body as it is sent."""
        return self.model_dump_json(by_alias=True).encode()


class SavedCheckpoint(_Message):
    """One complete checkpoint."""

    step: Step = Field(description="Global step that it goes on from.")
    time: float = Field(description="When it was complete, Unix seconds.")
    healthy: bool = Field(description="Whether no health signal was critical when it was taken: what a rollback goes back to.")
    path: Text = Field(description="Directory of the checkpoint.")


class HealthSignal(_Message):
    """What a run makes of one of its health signals."""

    signal: Name = Field(description="CamelCase and stable, such as RewardCollapse.")
    state: Literal["ok", "warning", "critical"] = Field(description="How bad it is.")
    message: Text = Field(default="", description="One sentence with the numbers.")
    action: Literal["none", "pause", "rollback"] = Field(default="none", description="What the failure policy asks for, while critical.")


class RunStatus(_Message):
    """A running job, from the inside. Numbers are of the last complete step, and null before there is one."""

    step: Step = Field(description="Complete global steps.")
    phase: Name = Field(description="Name of the current phase.")
    phase_index: Annotated[int, Field(ge=0, le=1023)] = Field(description="Its place in spec.phases, from 0.")
    phase_step: Step = Field(default=0, description="Complete steps of the current phase.")
    waiting_to_enter: Name | None = Field(default=None, description="The phase with advance: Manual that is due and waits for a person.")
    stage: Stage = Field(description="What the run does at this moment.")
    stage_started: float = Field(description="Since when, Unix seconds; progress within the stage moves it.")
    stage_deadline_seconds: Annotated[float, Field(gt=0.0)] = Field(description="How long the stage may last, in seconds.")
    kl_coefficient: float | None = Field(default=None, description="KL coefficient.")
    reward: float | None = Field(default=None, description="Mean reward.")
    accuracy: float | None = Field(default=None, description="Share of right answers among training responses.")
    response_length_mean: float | None = Field(default=None, description="Mean response length, in tokens.")
    response_length_p95: float | None = Field(default=None, description="95th percentile of the response lengths, in tokens.")
    truncated_share: float | None = Field(default=None, description="Share of responses that were cut off.")
    on_policy: bool = Field(default=True, description="Whether every update learns from the current policy's own responses.")
    tokens_per_second: float | None = Field(default=None, description="Response tokens a second, over the whole step.")
    checkpoints: Annotated[tuple[SavedCheckpoint, ...], Field(max_length=256)] = Field(
        default=(), description="Complete checkpoints that are kept, oldest first."
    )
    health: Annotated[tuple[HealthSignal, ...], Field(max_length=32)] = Field(default=(), description="Health signals of the run.")
    config_hash: Name | None = Field(default=None, description="Hash of the configuration that the run last read.")


class RunResult(_Message):
    """How a container ended, from its termination message."""

    exit_code: Annotated[int, Field(ge=0, le=255)] = Field(description="One of api.exit_codes.")
    reason: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Z][A-Za-z0-9]*$")] = Field(
        description="CamelCase and stable, such as LossNotFinite."
    )
    message: Annotated[str, Field(max_length=3072)] = Field(default="", description="A sentence on what happened and what to do.")
    step: Step | None = Field(default=None, description="Complete global steps.")
    checkpoint_step: Step | None = Field(default=None, description="Step of the last complete checkpoint.")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a body says nothing, in one short sentence."""

    reason: str


def parse_run_status(body: bytes) -> RunStatus | Unreadable:
    """The answer of `/status`."""
    return _read(RunStatus, body, most=LARGEST_BODY)


def parse_run_result(message: str | bytes) -> RunResult | Unreadable:
    """A container's termination message. It is Unreadable when the container was killed, or died before it could write one."""
    body = message.encode(errors="replace") if isinstance(message, str) else message
    return _read(RunResult, body, most=LARGEST_TERMINATION_MESSAGE)


def _read(model: type[Body], body: bytes, *, most: int) -> Body | Unreadable:
    if not body.strip():
        return Unreadable("it is empty")
    if len(body) > most:
        return Unreadable(f"it has {len(body)} bytes, and at most {most} are read")
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return Unreadable(f"{where}: {first['msg']}" if where else first["msg"])
