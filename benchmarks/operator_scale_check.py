"""Whether a scenario of the scale benchmark ended right: exactly the pods and objects that each job asks for, none made twice.

Three witnesses are asked: the API server's list of what there is, its audit log, and the nodes, which met every pod there ever was. The
audit log alone is not enough: a create whose caller died is in it as a timeout, carried out or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from testbed.client import Client

from operator_scale_measure import Key, WrongEnd
from reasonrl.api import names

SHOWN = 5
CHILDREN = {
    "services": names.service_name,
    "configmaps": names.config_name,
    "secrets": names.token_name,
    "networkpolicies": names.network_policy_name,
}
_OURS = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The jobs of a run and the pods of each."""

    jobs: tuple[Key, ...]
    trainers: int
    rollouts: int

    @property
    def pods(self) -> int:
        return len(self.jobs) * (self.trainers + self.rollouts)

    @property
    def namespaces(self) -> list[str]:
        return sorted({namespace for namespace, _ in self.jobs})

    def pods_of(self, job: Key) -> list[Key]:
        namespace, name = job
        counts: tuple[tuple[names.Role, int], ...] = (("trainer", self.trainers), ("rollout", self.rollouts))
        return [(namespace, names.pod_name(name, role, index)) for role, count in counts for index in range(count)]


@dataclass(slots=True)
class Killed:
    """What was killed, and what has to follow: all trainers of a job that lost one, and each lost rollout pod by itself."""

    uids: set[str] = field(default_factory=set)
    trainers: Counter[Key] = field(default_factory=Counter)
    """Killed pods by job."""
    rollouts: Counter[Key] = field(default_factory=Counter)
    again: set[Key] = field(default_factory=set)
    """Names of pods that have to be made a second time."""


def list_pods(api: Client, namespaces: Iterable[str]) -> dict[Key, dict[str, Any]]:
    return {
        (pod["metadata"]["namespace"], pod["metadata"]["name"]): pod
        for namespace in namespaces
        for pod in api.list("pods", namespace=namespace)
    }


def check_running(there: Mapping[Key, dict[str, Any]], fleet: Fleet, killed: Killed) -> None:
    """Exactly the pods of the jobs are there, all running and of the right attempt, none of those killed."""
    _same("pods", there.keys(), {pod for job in fleet.jobs for pod in fleet.pods_of(job)})
    _none("pods not running", (key for key, pod in there.items() if pod["status"].get("phase") != "Running"))
    _none("pods on their way out", (key for key, pod in there.items() if "deletionTimestamp" in pod["metadata"]))
    _none("pods that were killed", (key for key, pod in there.items() if pod["metadata"]["uid"] in killed.uids))
    _none("pods of the wrong attempt", (key for key, pod in there.items() if _attempt(pod) != int(key in killed.again)))


def check_children(api: Client, fleet: Fleet) -> None:
    """Each job has one of each other object, and there are no more."""
    for resource, name_of in CHILDREN.items():
        found = {
            (one["metadata"]["namespace"], one["metadata"]["name"])
            for namespace in fleet.namespaces
            for one in api.list(resource, namespace=namespace, labels=_OURS)
        }
        _same(resource, found, {(namespace, name_of(job)) for namespace, job in fleet.jobs})


def check_made(met: Mapping[Key, int], created: Mapping[tuple[str, str, str], int], fleet: Fleet, killed: Killed) -> None:
    """Each pod was made once, those that had to be replaced twice, every other object once. `met` is the nodes' word, `created` the
    audit log's."""
    wanted = {pod: 1 + int(pod in killed.again) for job in fleet.jobs for pod in fleet.pods_of(job)}
    _none("pods made too often", (pod for pod, count in met.items() if count > wanted.get(pod, 0)))
    _none("pods made too seldom", (pod for pod, count in wanted.items() if met.get(pod, 0) < count))
    allowed = {("pods", *pod): count for pod, count in wanted.items()}
    for resource, name_of in CHILDREN.items():
        allowed |= {(resource, namespace, name_of(job)): 1 for namespace, job in fleet.jobs}
    of_jobs = {key: count for key, count in created.items() if key[0] == "pods" or key[0] in CHILDREN}
    _none("objects made too often", (key for key, count in of_jobs.items() if count > allowed.get(key, 0)))


def check_ended(there: Mapping[Key, dict[str, Any]], fleet: Fleet) -> None:
    """Nothing runs any more; trainer-0 of each job is still there for its log."""
    leaders = {(namespace, names.pod_name(job, "trainer", 0)) for namespace, job in fleet.jobs}
    _none("trainer-0 pods gone", leaders - there.keys())
    _none("pods still alive", (key for key, pod in there.items() if pod["status"].get("phase") not in ("Succeeded", "Failed")))


def _attempt(pod: Mapping[str, Any]) -> int:
    return int(pod["metadata"]["labels"][names.LABEL_ATTEMPT])


def _same(what: str, found: Set[Any], wanted: Set[Any]) -> None:
    _none(f"{what} that nobody asked for", found - wanted)
    _none(f"{what} missing", wanted - found)


def _none(what: str, wrong: Iterable[Any]) -> None:
    listed = sorted(wrong)
    if listed:
        raise WrongEnd(f"{what}: {len(listed)}, such as {', '.join('/'.join(one) for one in listed[:SHOWN])}")
