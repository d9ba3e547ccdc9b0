"""Which fields of a job may change while it runs.

Future phases, the KL schedule, evaluation, checkpoint retention, telemetry and rollout replicas take effect at the next step
boundary; suspending, the deadline and the time until deletion are the operator's, and take effect at once. Everything else is fixed
once the job has started, because changing it would make the run's past and its future two different experiments.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

LIVE_FIELDS = (
    "spec.algorithm.kl.schedule",
    "spec.evaluation",
    "spec.checkpoint.everySteps",
    "spec.checkpoint.keepLast",
    "spec.checkpoint.keepBest",
    "spec.checkpoint.maxBytes",
    "spec.telemetry",
    "spec.rollout.replicas",
    "spec.suspend",
    "spec.ttlSecondsAfterFinished",
    "spec.activeDeadlineSeconds",
    "metadata",
)


def changed_fields(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Paths of the leaves that differ between two dumped jobs, such as `spec.phases[1].maxResponseTokens`, in order."""
    return list(_differences("", old, new))


def refused_changes(changed: Sequence[str], *, current_phase: int) -> list[str]:
    """Those of `changed` that may not change while phase `current_phase` (from 0) runs."""
    return [path for path in changed if not _is_live(path, current_phase=current_phase)]


def with_live_fields(old: Mapping[str, object], new: Mapping[str, object], *, current_phase: int) -> dict[str, object]:
    """The dumped job `old` with what of `new` may change while phase `current_phase` runs. The result is to be checked again: half of an
    edit may not make sense where the whole did."""
    merged = copy.deepcopy(dict(old))
    for field in LIVE_FIELDS:
        _copy_field(new, merged, field.split("."))
    spec, wanted = merged["spec"], new["spec"]
    if isinstance(spec, dict) and isinstance(wanted, Mapping):
        spec["phases"] = [*spec["phases"][: current_phase + 1], *copy.deepcopy(list(wanted["phases"]))[current_phase + 1 :]]
    return merged


def _copy_field(source: object, target: object, path: list[str]) -> None:
    for step in path[:-1]:
        # Parts that only one of the two has, such as KL when it is off, are no live edit.
        if not isinstance(source, Mapping) or not isinstance(target, dict):
            return
        source, target = source.get(step), target.get(step)
    if isinstance(source, Mapping) and isinstance(target, dict) and path[-1] in source:
        target[path[-1]] = copy.deepcopy(source[path[-1]])


def _is_live(path: str, *, current_phase: int) -> bool:
    if path.startswith("spec.phases["):
        return int(path[len("spec.phases[") : path.index("]")]) > current_phase
    return any(path == field or path.startswith((field + ".", field + "[")) for field in LIVE_FIELDS)


def _differences(path: str, old: object, new: object) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in list(old) + [key for key in new if key not in old]:
            inner = f"{path}.{key}" if path else str(key)
            if key not in old or key not in new:
                yield inner
            else:
                yield from _differences(inner, old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            inner = f"{path}[{index}]"
            if index >= len(old) or index >= len(new):
                yield inner
            else:
                yield from _differences(inner, old[index], new[index])
    elif old != new:
        yield path
