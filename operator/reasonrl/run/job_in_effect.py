"""The job as it is at this moment of a run. A live edit changes it between two steps, for all who look at it."""

from __future__ import annotations

from dataclasses import dataclass

from reasonrl.api.job import ReasoningRLJob


@dataclass(slots=True)
class JobInEffect:
    job: ReasoningRLJob
