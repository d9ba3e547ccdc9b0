"""Sampling ahead of the trainer: the bound on staleness, what is thrown away, and what a checkpoint keeps."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from reasonrl.api.setting import StepSetting
from reasonrl.rl.records import FinishReason, Prompt, Question, Response
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting
from reasonrl.run.progress import Progress
from reasonrl.run.rollout_source import SamplingJob, SamplingOnTime
from reasonrl.run.sampling_ahead import SamplingAhead

DEADLINE = 30.0


class ScriptedEngine:
    """Writes one token a response, and remembers which weights wrote which call. `gate` holds a call until it is set."""

    def __init__(self) -> None:
        self.weight_version = 0
        self.calls: list[tuple[int, int, float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fault: Exception | None = None

    def sample(self, prompts: Sequence[Prompt], *, responses_per_prompt: int, setting: SamplingSetting) -> list[tuple[Response, ...]]:
        assert self.gate.wait(DEADLINE)
        if self.fault is not None:
            raise self.fault
        self.calls.append((self.weight_version, setting.max_response_tokens, setting.temperature))
        generator = torch.Generator().manual_seed(setting.seed % 2**31)
        return [tuple(self._response(generator, number) for number in range(responses_per_prompt)) for _ in prompts]

    def _response(self, generator: torch.Generator, number: int) -> Response:
        tokens = torch.randint(0, 1000, (3 + number,), generator=generator)
        finish = FinishReason.STOP if number % 2 else FinishReason.LENGTH
        return Response(
            tokens=tokens,
            sampler_logprobs=-torch.rand(tokens.numel(), generator=generator),
            finish=finish,
            weight_version=self.weight_version,
            text=f"é {number}",
        )

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        list(weights)
        self.weight_version = version

    def close(self) -> None: ...


def take_prompts(cursor: int, count: int) -> tuple[list[Prompt], int]:
    questions = [Question(id=str(number), text=f"q{number}", answer="1", source="test") for number in range(cursor, cursor + count)]
    return [Prompt(question=question, text=question.text, tokens=(1, 2)) for question in questions], cursor + count


JOB = SamplingJob(take_prompts=take_prompts, responses_per_prompt=2, seed=3)
WEIGHTS = [("weight", torch.zeros(1))]


def setting(max_response_tokens: int = 16) -> StepSetting:
    return StepSetting(
        phase_name="only",
        phase_index=0,
        phase_step=0,
        global_step=0,
        max_response_tokens=max_response_tokens,
        temperature=1.0,
        prompts_per_step=4,
        kl_coefficient=0.0,
        learning_rate=1e-3,
        entropy_coefficient=0.0,
        clip_low=0.2,
        clip_high=0.2,
    )


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


def ahead_of(engine: ScriptedEngine, max_staleness: int) -> SamplingAhead:
    source = SamplingAhead(engine, JOB, max_staleness=max_staleness, forecast=lambda progress, ahead: setting())
    source.load(WEIGHTS, version=0)
    return source


@pytest.fixture
def ahead(engine: ScriptedEngine) -> Iterator[SamplingAhead]:
    source = ahead_of(engine, 1)
    yield source
    source.close()


def learn(source: SamplingAhead, progress: Progress) -> list[int]:
    """One step of a loop: takes the groups and hands over new weights. Returns the versions that wrote the responses."""
    sampled = source.take(progress, setting())
    versions = [response.weight_version for group in sampled.groups for response in group.responses]
    progress.step += 1
    progress.cursor = sampled.cursor
    source.load(WEIGHTS, version=progress.step)
    return versions


def eventually(holds: object) -> None:
    event = threading.Event()
    for _ in range(int(DEADLINE / 0.01)):
        if holds():  # type: ignore[operator]
            return
        event.wait(0.01)
    raise AssertionError("did not come within the deadline")


@pytest.mark.parametrize("max_staleness", [1, 2, 4])
def test_no_response_is_older_than_the_bound(engine: ScriptedEngine, max_staleness: int) -> None:
    source, progress = ahead_of(engine, max_staleness), Progress()
    for step in range(12):
        versions = learn(source, progress)
        assert all(0 <= step - version <= max_staleness for version in versions)
    source.close()


def test_the_next_step_is_sampled_while_the_trainer_is_at_work(engine: ScriptedEngine, ahead: SamplingAhead) -> None:
    ahead.take(Progress(), setting())
    # No new weights yet: the trainer is still at work on step 0.
    eventually(lambda: len(engine.calls) == 2)
    assert [version for version, *_ in engine.calls] == [0, 0]


def test_it_does_not_run_further_ahead_than_the_bound_allows(engine: ScriptedEngine, ahead: SamplingAhead) -> None:
    progress = Progress()
    learn(ahead, progress)
    eventually(lambda: len(engine.calls) >= 2)
    learn(ahead, progress)
    eventually(lambda: len(engine.calls) == 4 or engine.calls[-1][0] < 2)
    assert len(engine.calls) <= progress.step + 2


def test_groups_are_the_same_as_those_sampled_on_time_when_the_weights_are(engine: ScriptedEngine, ahead: SamplingAhead) -> None:
    on_time = SamplingOnTime(ScriptedEngine(), JOB)
    first, second = Progress(), Progress()
    for _ in range(4):
        one, other = ahead.take(first, setting()), on_time.take(second, setting())
        assert one.cursor == other.cursor
        assert [group.id for group in one.groups] == [group.id for group in other.groups]
        for group, expected in zip(one.groups, other.groups, strict=True):
            for response, wanted in zip(group.responses, expected.responses, strict=True):
                assert torch.equal(response.tokens, wanted.tokens)
        for progress, sampled in ((first, one), (second, other)):
            progress.step, progress.cursor = progress.step + 1, sampled.cursor
        ahead.load(WEIGHTS, version=first.step)


def test_a_new_phase_throws_away_what_was_sampled_for_the_old_one(engine: ScriptedEngine, ahead: SamplingAhead) -> None:
    progress = Progress()
    learn(ahead, progress)
    eventually(lambda: len(engine.calls) == 2)
    longer = setting(max_response_tokens=32)
    ahead._forecast = lambda progress, ahead: longer
    sampled = ahead.take(progress, longer)
    assert engine.calls[-1][1] == 32 or engine.calls[-2][1] == 32
    assert [group.prompt.question.id for group in sampled.groups] == ["4", "5", "6", "7"], "no question is lost with them"


def test_evaluation_gets_the_newest_weights_and_the_engine_to_itself(engine: ScriptedEngine, ahead: SamplingAhead) -> None:
    progress = Progress()
    learn(ahead, progress)
    with ahead.engine() as lent:
        assert lent.weight_version == 1
        calls = len(engine.calls)
        lent.sample([], responses_per_prompt=1, setting=SamplingSetting(max_response_tokens=1, temperature=1.0, seed=0))
        assert len(engine.calls) == calls + 1, "nobody sampled meanwhile"
    learn(ahead, progress)


def test_an_engine_error_is_raised_where_the_groups_are_awaited(engine: ScriptedEngine, ahead: SamplingAhead) -> None:
    engine.fault = RolloutError("no engine is left")
    with pytest.raises(RolloutError, match="no engine is left"):
        ahead.take(Progress(), setting())


def test_a_checkpoint_keeps_what_was_sampled_ahead(engine: ScriptedEngine, ahead: SamplingAhead, tmp_path: Path) -> None:
    progress = Progress()
    learn(ahead, progress)
    eventually(lambda: ahead._ready)
    ahead.save(tmp_path)
    expected = ahead._ready[0].sampled

    other = ScriptedEngine()
    other.gate.clear()
    resumed = ahead_of(other, 1)
    resumed.restore(tmp_path)
    found = resumed.take(progress, setting())
    assert found.cursor == expected.cursor
    for group, wanted in zip(found.groups, expected.groups, strict=True):
        assert (group.id, group.prompt) == (wanted.id, wanted.prompt)
        for response, saved in zip(group.responses, wanted.responses, strict=True):
            assert torch.equal(response.tokens, saved.tokens)
            assert torch.equal(response.sampler_logprobs, saved.sampler_logprobs)
            assert (response.finish, response.weight_version, response.text) == (saved.finish, saved.weight_version, saved.text)
    assert other.calls == [], "nothing had to be sampled again"
    other.gate.set()
    resumed.close()


def test_nothing_ahead_leaves_no_file(ahead: SamplingAhead, tmp_path: Path) -> None:
    ahead.save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    ahead.restore(tmp_path)
