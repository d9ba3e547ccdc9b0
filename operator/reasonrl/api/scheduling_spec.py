"""Where and when a job's pods may run: queue, priority, gang, and nearness."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, LabelKey, ObjectName


class SchedulingSpec(ContractModel):
    """How the cluster's schedulers see the job. On a cluster."""

    gang: Literal["None", "Kueue", "Volcano", "Coscheduling"] = Field(
        default="None",
        description="Who sees to it that all trainers start or none. None: the default scheduler, one pod after another. Kueue: pods wait "
        "until its quota admits them, all trainers together. Volcano, Coscheduling: a PodGroup of that scheduler.",
    )
    queue: ObjectName | None = Field(
        default=None, description="LocalQueue of Kueue in the job's namespace, or queue of Volcano. Needed with gang: Kueue."
    )
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the pods. Null is the cluster's default.")
    topology_key: LabelKey | None = Field(
        default=None,
        description="Label of nodes whose value all trainers share, such as topology.kubernetes.io/zone or a rack's. Null is any nodes.",
    )
    spread: Literal["None", "Preferred", "Required"] = Field(
        default="None",
        description="Whether the pods of one role go to different nodes. Preferred: where there is room. Required: or they wait.",
    )
