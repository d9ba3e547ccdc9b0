"""What the end of a run means: for each error that it is known to raise, the exit code, a stable reason, and a message.

The command line, the termination message of a pod and the supervisor on one machine all read it here, so they cannot differ. An error that
is not in the table is a fault of ours, and nobody knows whether it would come again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.names import Role
from reasonrl.data.errors import DataError
from reasonrl.rl.packed_weights import PackedWeightsError
from reasonrl.rollout.engine_session import EngineLostError, EnginesLostError, WeightsGoneError
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import WeightLoadError
from reasonrl.run.checkpoint_store import CheckpointDiskFullError, CheckpointDiskReadOnlyError, CheckpointError
from reasonrl.run.cluster.errors import ClusterStartError, RankLostError, RayNodeError
from reasonrl.run.control import ControlError
from reasonrl.run.errors import RunInputError
from reasonrl.run.reward_failure import RewardFailureError
from reasonrl.run.rollback import RollbackError
from reasonrl.run.run_directory import RunDirectoryError
from reasonrl.run.status.pod_outcome import PREEMPTED, Outcome
from reasonrl.run.status.server import StatusServerError
from reasonrl.run.stop_request import StoppedWithinStepError, StopRequestedError
from reasonrl.run.telemetry.telemetry_error import TelemetryAddressError, TelemetryError
from reasonrl.sandbox.errors import SandboxError
from reasonrl.train.protocol import LossNotFiniteError, RanksLostError, TrainerError

OUT_OF_MEMORY = "OutOfMemory"
CRASHED = "Crashed"

_TABLE: tuple[tuple[type[Exception], ExitCode, str], ...] = (
    # Of two that fit, the first counts: what is special stands before what is general.
    (StopRequestedError, ExitCode.PREEMPTED, PREEMPTED),
    (StoppedWithinStepError, ExitCode.PREEMPTED, PREEMPTED),
    (RunInputError, ExitCode.BAD_INPUT, "BadInput"),
    (DataError, ExitCode.BAD_INPUT, "BadData"),
    (RunDirectoryError, ExitCode.BAD_INPUT, "RunDirectoryUnusable"),
    (SandboxError, ExitCode.BAD_INPUT, "SandboxUnusable"),
    (StatusServerError, ExitCode.BAD_INPUT, "StatusPortUnusable"),
    (TelemetryAddressError, ExitCode.BAD_INPUT, "MetricsPortUnusable"),
    (TelemetryError, ExitCode.RETRYABLE, "TelemetryFailed"),
    (ClusterStartError, ExitCode.RETRYABLE, "ClusterNotFormed"),
    (RayNodeError, ExitCode.RETRYABLE, "RayNodeFailed"),
    (RankLostError, ExitCode.RETRYABLE, "RankLost"),
    (RanksLostError, ExitCode.RETRYABLE, "RankLost"),
    (EngineLostError, ExitCode.RETRYABLE, "EngineLost"),
    (EnginesLostError, ExitCode.RETRYABLE, "EngineLost"),
    (WeightsGoneError, ExitCode.RETRYABLE, "RankLost"),
    (PackedWeightsError, ExitCode.RETRYABLE, "WeightsDamaged"),
    (WeightLoadError, ExitCode.FATAL, "WeightsMismatch"),
    (RolloutError, ExitCode.FATAL, "RolloutRefused"),
    (LossNotFiniteError, ExitCode.FATAL, "LossNotFinite"),
    (TrainerError, ExitCode.FATAL, "TrainerFailed"),
    (RewardFailureError, ExitCode.FATAL, "RewardCodeRaises"),
    (RollbackError, ExitCode.FATAL, "RollbackImpossible"),
    (ControlError, ExitCode.RETRYABLE, "ControlUnreadable"),
    # Somebody may make room meanwhile; the trainers' budget says for how long it is tried.
    (CheckpointDiskFullError, ExitCode.RETRYABLE, "CheckpointDiskFull"),
    (CheckpointDiskReadOnlyError, ExitCode.RETRYABLE, "CheckpointDiskReadOnly"),
    (CheckpointError, ExitCode.RETRYABLE, "CheckpointFailed"),
)
_CURES: Mapping[Role, str] = {
    "trainer": "lower spec.trainer.tokensPerMicroBatch or spec.trainer.logitsChunkTokens, or set spec.trainer.gradientCheckpointing",
    "rollout": "lower spec.rollout.maxSequences or spec.rollout.memoryUtilization",
}


def known_outcome(error: BaseException, *, role: Role = "trainer") -> Outcome | None:
    """None for an error that no run is known to raise."""
    if _is_out_of_memory(error):
        return Outcome(
            exit_code=ExitCode.FATAL, reason=OUT_OF_MEMORY, message=f"out of memory: {_told(error)}. To need less, {_CURES[role]}"
        )
    for kind, code, reason in _TABLE:
        if isinstance(error, kind):
            return Outcome(exit_code=code, reason=reason, message=_told(error))
    return None


def outcome_of(error: BaseException, *, role: Role = "trainer") -> Outcome:
    """Of any error. An unknown one may pass, so it is worth another try, which the operator's budget bounds."""
    unknown = Outcome(exit_code=ExitCode.RETRYABLE, reason=CRASHED, message=f"{type(error).__name__}: {error}")
    return known_outcome(error, role=role) or unknown


def _is_out_of_memory(error: BaseException) -> bool:
    # On a CPU, torch has no type for it.
    on_cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or on_cpu


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
