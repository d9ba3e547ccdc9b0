"""Writes a job's status: one PATCH, only where something differs, and only if nobody changed the job since it was read.

The precondition is what keeps status true: what was worked out from an old reading is refused by the API server (Conflict), and the job is
looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reasonrl.controller.api_client import ApiClient
from reasonrl.controller.kinds import JOB
from reasonrl.controller.merge_patch import merge_patch
from reasonrl.controller.records import JobRecord


async def write_status(client: ApiClient, job: JobRecord, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The job as the API server now holds it; None where its status was as wanted and nothing was written."""
    difference = merge_patch(job.status, wanted)
    if not difference:
        return None
    body = {"metadata": {"uid": job.uid, "resourceVersion": job.resource_version}, "status": difference}
    return await client.patch(JOB, body, namespace=job.key.namespace, name=job.key.name, subresource="status")
