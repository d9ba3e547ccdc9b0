"""Pods that are gone without a cause of ours or of the cluster's: somebody deleted them. They are made again, and no budget is touched; but
whoever wonders why a pod is young should find it among the job's events.

What was there before is read off the status: it counts the pods of each role. So a loss is told at the look that first finds it.
"""

from __future__ import annotations

from reasonrl.api.names import Role, pod_name
from reasonrl.controller.ledger import Ledger
from reasonrl.controller.records import PodRecord
from reasonrl.controller.rollout_pods import RELEASED_SECONDS
from reasonrl.controller.settings import part
from reasonrl.controller.situation import Situation


def lost_pods(situation: Situation, ledger: Ledger, *, role: Role, wanted: int, template: str) -> list[str]:
    """Names of pods of the role that were there when the status was written, and for whose going nothing accounts. Where others are missing
    for a known cause, so that it is not certain which are lost, none are named."""
    shown = part(situation.status, f"{role}s")
    desired, created = shown.get("desired"), shown.get("created")
    if not isinstance(desired, int) or not isinstance(created, int):
        return []
    by_index = {pod.index: pod for pod in situation.pods(role)}
    known = min(wanted, desired)
    lost = [
        pod_name(situation.job.key.name, role, index)
        for index in range(known)
        if _unaccounted(situation, ledger, role, index, by_index.get(index), template)
    ]
    given_up = sum(
        ledger.of_rollout(index).in_a_row > situation.settings.budgets[role].restarts for index in range(known) if role == "rollout"
    )
    return lost if len(lost) > max(0, desired - created - given_up) else []


def _unaccounted(situation: Situation, ledger: Ledger, role: Role, index: int, pod: PodRecord | None, template: str) -> bool:
    attempts = ledger.trainer if role == "trainer" else ledger.of_rollout(index)
    if pod is None:
        waits = attempts.wait_left(situation.now, max(situation.settings.budgets[role].longest_wait, RELEASED_SECONDS)) > 0
        return not waits and pod_name(situation.job.key.name, role, index) not in situation.strangers
    ours = pod.attempt < attempts.wanted or pod.template != template
    return pod.deleting and not pod.disrupted and not ours
