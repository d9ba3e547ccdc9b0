"""How a run's end is told: one table for the command line, the pod and the supervisor."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from reasonrl.api.exit_codes import ExitCode
from reasonrl.cli.run_errors import explained
from reasonrl.data.errors import DataError
from reasonrl.rollout.engine_session import EngineLostError, EnginesLostError
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import WeightLoadError
from reasonrl.run.checkpoint_store import CheckpointDiskFullError, CheckpointDiskReadOnlyError, CheckpointError
from reasonrl.run.cluster.errors import ClusterStartError, RankLostError
from reasonrl.run.errors import RunInputError
from reasonrl.run.live_job import LiveEditError
from reasonrl.run.reward_failure import RewardFailureError
from reasonrl.run.rollback import RollbackError
from reasonrl.run.run_directory import RunDirectoryError
from reasonrl.run.status.outcome import known_outcome, outcome_of
from reasonrl.run.stop_request import StopRequestedError
from reasonrl.run.telemetry.telemetry_error import TelemetryAddressError, TelemetryError
from reasonrl.sandbox.errors import SandboxError
from reasonrl.train.protocol import LossNotFiniteError, TrainerError


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (StopRequestedError("SIGTERM"), ExitCode.PREEMPTED, "Preempted"),
        (RunInputError("x"), ExitCode.BAD_INPUT, "BadInput"),
        (DataError("x"), ExitCode.BAD_INPUT, "BadData"),
        (RunDirectoryError("x"), ExitCode.BAD_INPUT, "RunDirectoryUnusable"),
        (SandboxError("x"), ExitCode.BAD_INPUT, "SandboxUnusable"),
        (TelemetryAddressError("x"), ExitCode.BAD_INPUT, "MetricsPortUnusable"),
        (TelemetryError("x"), ExitCode.RETRYABLE, "TelemetryFailed"),
        (ClusterStartError("x"), ExitCode.RETRYABLE, "ClusterNotFormed"),
        (RankLostError("x"), ExitCode.RETRYABLE, "RankLost"),
        (EngineLostError("x"), ExitCode.RETRYABLE, "EngineLost"),
        (EnginesLostError("x"), ExitCode.RETRYABLE, "EngineLost"),
        (WeightLoadError("x"), ExitCode.FATAL, "WeightsMismatch"),
        (RolloutError("x"), ExitCode.FATAL, "RolloutRefused"),
        (LossNotFiniteError("x"), ExitCode.FATAL, "LossNotFinite"),
        (TrainerError("x"), ExitCode.FATAL, "TrainerFailed"),
        (RewardFailureError("x"), ExitCode.FATAL, "RewardCodeRaises"),
        (RollbackError("x"), ExitCode.FATAL, "RollbackImpossible"),
        (CheckpointDiskFullError("x"), ExitCode.RETRYABLE, "CheckpointDiskFull"),
        (CheckpointDiskReadOnlyError("x"), ExitCode.RETRYABLE, "CheckpointDiskReadOnly"),
        (CheckpointError("x"), ExitCode.RETRYABLE, "CheckpointFailed"),
        (MemoryError(), ExitCode.FATAL, "OutOfMemory"),
        (torch.OutOfMemoryError("CUDA out of memory"), ExitCode.FATAL, "OutOfMemory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ExitCode.FATAL, "OutOfMemory"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_known_end_has_a_code_and_a_reason(error: Exception, code: ExitCode, reason: str) -> None:
    outcome = known_outcome(error)
    assert outcome is not None
    assert (outcome.exit_code, outcome.reason) == (code, reason)
    assert outcome == outcome_of(error)
    assert (str(error) or type(error).__name__) in outcome.message


def test_an_error_that_nobody_expected_may_pass_and_is_told_with_its_type() -> None:
    assert known_outcome(KeyError("x")) is None
    outcome = outcome_of(KeyError("x"))
    assert (outcome.exit_code, outcome.reason, outcome.message) == (ExitCode.RETRYABLE, "Crashed", "KeyError: 'x'")


def test_out_of_memory_says_what_the_role_can_change() -> None:
    for role, field in (("trainer", "tokensPerMicroBatch"), ("rollout", "maxSequences")):
        outcome = outcome_of(MemoryError(), role=role)
        assert field in outcome.message


def test_the_command_line_says_the_message_and_exits_with_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, explained():
        raise DataError("spec.data.train[0]: there is no such file")
    assert ended.value.code == ExitCode.BAD_INPUT
    assert capsys.readouterr().err == "error: spec.data.train[0]: there is no such file\n"


def test_the_command_line_leaves_what_it_does_not_know_to_the_traceback() -> None:
    with pytest.raises(KeyError), explained():
        raise KeyError("x")


def errors_of_the_run() -> Iterator[type[Exception]]:
    """Every exception type of our own, in the packages that a run is made of; `reasonrl eval` has ends of its own."""
    for package in ("data", "rollout", "run", "train"):
        folder = importlib.import_module(f"reasonrl.{package}")
        for module in pkgutil.walk_packages(folder.__path__, f"reasonrl.{package}."):
            if module.name.startswith("reasonrl.run.standalone_evaluation"):
                continue
            source = importlib.util.find_spec(module.name)
            text = source.loader.get_source(module.name) if source and source.loader else ""  # type: ignore[attr-defined]
            for name in re.findall(r"^class (\w+Error)\(", text, flags=re.MULTILINE):
                yield getattr(importlib.import_module(module.name), name)


def test_no_error_of_our_own_is_left_out_of_the_table() -> None:
    # Told as an event, and never the end of a run.
    caught_inside = {LiveEditError}
    found = set(errors_of_the_run())
    assert len(found) > 15
    assert {error.__qualname__ for error in found - caught_inside if known_outcome(error("x")) is None} == set()


def test_a_machine_without_ray_can_tell_how_a_run_ended() -> None:
    """The command line of one machine asks the same table."""
    code = "import sys; sys.modules.update(dict.fromkeys(('ray', 'vllm', 'deepspeed', 'aiohttp'))); import reasonrl.cli.run_errors"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
