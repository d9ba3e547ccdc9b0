"""The job as it runs: resolved once when it starts, kept in its ConfigMap, and changed afterwards by live edits of the job alone.

Whatever is read of a running job is read from there. So a blueprint edited later, or a release with other defaults, changes no job that
has started. The blueprint's text is kept beside the resolved job: a live edit is resolved against that, not against what became of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reasonrl.api import names
from reasonrl.api.live_edits import changed_fields, refused_changes, with_live_fields
from reasonrl.api.parse import parse_job
from reasonrl.api.runtime import admitted_job
from reasonrl.controller.records import JobRecord, ObjectRecord

BLUEPRINT_FILE = "blueprint.json"
BLUEPRINT_VERSION_FILE = "blueprint-version"
"""In the ConfigMap, and not mounted into pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenJob:
    """`source` is the hash of the job's own spec that the rest was resolved from, `text` the resolved job as pods read it, `version` the
    resource version of the blueprint when it was read."""

    source: str
    text: str
    job: Mapping[str, Any]
    blueprint: Mapping[str, Any] | None
    version: str | None = None

    @property
    def spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self.job["spec"]
        return spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What an edit of a running job comes to: the job from now on, which fields changed, and which were left as they are."""

    frozen: FrozenJob
    applied: tuple[str, ...]
    refused: tuple[str, ...]


def digest(value: object) -> str:
    """A short hash that fits into a label."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def source_of(job: JobRecord) -> str:
    """`suspend` is read from the job itself at every look: setting it changes nothing that runs."""
    return digest({key: value for key, value in job.spec.items() if key != "suspend"})


def resolve(job: JobRecord, blueprint: Mapping[str, Any] | None, *, version: str | None = None) -> FrozenJob:
    """The job with the blueprint's fields and every default. Raises JobError with all that is wrong."""
    spec = {**job.spec, "suspend": False}
    parsed = admitted_job(name=job.key.name, namespace=job.key.namespace, spec=spec, runtime_spec=blueprint)
    return _frozen(source_of(job), parsed.dumped(), blueprint, version)


def read_frozen(record: ObjectRecord) -> FrozenJob | None:
    """What the ConfigMap holds; None where somebody has made it unreadable."""
    text = record.data.get(names.CONFIG_JOB_FILE, "")
    try:
        job = json.loads(text)
        blueprint = json.loads(record.data.get(BLUEPRINT_FILE, "null"))
    except ValueError:
        return None
    if not isinstance(job, dict) or not isinstance(job.get("spec"), dict):
        return None
    return FrozenJob(
        source=record.content,
        text=text,
        job=job,
        blueprint=blueprint if isinstance(blueprint, dict) else None,
        version=record.data.get(BLUEPRINT_VERSION_FILE) or None,
    )


def edit(frozen: FrozenJob, job: JobRecord, *, current_phase: int) -> Edit:
    """The running job with what may change of the job's own new spec. Raises JobError where the result would be wrong."""
    wanted = resolve(job, frozen.blueprint, version=frozen.version)
    changed = changed_fields(frozen.job, wanted.job)
    refused = refused_changes(changed, current_phase=current_phase)
    if not refused:
        return Edit(frozen=wanted, applied=tuple(changed), refused=())
    parsed = parse_job(with_live_fields(frozen.job, wanted.job, current_phase=current_phase))
    result = _frozen(wanted.source, parsed.dumped(), frozen.blueprint, frozen.version)
    return Edit(frozen=result, applied=tuple(changed_fields(frozen.job, result.job)), refused=tuple(refused))


def _frozen(source: str, job: Mapping[str, Any], blueprint: Mapping[str, Any] | None, version: str | None) -> FrozenJob:
    # JSON is YAML too, and is read in a hundredth of the time, at every look.
    return FrozenJob(source=source, text=json.dumps(job, indent=1, ensure_ascii=False), job=job, blueprint=blueprint, version=version)
