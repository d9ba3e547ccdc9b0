"""How a pod ends: one outcome, whatever happened, as exit code, log line and termination message."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.run_files import CHECKPOINTS_DIRECTORY
from reasonrl.run.checkpoint_store import CheckpointStore
from reasonrl.run.cluster.pod_environment import PodEnvironment, termination_path
from reasonrl.run.errors import RunInputError
from reasonrl.run.status.pod_outcome import Outcome
from reasonrl.run.status.termination import run_result, write_result

logger = logging.getLogger(__name__)


def end_pod(pod: PodEnvironment, work: Callable[[], Outcome]) -> int:
    """Does the pod's work and returns the exit code. Nothing that is an Exception leaves here."""
    try:
        outcome = work()
    except Exception as error:
        # The table of errors knows torch's, and a pod that only lends its node has no use for torch until then.
        from reasonrl.run.status.outcome import known_outcome, outcome_of

        outcome = outcome_of(error, role=pod.role)
        if known_outcome(error, role=pod.role) is None:
            logger.exception("the pod fails of something that no run is known to raise")
        else:
            logger.error("%s: %s", outcome.reason, outcome.message)
    else:
        logger.info("%s: %s", outcome.reason, outcome.message)
    step = _newest_step(pod.output) if pod.is_head else None
    result = run_result(exit_code=outcome.exit_code, reason=outcome.reason, message=outcome.message, step=step, checkpoint_step=step)
    write_result(pod.termination_message, result)
    return int(outcome.exit_code)


def end_nameless_pod(environ: Mapping[str, str], error: RunInputError) -> int:
    """The end of a pod whose environment does not say who it is: the exit code, once the termination message is there."""
    path = termination_path(environ)
    # Outside a container nobody reads the default path, and /dev is no place to leave files.
    if "REASONRL_TERMINATION_MESSAGE" in environ or path.exists():
        write_result(path, run_result(exit_code=ExitCode.BAD_INPUT, reason="BadInput", message=str(error)))
    return int(ExitCode.BAD_INPUT)


def _newest_step(output: Path) -> int | None:
    """Of the checkpoints that are visible; what a run did after that, it will do again."""
    directory = output / CHECKPOINTS_DIRECTORY
    if not directory.is_dir():
        return None
    return max(CheckpointStore(directory, warn=logger.warning).steps(), default=None)
