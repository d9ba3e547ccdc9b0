"""When a run is saved, and which checkpoints stay."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reasonrl.api.contract_model import Bytes, ContractModel, Count, NonNegativeCount, ObjectName, ShortText


class VolumeSpec(ContractModel):
    """Where a cluster keeps checkpoints."""

    claim_name: ObjectName = Field(
        description="PersistentVolumeClaim in the job's namespace. With several trainer pods, all of them mount it: ReadWriteMany."
    )


class KeepBestSpec(ContractModel):
    """Checkpoints that stay because they scored best."""

    metric: ShortText = Field(description="Name of a benchmark, whose accuracy counts, or reward for the mean training reward.")
    count: Annotated[Count, Field(le=1000)] = Field(default=1, description="How many stay.")


class CheckpointSpec(ContractModel):
    """A checkpoint is also taken at each phase boundary, on SIGTERM, and at the end."""

    volume: VolumeSpec | None = Field(
        default=None,
        description="Where a cluster keeps them. Null is in the pod of trainer-0, and lost with it. On one machine they are in the run "
        "directory.",
    )
    every_steps: NonNegativeCount = Field(
        default=20, description="Every so many steps (20 in the report's scripts). 0 is only at the other occasions."
    )
    keep_last: Annotated[Count, Field(le=10_000)] = Field(default=3, description="The newest that stay.")
    keep_best: KeepBestSpec | None = Field(default=None, description="The best that stay as well.")
    max_bytes: Bytes | None = Field(
        default=None,
        description="Room for all of them, as a quantity such as 50Gi; the oldest and worst go first, the newest never. Null is no limit.",
    )
