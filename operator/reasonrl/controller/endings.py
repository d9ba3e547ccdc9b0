"""Why a container ended, and what that means: nobody's fault, a failure to try again after, or one that would only repeat itself.

What is told in the termination message comes before the exit code, and what Kubernetes says before both where it ended the container.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.names import Role
from reasonrl.controller.records import PodRecord
from reasonrl.controller.settings import JobSettings, part
from reasonrl.controller.situation import as_reason, result_of, succeeded

Kind = Literal["success", "interruption", "outOfMemory", "fatal", "failure"]
OUT_OF_MEMORY = "OutOfMemory"
_SEVERITY: tuple[Kind, ...] = ("fatal", "outOfMemory", "interruption", "failure", "success")
"""When several pods of a gang have ended, the first of these is the cause: failures are often only the answer to another's end."""
_CURES: dict[Role, str] = {
    "trainer": "lower spec.trainer.tokensPerMicroBatch, set spec.trainer.gradientCheckpointing, or divide more with zeroStage and offload",
    "rollout": "lower spec.rollout.maxSequences or spec.rollout.memoryUtilization, or use more GPUs a replica",
}
_LONGEST = 800


@dataclass(frozen=True, slots=True)
class Ending:
    """`reason` is CamelCase, `message` a sentence that names the pod."""

    kind: Kind
    reason: str
    message: str


def ending_of(pod: PodRecord, settings: JobSettings) -> Ending:
    """Of a pod whose main container has ended."""
    if succeeded(pod):
        return Ending("success", "Completed", f"{pod.name} ended with exit code 0")
    result = result_of(pod)
    if pod.reason == "OOMKilled":
        return Ending("outOfMemory", OUT_OF_MEMORY, _out_of_memory(pod, settings, "ran out of memory and was killed"))
    if pod.disrupted or pod.exit_code == ExitCode.PREEMPTED:
        return Ending("interruption", "Preempted", interrupted(pod))
    told = f": {_first_line(result.message) if result is not None else _last_line(pod.message)}".rstrip(": ")
    if result is not None and result.reason == OUT_OF_MEMORY:
        return Ending("outOfMemory", OUT_OF_MEMORY, _out_of_memory(pod, settings, f"ran out of memory ({_first_line(result.message)})"))
    # Python's own exit code for any uncaught error is 1 too: without a result it is a crash, and may pass.
    if pod.exit_code == ExitCode.BAD_INPUT or (pod.exit_code == ExitCode.FATAL and result is not None):
        return Ending("fatal", as_reason(result.reason if result else "", otherwise="BadInput"), f"{pod.name} cannot go on{told}")
    reason = as_reason(result.reason if result else pod.reason, otherwise="Error")
    code = "without an exit code" if pod.exit_code is None else f"with exit code {pod.exit_code}"
    return Ending("failure", reason, f"{pod.name} ended {code} ({pod.reason or reason}){told}")


def first_cause(endings: list[Ending]) -> Ending:
    return min(endings, key=lambda ending: _SEVERITY.index(ending.kind))


def interrupted(pod: PodRecord) -> str:
    """Of a pod that the cluster took away."""
    node = f" on node {pod.node}" if pod.node else ""
    return f"{pod.name}{node} was ended from outside ({pod.reason or 'preempted'})"


def _out_of_memory(pod: PodRecord, settings: JobSettings, what: str) -> str:
    limit = part(part(part(part(settings.spec, "pods"), pod.role), "resources"), "limits").get("memory")
    at = f"; its limit is {limit}" if limit else "; it has no limit, so the node ran out"
    return (
        f"{pod.name} {what}{at}. Raise spec.pods.{pod.role}.resources.limits.memory, or {_CURES[pod.role]}. "
        "spec.failurePolicy.onOutOfMemory: Restart would try again as it is"
    )


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:_LONGEST]


def _last_line(text: str) -> str:
    """Of the tail of a log, which is what Kubernetes keeps where no message was written."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip()[:_LONGEST] if lines else ""
