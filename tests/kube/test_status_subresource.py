"""A job's status on a real API server: its schema, its columns, and that nobody writes it by the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from testbed.bare_job import JOBS, STRICT, minimal
from testbed.client import ApiError, Client

pytestmark = pytest.mark.usefixtures("crds")


def test_status_is_written_through_its_subresource_alone(api: Client, namespace: str) -> None:
    api.create({**minimal(), "status": {"step": 3}}, namespace=namespace)
    assert "status" not in api.get(JOBS, "first", namespace=namespace)
    api.patch(JOBS, "first", {"status": {"step": 3}, "spec": {"seed": 9}}, namespace=namespace, subresource="status")
    job = api.get(JOBS, "first", namespace=namespace)
    assert job["status"] == {"step": 3}
    assert "seed" not in job["spec"]


FULL_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "summary": "Running",
    "message": "step 120 of 500",
    "conditions": [
        {
            "type": "Succeeded",
            "status": "Unknown",
            "reason": "Running",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
    ],
    "startTime": "2026-01-01T00:00:00Z",
    "step": 120,
    "totalSteps": 500,
    "phase": "ctx-2k",
    "phaseIndex": 0,
    "phases": [{"name": "ctx-2k", "enteredAtStep": 0, "time": "2026-01-01T00:00:00Z"}],
    "klCoefficient": 0.00075,
    "reward": 0.4375,
    "accuracy": 0.41,
    "responseLength": {"mean": 812.5, "p95": 1990},
    "truncatedShare": 0.03,
    "onPolicy": True,
    "checkpoints": [{"step": 100, "time": "2026-01-01T00:00:00Z", "healthy": True}],
    "lastCheckpointStep": 100,
    "runtime": {"kind": "ClusterReasoningRLRuntime", "name": "h100", "resourceVersion": "7"},
    "trainers": {"desired": 1, "created": 1, "ready": 1},
    "rollouts": {"desired": 1, "created": 1, "ready": 1, "selector": "a=b"},
    "attempts": {
        "trainer": {"started": 2, "failures": 1, "consecutiveFailures": 0, "lastReason": "Error"},
        "rollout": {"started": 3, "replaced": [{"index": 0, "started": 2, "failures": 1}]},
    },
    "specHash": "abc",
}


def test_a_whole_status_is_taken_and_shown_in_columns(api: Client, namespace: str) -> None:
    api.create(minimal(), namespace=namespace)
    body = {"status": FULL_STATUS}
    path = f"/apis/reasonrl.dev/v1alpha1/namespaces/{namespace}/{JOBS}"
    api.request("PATCH", f"{path}/first/status", body, query=STRICT, headers={"Content-Type": "application/merge-patch+json"})
    assert api.get(JOBS, "first", namespace=namespace)["status"] == FULL_STATUS
    table = api.request("GET", path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    shown = dict(zip([column["name"] for column in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    usual = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
    assert usual == ["Name", "Status", "Step", "Phase", "Reward", "Length", "KL", "Age"]
    assert [shown[name] for name in ("Status", "Step", "Phase", "Reward", "KL")] == ["Running", 120, "ctx-2k", 0.4375, 0.00075]
    assert (shown["Of"], shown["Trainers"], shown["Checkpoint"], shown["Message"]) == (500, 1, 100, "step 120 of 500")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"summary": "Fine"}, "Unsupported value"),
        ({"step": -1}, "greater than or equal to 0"),
        ({"conditions": [{"type": "Succeeded"}]}, "Required value"),
        ({"message": "x" * 5000}, "Too long"),
    ],
)
def test_a_status_that_is_none_is_refused(status: Mapping[str, object], says: str, api: Client, namespace: str) -> None:
    api.create(minimal(), namespace=namespace)
    with pytest.raises(ApiError, match=says):
        api.patch(JOBS, "first", {"status": status}, namespace=namespace, subresource="status")
