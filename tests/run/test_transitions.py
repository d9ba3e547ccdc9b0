"""What changes between steps: phases, adaptive coefficients, the reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasonrl.api.parse import parse_job
from reasonrl.api.run_files import Event, StepMetrics
from reasonrl.api.setting import setting_at
from reasonrl.run.control import request_advance
from reasonrl.run.learning_batch import LearningBatch
from reasonrl.run.progress import Progress
from reasonrl.run.transitions import advance_phase, next_adaptive_coefficients, reset_reference_if_due
from reasonrl.train.protocol import UpdateStats


class Recorder:
    """A telemetry that keeps events, and a trainer that counts resets."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.resets: list[bool] = []

    def event(self, record: Event) -> None:
        self.events.append(record)

    def reset_reference(self, *, reset_optimizer: bool) -> None:
        self.resets.append(reset_optimizer)

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def metrics(*, truncated: float = 0.0, accuracy: float | None = 0.5, length: int = 8) -> StepMetrics:
    required = {name: None for name, field in StepMetrics.model_fields.items() if field.is_required()}
    values = {
        **required,
        "step": 0, "time": 0.0, "phase": "short", "phase_index": 0, "phase_step": 0, "max_response_tokens": 12, "temperature": 1.0,
        "kl_coefficient": 0.0, "learning_rate": 0.0, "entropy_coefficient": 0.0, "reward_components": {}, "outcomes": {},
        "accuracy": accuracy, "response_length_mean": float(length), "response_length_p50": 0.0, "response_length_p95": 0.0,
        "response_length_max": length, "lengths_by_outcome": {"correct": [length]}, "truncated_share": truncated,
        "completed_share": 1 - truncated, "all_right_share": 0.0, "all_wrong_share": 0.0, "kept_responses": 1, "responses": 1,
        "staleness_max": 0, "reflection_share": {}, "reflection_per_1000_tokens": {}, "prompt_tokens": 1, "response_tokens": 1,
        "tokens_per_second": 1.0, "seconds": {}, "reference_resets": 0,
    }  # fmt: skip
    return StepMetrics(**values)


def play(
    document,
    steps: list[StepMetrics],
    recorder: Recorder,
    directory: Path,
    progress: Progress | None = None,
    *,
    control: Path | None = None,
) -> Progress:
    job, progress = parse_job(document), progress or Progress()
    for each in steps:
        progress.step += 1
        progress.phase_step += 1
        advance_phase(job, progress, each, directory, recorder, control=control)  # type: ignore[arg-type]
        if progress.finished:
            break
    return progress


def test_phases_follow_each_other_and_then_the_run_is_finished(tiny_job, recorder: Recorder, tmp_path: Path) -> None:
    progress = play(tiny_job, [metrics()] * 20, recorder, tmp_path)
    assert recorder.reasons == ["PhaseEntered", "Completed"]
    assert [event.step for event in recorder.events] == [4, 8]
    assert progress.finished
    assert progress.phase_index == 1


def test_too_many_truncated_responses_extend_the_context(tiny_job, recorder: Recorder, tmp_path: Path) -> None:
    tiny_job["spec"]["phases"][0]["until"] = {"maxSteps": 100, "truncatedShare": {"above": 0.06, "forSteps": 3}}
    quiet, loud = metrics(truncated=0.05), metrics(truncated=0.2)
    progress = play(tiny_job, [loud, loud, quiet, loud, loud, loud], recorder, tmp_path)
    assert progress.phase_index == 1
    assert recorder.events[0].step == 6
    assert "truncated share was above 0.06 for 3 steps" in recorder.events[0].message


def test_a_manual_phase_waits_for_a_person_while_training_goes_on(tiny_job, recorder: Recorder, tmp_path: Path) -> None:
    tiny_job["spec"]["phases"][1]["advance"] = "Manual"
    progress = play(tiny_job, [metrics()] * 6, recorder, tmp_path)
    assert (progress.phase_index, progress.step, progress.awaiting_advance) == (0, 6, True)
    assert recorder.reasons == ["AwaitingAdvance"]
    request_advance(tmp_path)
    progress = play(tiny_job, [metrics()], recorder, tmp_path, progress)
    assert (progress.phase_index, progress.phase_step, progress.awaiting_advance) == (1, 0, False)
    assert recorder.reasons == ["AwaitingAdvance", "PhaseEntered"]


def test_a_word_given_before_the_phase_is_due_is_kept(tiny_job, recorder: Recorder, tmp_path: Path) -> None:
    tiny_job["spec"]["phases"][1]["advance"] = "Manual"
    request_advance(tmp_path)
    progress = play(tiny_job, [metrics()] * 4, recorder, tmp_path)
    assert progress.phase_index == 1


def test_on_a_cluster_the_annotation_that_names_the_due_phase_lets_it_begin(tiny_job, recorder: Recorder, tmp_path: Path) -> None:
    tiny_job["spec"]["phases"][1]["advance"] = "Manual"
    control = tmp_path / "control.json"
    control.write_text('{"advanceTo": null, "rollbackTo": null}')
    progress = play(tiny_job, [metrics()] * 6, recorder, tmp_path, control=control)
    assert (progress.phase_index, progress.awaiting_advance) == (0, True)
    assert "kubectl annotate --overwrite rrlj tiny reasonrl.dev/advance-to=long" in recorder.events[0].message
    for another in ('{"advanceTo": "short"}', '{"advanceTo": "no such phase"}', '{"advanceTo": '):
        control.write_text(another)
        progress = play(tiny_job, [metrics()], recorder, tmp_path, progress, control=control)
        assert progress.phase_index == 0
    control.write_text('{"advanceTo": "long", "rollbackTo": null}')
    progress = play(tiny_job, [metrics()], recorder, tmp_path, progress, control=control)
    assert (progress.phase_index, progress.awaiting_advance) == (1, False)


def test_the_reference_is_reset_every_so_many_steps(tiny_job, recorder: Recorder) -> None:
    job, progress = parse_job(tiny_job), Progress()
    for _ in range(7):
        progress.step += 1
        reset_reference_if_due(job, progress, recorder, recorder)  # type: ignore[arg-type]
    assert progress.reference_resets == 2
    assert recorder.resets == [False, False]
    assert [event.step for event in recorder.events] == [3, 6]


def stats(entropy: float) -> UpdateStats:
    return UpdateStats(
        loss=0.0, entropy=entropy, clip_fraction=0.0, gradient_norm=1.0, sampler_gap_mean=0.0, sampler_gap_max=0.0, updates=1, tokens=10
    )


def test_adaptive_coefficients_move_towards_their_targets(tiny_job) -> None:
    algorithm = tiny_job["spec"]["algorithm"]
    algorithm["kl"]["schedule"] = {"type": "adaptive", "start": 0.1, "target": 0.02, "horizon": 160}
    job, progress = parse_job(tiny_job), Progress()
    setting = setting_at(job, phase_index=0, phase_step=0, global_step=0, adaptive_kl=None, adaptive_entropy=None)
    batch = LearningBatch(
        updates=[], kept_responses=16, kl={"k1": 1.0, "k2": 1.0, "k3": 1.0}, dropped={}, kept={}, skipped_updates=0, empty_questions=0
    )
    next_adaptive_coefficients(job, progress, setting=setting, batch=batch, stats=stats(entropy=0.5))
    # KL far above its target: error 0.2, 16 responses over a horizon of 160. Entropy below its target: one delta up.
    assert progress.adaptive_kl == pytest.approx(0.1 * (1 + 0.2 * 16 / 160))
    assert progress.adaptive_entropy == pytest.approx(0.001 + 0.0001)
    following = setting_at(
        job, phase_index=0, phase_step=1, global_step=1, adaptive_kl=progress.adaptive_kl, adaptive_entropy=progress.adaptive_entropy
    )
    assert (following.kl_coefficient, following.entropy_coefficient) == (progress.adaptive_kl, progress.adaptive_entropy)
