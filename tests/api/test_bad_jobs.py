"""Every way of getting a job wrong that we know of: which field is named, and what the message says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError

TABLE = Path(__file__).with_name("bad_jobs.yaml")


class Bad(NamedTuple):
    """The minimal job with `edits` has a problem at `field` whose message contains `says`."""

    edits: Mapping[str, object]
    field: str
    says: str


BAD_JOBS = [Bad(row["edits"], row["field"], row["says"]) for row in yaml.safe_load(TABLE.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("bad", BAD_JOBS, ids=lambda bad: f"{bad.field}: {bad.says}"[:80])
def test_a_bad_job_is_refused_by_field_and_reason(bad: Bad, job_with: Callable[[Mapping[str, object]], dict[str, Any]]) -> None:
    with pytest.raises(JobError) as raised:
        parse_job(job_with(bad.edits))
    found = {problem.field: problem.message for problem in raised.value.problems}
    assert bad.field in found, f"problems at {list(found)}"
    messages = [problem.message for problem in raised.value.problems if problem.field == bad.field]
    assert any(bad.says in message for message in messages), messages


@pytest.mark.parametrize("bad", BAD_JOBS, ids=lambda bad: f"{bad.field}: {bad.says}"[:80])
def test_one_mistake_is_not_told_many_times(bad: Bad, job_with: Callable[[Mapping[str, object]], dict[str, Any]]) -> None:
    with pytest.raises(JobError) as raised:
        parse_job(job_with(bad.edits))
    assert len(raised.value.problems) <= 2, [str(problem) for problem in raised.value.problems]


def test_the_table_covers_what_it_should() -> None:
    assert len(BAD_JOBS) >= 180
    assert len({(repr(bad.edits), bad.field) for bad in BAD_JOBS}) == len(BAD_JOBS)


@pytest.mark.parametrize("path", ["spec.model", "spec.data", "spec.rewards", "spec.phases", "spec", "metadata", "kind", "apiVersion"])
def test_a_missing_part_is_named(path: str, job_with: Callable[[Mapping[str, object]], dict[str, Any]], removed: object) -> None:
    with pytest.raises(JobError) as raised:
        parse_job(job_with({path: removed}))
    assert [problem.field for problem in raised.value.problems] == [path]
    assert raised.value.problems[0].message.startswith("is required: ")
