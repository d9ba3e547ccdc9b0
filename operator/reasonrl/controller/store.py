"""What the operator remembers of one kind: a slim record an object, found by name and by job.

A watch shows a write of our own only a while after the write was answered. A plan made in between would see a gap and fill it twice. So
the answer to each write goes into the store at once (`put_own`, `remove_own`), as if the watch had shown it already, and is held until the
watch has caught up: older news about an object than what is held is dropped, and so is news about an object that is known to be gone. That
makes repeated and late events harmless too. Resource versions are compared as numbers, which the API promises within a kind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reasonrl.controller.records import JobKey

R = TypeVar("R")
_GONE_REMEMBERED = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[R]):
    """One object: `job` is the job that it is or that its labels name, `job_uid` the UID of that job."""

    job: JobKey
    job_uid: str
    namespace: str
    name: str
    uid: str
    revision: int
    record: R


Parse = Callable[[Mapping[str, Any]], Entry[R] | None]
"""None for an object that is not of any job."""


def revision_of(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdigit() else 0


class Store(Generic[R]):
    """The objects of one kind. The methods that change it return the jobs for which something changed."""

    def __init__(self, parse: Parse[R], same: Callable[[R, R], bool]) -> None:
        self._parse = parse
        self._same = same
        self._entries: dict[tuple[str, str], Entry[R]] = {}
        self._by_job: dict[JobKey, dict[str, Entry[R]]] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry[R]]:
        return iter(list(self._entries.values()))

    def get(self, namespace: str, name: str) -> Entry[R] | None:
        return self._entries.get((namespace, name))

    def of_job(self, job: JobKey) -> list[Entry[R]]:
        """All objects that carry the job's name, whichever job's UID they carry, by name."""
        held = self._by_job.get(job)
        return [] if held is None else sorted(held.values(), key=lambda entry: entry.name)

    def jobs(self) -> Iterable[JobKey]:
        return list(self._by_job)

    def put(self, body: Mapping[str, Any]) -> set[JobKey]:
        """An object as an event or a list shows it."""
        entry = self._parse(body)
        if entry is None:
            return self.remove(body)
        return self._put(entry)

    def remove(self, body: Mapping[str, Any]) -> set[JobKey]:
        """An object that an event says is gone."""
        metadata = body["metadata"]
        return self._remove(str(metadata.get("namespace") or ""), str(metadata["name"]), str(metadata["uid"]))

    def keep_only(self, uids: set[str], revision: int, *, namespace: str | None) -> set[JobKey]:
        """Drops what a complete list (of a namespace, or None of all) at `revision` did not show: how a lost deletion is noticed."""
        changed: set[JobKey] = set()
        for entry in list(self._entries.values()):
            if entry.uid not in uids and entry.revision <= revision and namespace in (None, entry.namespace):
                changed |= self._remove(entry.namespace, entry.name, entry.uid)
        return changed

    def put_own(self, body: Mapping[str, Any]) -> None:
        """The answer to a write of ours: nobody needs to be told."""
        entry = self._parse(body)
        if entry is not None:
            self._put(entry)

    def remove_own(self, *, namespace: str, name: str, uid: str) -> None:
        """A deletion of ours that took effect at once."""
        self._remove(namespace, name, uid)

    def _put(self, entry: Entry[R]) -> set[JobKey]:
        if entry.uid in self._gone:
            return set()
        place = (entry.namespace, entry.name)
        held = self._entries.get(place)
        if held is not None and entry.revision <= held.revision:
            return set()
        self._entries[place] = entry
        if held is not None and held.job != entry.job:
            self._unlink(held)
        self._by_job.setdefault(entry.job, {})[entry.name] = entry
        if held is None:
            return {entry.job}
        if held.job != entry.job or held.uid != entry.uid:
            return {held.job, entry.job}
        return set() if self._same(held.record, entry.record) else {entry.job}

    def _remove(self, namespace: str, name: str, uid: str) -> set[JobKey]:
        self._gone[uid] = None
        if len(self._gone) > _GONE_REMEMBERED:
            self._gone.popitem(last=False)
        held = self._entries.get((namespace, name))
        if held is None or held.uid != uid:
            return set()
        del self._entries[namespace, name]
        self._unlink(held)
        return {held.job}

    def _unlink(self, entry: Entry[R]) -> None:
        held = self._by_job[entry.job]
        del held[entry.name]
        if not held:
            del self._by_job[entry.job]
