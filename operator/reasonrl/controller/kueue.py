"""How Kueue, where it is installed, sees a job's pods: as plain pods of a queue, the trainers of one start as a group.

Kueue keeps such pods behind a scheduling gate until the queue has room, for the group as a whole. It never makes a pod again, so each
start of the gang is a group of its own, and one that is not to be mended: with `retriable-in-group: "false"` Kueue gives up the group's
quota, and the finalizers by which it holds the pods, as soon as all of them have ended. Otherwise it would hold ended pods until others
replace them, which here have the same names and so could never come.
"""

from __future__ import annotations

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""On a pod: the LocalQueue that admits it. On a job: somebody else's controller admits it, by unsetting spec.suspend."""
GROUP_LABEL = "kueue.x-k8s.io/pod-group-name"
GROUP_SIZE = "kueue.x-k8s.io/pod-group-total-count"
RETRIABLE = "kueue.x-k8s.io/retriable-in-group"
STOPPED = "TerminationTarget"
"""Condition of a pod that Kueue deletes, for a job of higher priority or because its queue was closed."""


def queue_labels(queue: str) -> dict[str, str]:
    """Of every pod. A rollout pod is admitted by itself: it comes and goes alone."""
    return {QUEUE_LABEL: queue}


def group_labels(job: str, attempt: int) -> dict[str, str]:
    """Of a trainer. The group's name is that of its Workload as well, so it must not be another job's."""
    return {GROUP_LABEL: f"{job}-gang-{attempt}"}


def group_annotations(trainers: int) -> dict[str, str]:
    return {GROUP_SIZE: str(trainers), RETRIABLE: "false"}
