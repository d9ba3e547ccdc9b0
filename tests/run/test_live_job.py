"""Edits of a running job: what is taken over, what is refused, and that a bad file costs nothing but an event."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.parse import parse_job
from reasonrl.api.run_files import Event
from reasonrl.data.errors import DataError
from reasonrl.run.live_job import LiveEditError, LiveJob, edited_job, starting_job
from reasonrl.run.run_directory import keep_job, kept_job

Edited = Callable[..., str]


@pytest.fixture
def job(tiny_job: dict[str, Any]) -> ReasoningRLJob:
    return parse_job(tiny_job)


@pytest.fixture
def edited(job: ReasoningRLJob) -> Edited:
    """The job's text, as the operator writes it, with some fields changed: `{"evaluation.everySteps": 5}`."""

    def text(changes: dict[str, object]) -> str:
        document = copy.deepcopy(job.dumped())
        for path, value in changes.items():
            place: Any = document["spec"]
            *steps, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
            for step in steps:
                place = place[step]
            place[last] = value
        return json.dumps(document, indent=1)

    return text


class Watched:
    """One run's directory, its mounted file, and what it was told."""

    def __init__(self, directory: Path, job: ReasoningRLJob) -> None:
        self.directory = directory / "run"
        self.directory.mkdir()
        self.mount = directory / "mount"
        self.mount.mkdir()
        self.events: list[Event] = []
        self.taken: list[ReasoningRLJob] = []
        self.refusal: Exception | None = None
        self.generation = 0
        self.swap(json.dumps(job.dumped(), indent=1))
        keep_job(self.directory, job.dumped(), current_phase=0)
        self.live = LiveJob(
            self.mount / "job.yaml", job, run_directory=self.directory, take_over=self._take_over, record=self.events.append
        )

    def swap(self, text: str) -> None:
        """As kubelet updates a mounted ConfigMap: a new directory, and one link that is renamed over."""
        self.generation += 1
        fresh = self.mount / f"..{self.generation}"
        fresh.mkdir()
        (fresh / "job.yaml").write_text(text)
        link, temporary = self.mount / "..data", self.mount / "..data_tmp"
        temporary.symlink_to(fresh.name)
        os.replace(temporary, link)
        if not (self.mount / "job.yaml").is_symlink():
            (self.mount / "job.yaml").symlink_to("..data/job.yaml")

    def look(self, *, step: int = 0, current_phase: int = 0) -> bool:
        return self.live.look(step=step, current_phase=current_phase)

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events]

    def _take_over(self, job: ReasoningRLJob) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.taken.append(job)


@pytest.fixture
def watched(tmp_path: Path, job: ReasoningRLJob) -> Watched:
    return Watched(tmp_path, job)


@pytest.mark.parametrize(
    ("changes", "applied"),
    [
        ({}, ()),
        ({"evaluation.everySteps": 5}, ("spec.evaluation.everySteps",)),
        ({"checkpoint.keepLast": 3}, ("spec.checkpoint.keepLast",)),
        ({"rollout.replicas": 7}, ("spec.rollout.replicas",)),
        ({"phases.1.temperature": 0.9}, ("spec.phases[1].temperature",)),
        ({"algorithm.kl.schedule": {"type": "constant", "value": 1e-6}}, ("spec.algorithm.kl.schedule.type",)),
    ],
)
def test_what_may_change_is_taken_over(job: ReasoningRLJob, edited: Edited, changes: dict[str, object], applied: tuple[str, ...]) -> None:
    edit = edited_job(job, edited(changes), current_phase=0)
    assert edit.refused == ()
    assert edit.applied[: len(applied)] == applied
    assert edit.job == parse_job(json.loads(edited(changes)))


def test_what_may_not_change_is_left_while_the_rest_is_taken_over(job: ReasoningRLJob, edited: Edited) -> None:
    text = edited({"evaluation.everySteps": 5, "seed": 8, "phases.0.maxResponseTokens": 10, "phases.1.temperature": 0.9})
    edit = edited_job(job, text, current_phase=0)
    assert set(edit.refused) == {"spec.seed", "spec.phases[0].maxResponseTokens"}
    assert set(edit.applied) == {"spec.evaluation.everySteps", "spec.phases[1].temperature"}
    assert (edit.job.spec.seed, edit.job.spec.phases[0].max_response_tokens, edit.job.spec.evaluation.every_steps) == (7, 12, 5)


def test_a_phase_that_has_begun_may_not_change_any_more(job: ReasoningRLJob, edited: Edited) -> None:
    edit = edited_job(job, edited({"phases.1.temperature": 0.9}), current_phase=1)
    assert (edit.job, edit.applied, edit.refused) == (job, (), ("spec.phases[1].temperature",))


def test_yaml_says_the_same_as_json(job: ReasoningRLJob, edited: Edited) -> None:
    text = yaml.safe_dump(json.loads(edited({"evaluation.everySteps": 5}))).replace("1.0e-", "1e-")
    assert edited_job(job, text, current_phase=0).applied == ("spec.evaluation.everySteps",)


@pytest.mark.parametrize("text", ["", "{", "[]", "a: [", "{}", '{"kind": "Pod"}', '{"spec": ' + "[" * 5000, "[" * 900 + "]" * 900])
def test_a_text_that_is_no_job_is_refused_as_a_whole(job: ReasoningRLJob, text: str) -> None:
    with pytest.raises(LiveEditError):
        edited_job(job, text, current_phase=0)


def test_a_wrong_value_is_refused_with_its_field(job: ReasoningRLJob, edited: Edited) -> None:
    with pytest.raises(LiveEditError, match=r"spec\.evaluation\.everySteps"):
        edited_job(job, edited({"evaluation.everySteps": -1}), current_phase=0)


def test_an_edit_takes_effect_at_the_next_look_and_is_kept(watched: Watched, edited: Edited) -> None:
    assert not watched.look()
    watched.swap(edited({"evaluation.everySteps": 5}))
    assert watched.look(step=9)
    assert [job.spec.evaluation.every_steps for job in watched.taken] == [5]
    assert watched.live.job.spec.evaluation.every_steps == 5
    assert kept_job(watched.directory) == watched.live.job
    assert [(event.step, event.reason, event.message) for event in watched.events] == [
        (9, "EditApplied", "changed: spec.evaluation.everySteps")
    ]
    assert not watched.look()


def test_an_edit_before_the_first_look_is_not_missed(watched: Watched, edited: Edited) -> None:
    watched.swap(edited({"checkpoint.keepLast": 4}))
    assert watched.look()
    assert watched.live.job.spec.checkpoint.keep_last == 4


def test_a_refused_edit_is_told_once(watched: Watched, edited: Edited) -> None:
    watched.swap(edited({"seed": 8}))
    for _ in range(3):
        assert not watched.look()
    assert watched.reasons == ["EditRefused"]
    assert "spec.seed" in watched.events[0].message
    watched.swap(edited({"seed": 8, "evaluation.everySteps": 5}))
    assert watched.look()
    assert watched.live.job.spec.seed == 7


def test_the_hash_is_that_of_the_file_as_it_was_read(watched: Watched, edited: Edited) -> None:
    watched.look()
    before = watched.live.config_hash
    watched.swap(edited({"seed": 8}))
    watched.look()
    assert before is not None
    assert watched.live.config_hash not in (None, before)


def test_a_half_written_file_keeps_the_old_job_and_the_whole_one_is_taken_later(watched: Watched, edited: Edited) -> None:
    path = watched.directory / "in-place.yaml"
    whole = edited({"evaluation.everySteps": 5})
    path.write_text(whole[: len(whole) // 2])
    live = LiveJob(path, watched.live.job, run_directory=watched.directory, take_over=lambda job: None, record=watched.events.append)
    assert not live.look(step=1, current_phase=0)
    assert not live.look(step=2, current_phase=0)
    assert watched.reasons == ["EditRefused"]
    path.write_text(whole)
    assert live.look(step=3, current_phase=0)
    assert live.job.spec.evaluation.every_steps == 5


def test_a_second_write_within_the_same_tick_of_the_clock_is_seen(watched: Watched, edited: Edited) -> None:
    """Same size, same inode, and times that were set back: only the content is another."""
    path = watched.directory / "in-place.yaml"
    path.write_text(edited({"evaluation.everySteps": 5}))
    live = LiveJob(path, watched.live.job, run_directory=watched.directory, take_over=lambda job: None, record=watched.events.append)
    assert live.look(step=1, current_phase=0)
    found = path.stat()
    path.write_text(edited({"evaluation.everySteps": 6}))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert live.look(step=2, current_phase=0)
    assert live.job.spec.evaluation.every_steps == 6


def test_a_missing_file_keeps_the_old_job_and_is_told_once(watched: Watched, edited: Edited) -> None:
    (watched.mount / "..data").unlink()
    for _ in range(3):
        assert not watched.look()
    assert watched.reasons == ["EditRefused"]
    watched.swap(edited({"evaluation.everySteps": 5}))
    assert watched.look()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"{" * 2_000_000])
def test_a_file_that_is_no_text_or_far_too_long_keeps_the_old_job(watched: Watched, content: bytes) -> None:
    (watched.mount / "..1" / "job.yaml").write_bytes(content)
    assert not watched.look()
    assert not watched.look()
    assert watched.reasons == ["EditRefused"]


def test_an_edit_that_cannot_be_put_into_effect_is_refused_as_a_whole(watched: Watched, job: ReasoningRLJob, edited: Edited) -> None:
    watched.refusal = DataError("spec.evaluation.benchmarks[0]: there is no such file")
    watched.swap(edited({"evaluation.everySteps": 5}))
    assert not watched.look()
    assert watched.live.job == job
    assert kept_job(watched.directory) == job
    assert "there is no such file" in watched.events[0].message


def test_a_restart_follows_the_live_part_of_a_file_that_went_too_far(tmp_path: Path, job: ReasoningRLJob, edited: Edited) -> None:
    """The operator edited a phase that, unknown to it, had just begun; the restart after that must not end the job."""
    keep_job(tmp_path, job.dumped(), current_phase=0)
    wanted = parse_job(json.loads(edited({"phases.1.temperature": 0.9, "checkpoint.keepLast": 4})))
    edit = starting_job(tmp_path, wanted, current_phase=1)
    assert (edit.applied, edit.refused) == (("spec.checkpoint.keepLast",), ("spec.phases[1].temperature",))
    assert kept_job(tmp_path) == edit.job
    assert edit.job.spec.phases == job.spec.phases


def test_the_first_start_keeps_the_job_as_it_is(tmp_path: Path, job: ReasoningRLJob) -> None:
    assert starting_job(tmp_path, job, current_phase=0).job == job
    assert kept_job(tmp_path) == job
