"""How a child says whose it is: by labels, so that it is found, and by its owner reference, so that it goes when its job goes."""

from __future__ import annotations

from typing import Any

from reasonrl.api import names
from reasonrl.api.job import API_VERSION, KIND
from reasonrl.controller.records import JobRecord


def child_labels(job: JobRecord, content: str) -> dict[str, str]:
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_JOB: job.key.name,
        names.LABEL_JOB_UID: job.uid,
        names.LABEL_TEMPLATE: content,
    }


def owner_references(job: JobRecord) -> list[dict[str, Any]]:
    return [{"apiVersion": API_VERSION, "kind": KIND, "name": job.key.name, "uid": job.uid, "controller": True, "blockOwnerDeletion": True}]
