"""A run's directory keeps its job: what may change, what may not, and jobs that an earlier release wrote down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reasonrl.api.parse import parse_job
from reasonrl.api.run_files import JOB_FILE
from reasonrl.run.run_directory import RunDirectoryError, keep_job, locked


def job_of(**spec: Any) -> dict[str, object]:
    return parse_job(
        {
            "apiVersion": "reasonrl.dev/v1alpha1",
            "kind": "ReasoningRLJob",
            "metadata": {"name": "x"},
            "spec": {
                "model": {"path": "model"},
                "data": {"train": [{"path": "questions.jsonl"}]},
                "rewards": [{"type": "answer"}],
                "phases": [{"name": "only", "maxResponseTokens": 8, "until": {"steps": 3}}],
                **spec,
            },
        }
    ).dumped()


def test_the_same_job_comes_back_unchanged(tmp_path: Path) -> None:
    assert keep_job(tmp_path, job_of(), current_phase=0) == []
    assert keep_job(tmp_path, job_of(), current_phase=0) == []


def test_a_job_kept_before_a_field_existed_is_the_same_job(tmp_path: Path) -> None:
    keep_job(tmp_path, job_of(), current_phase=0)
    kept = yaml.safe_load((tmp_path / JOB_FILE).read_text())
    for field in ("network", "scheduling", "failurePolicy", "telemetry"):
        del kept["spec"][field]
    (tmp_path / JOB_FILE).write_text(yaml.safe_dump(kept))
    assert keep_job(tmp_path, job_of(), current_phase=0) == []


def test_live_edits_are_named_and_others_refused(tmp_path: Path) -> None:
    keep_job(tmp_path, job_of(), current_phase=0)
    assert keep_job(tmp_path, job_of(checkpoint={"everySteps": 5}), current_phase=0) == ["spec.checkpoint.everySteps"]
    with pytest.raises(RunDirectoryError, match=r"spec\.seed"):
        keep_job(tmp_path, job_of(seed=7, checkpoint={"everySteps": 5}), current_phase=0)


def test_a_kept_job_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / JOB_FILE).write_text("kind: [")
    with pytest.raises(RunDirectoryError, match=r"job\.yaml cannot be read as a job"):
        keep_job(tmp_path, job_of(), current_phase=0)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(RunDirectoryError, match="another process"), locked(tmp_path):
        pass
