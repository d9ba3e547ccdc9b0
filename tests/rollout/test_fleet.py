from __future__ import annotations

import queue
import signal
import threading
import time
import weakref
from dataclasses import dataclass, replace

import pytest

from reasonrl.rollout.engine_session import EngineLostError, EnginesLostError
from reasonrl.rollout.engine_worker import EngineWorker
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.fleet import RolloutFleet
from reasonrl.rollout.fleet_call import deal, start_call
from reasonrl.rollout.fleet_member import Member, Presence
from reasonrl.rollout.fleet_messages import FleetLimits
from reasonrl.rollout.protocol import SamplingSetting, WeightLoadError
from reasonrl.rollout.stepping import BlockingEngineSteps
from reasonrl.rollout.task import cut_into_tasks
from reasonrl.rollout.torch_engine import TorchEngine

LENGTHS = (3, 17, 9, 20, 5, 12, 7, 11, 4, 15)
SETTING = SamplingSetting(max_response_tokens=20, temperature=1.0, seed=5)
SECONDS = 90.0
PATIENT = FleetLimits(heartbeat_seconds=60.0, task_seconds=60.0, load_seconds=60.0, empty_seconds=60.0)


class Scripted(BlockingEngineSteps):
    """A real engine, and faults on request: `before_step` may raise or wait, `change` falsifies outcomes, `refusals` weights are refused,
    a load waits for `may_load`."""

    def __init__(self, engine):
        super().__init__(engine)
        self.before_step = lambda: None
        self.change = lambda outcomes: outcomes
        self.refusals = 0
        self.loading = threading.Event()
        self.may_load = threading.Event()
        self.may_load.set()
        self.loads = []
        self.tasks = []
        self.naps = []

    def submit(self, task):
        self.tasks.append((task.call, task.number, self.weight_version))
        super().submit(task)

    def step(self):
        self.before_step()
        return self.change(super().step())

    def load(self, weights, *, version):
        self.loading.set()
        assert self.may_load.wait(timeout=SECONDS)
        self.loads.append(version)
        if self.refusals:
            self.refusals -= 1
            raise WeightLoadError("log-probs differ by 0.98 nats")
        super().load(weights, version=version)

    def sleep(self):
        self.naps.append("sleep")

    def wake(self):
        self.naps.append("wake")


class Session:
    """A worker's session that can fall silent, and remembers that it was killed."""

    def __init__(self, engine):
        self.engine = engine
        self.worker = EngineWorker(lambda: engine)
        self.silent = threading.Event()
        self.has_outcomes = threading.Event()
        self.may_tell = threading.Event()
        self.may_tell.set()
        self.released = threading.Event()
        self.killed = threading.Event()
        self.closed = threading.Event()

    def __getattr__(self, name):
        return getattr(self.worker, name)

    def collect(self, wait_seconds):
        if self.silent.is_set():
            self.released.wait(timeout=SECONDS)
        collected = self.worker.collect(wait_seconds)
        if collected.outcomes:
            self.has_outcomes.set()
            assert self.may_tell.wait(timeout=SECONDS)
        return collected

    def kill(self):
        self.killed.set()
        self.worker.kill()

    def close(self):
        self.closed.set()
        self.worker.close()


@pytest.fixture
def make_session(make_model, tokenizer, end_token):
    """`make_session(seed=0)`: a session of an engine with a random model of its own."""
    sessions = []

    def make(*, seed=0):
        model = make_model("llama", seed=seed)
        session = Session(Scripted(TorchEngine(model, tokenizer, stop_token_ids=[end_token], max_sequences=16)))
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        session.engine.before_step = lambda: None
        session.engine.may_load.set()
        session.released.set()
        session.may_tell.set()
        session.close()


@pytest.fixture
def events():
    return []


@pytest.fixture
def make_fleet(make_session, events):
    """`make_fleet(sessions)`: joined as "engine 0" and so on."""
    fleets = []

    def make(sessions, *, prompts_per_task=1, limits=PATIENT, **options):
        fleet = RolloutFleet(
            prompts_per_task=prompts_per_task, limits=limits, on_event=lambda reason, message: events.append((reason, message)), **options
        )
        fleets.append(fleet)
        for index, session in enumerate(sessions):
            fleet.join(f"engine {index}", session)
        return fleet

    yield make
    for fleet in fleets:
        fleet.close()


@pytest.fixture
def prompts(make_prompts):
    return make_prompts(LENGTHS)


@pytest.fixture
def expected(make_session, make_fleet, prompts):
    """What one engine, undisturbed, answers."""
    return tokens_of(make_fleet([make_session()]).sample(prompts, responses_per_prompt=2, setting=SETTING))


@pytest.fixture
def make_weights(make_model):
    return lambda seed: [(name, parameter.detach()) for name, parameter in make_model("llama", seed=seed).named_parameters()]


def tokens_of(groups):
    return [[response.tokens.tolist() for response in group] for group in groups]


def versions_of(groups):
    return {response.weight_version for group in groups for response in group}


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def presences(fleet):
    return {member.name: member.presence for member in fleet.members()}


def live(fleet, count):
    return sum(presence is Presence.LIVE for presence in presences(fleet).values()) == count


def in_background(work):
    """A thread that does `work` and keeps its answer or error in `outcome`."""
    outcome = []

    def run():
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.outcome = outcome
    thread.start()
    return thread


@pytest.mark.parametrize("count", [2, 3])
def test_responses_come_in_order_and_do_not_depend_on_who_wrote_them(
    make_session, make_fleet, expected, prompts, plain_logprobs, make_model, count
):
    sessions = [make_session() for _ in range(count)]
    groups = make_fleet(sessions).sample(prompts, responses_per_prompt=2, setting=SETTING)
    assert tokens_of(groups) == expected
    assert all(session.engine.tasks for session in sessions)
    assert len({tuple(tokens) for group in expected for tokens in group}) > len(LENGTHS)
    model = make_model("llama")
    for prompt, group in zip(prompts, groups, strict=True):
        for response in group:
            assert float((plain_logprobs(model, prompt, response.tokens) - response.sampler_logprobs).abs().max()) < 1e-4


def test_no_prompts_are_no_work(make_fleet):
    assert make_fleet([]).sample([], responses_per_prompt=2, setting=SETTING) == []


def test_an_engine_has_little_more_in_hand_than_it_decodes_at_once(make_session, make_fleet, prompts):
    session, busy = make_session(), threading.Event()
    session.engine.before_step = lambda: busy.wait(timeout=SECONDS)
    fleet = make_fleet([session])
    call = in_background(lambda: fleet.sample(prompts, responses_per_prompt=2, setting=SETTING))
    until(lambda: session.engine.tasks)
    assert fleet.members()[0].tasks_in_hand == 2
    busy.set()
    call.join(SECONDS)
    assert [number for _, number, _ in session.engine.tasks] == list(range(len(LENGTHS)))


@dataclass(frozen=True)
class Roomy:
    """A session of which only the size matters."""

    capacity: int


@pytest.mark.parametrize(
    ("capacities", "live", "expected"),
    [
        # Ten tasks of two responses.
        ([4], 1, [[0, 1, 2]]),
        ([1], 1, [[0, 1]]),
        ([100], 1, [list(range(10))]),
        ([100], 2, [[0, 1, 2, 3, 4]]),
        ([100, 100], 2, [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]),
        ([2, 6], 2, [[0, 4], [1, 2, 3, 5]]),
    ],
)
def test_tasks_are_dealt_by_room_and_nobody_takes_more_than_an_even_share(prompts, capacities, live, expected):
    tasks = cut_into_tasks(prompts, responses_per_prompt=2, setting=SETTING, prompts_per_task=1, call=1)
    call = start_call(tasks, number=1, reply=queue.SimpleQueue())
    ready = [Member(name=f"engine {index}", session=Roomy(capacity), heard=0.0) for index, capacity in enumerate(capacities)]
    dealt = [[task.number for task in each] for each in deal(call, ready, live=live).values()]
    assert dealt == expected
    assert [task.number for task in call.waiting] == [number for number in range(10) if all(number not in each for each in dealt)]


def test_a_broken_engines_tasks_are_done_by_the_others(make_session, make_fleet, expected, prompts, events):
    sessions = [make_session() for _ in range(3)]
    taken = threading.Event()

    def breaks():
        taken.set()
        raise RuntimeError("device lost")

    sessions[1].engine.before_step = breaks
    fleet = make_fleet(sessions)
    until(lambda: live(fleet, 3))
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    assert taken.is_set()
    assert sessions[1].killed.wait(timeout=SECONDS)
    assert presences(fleet)["engine 1"] is Presence.LOST
    assert ("RolloutLost", "engine 1 is lost: RuntimeError: device lost; 2 tasks go back to the queue; 2 live") in events
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected


def test_tasks_of_a_lost_engine_go_in_front_of_those_that_wait(make_session, make_fleet, expected, prompts):
    lost, other = make_session(), make_session()
    failing, working = threading.Event(), threading.Event()

    def breaks():
        failing.wait(timeout=SECONDS)
        raise RuntimeError("device lost")

    lost.engine.before_step = breaks
    other.engine.before_step = lambda: working.wait(timeout=SECONDS)
    fleet = make_fleet([lost, other])
    until(lambda: live(fleet, 2))
    call = in_background(lambda: fleet.sample(prompts, responses_per_prompt=2, setting=SETTING))
    until(lambda: lost.engine.tasks and other.engine.tasks)
    failing.set()
    until(lambda: live(fleet, 1))
    working.set()
    call.join(SECONDS)
    assert tokens_of(call.outcome[0]) == expected
    first, again = [[number for _, number, _ in each.engine.tasks] for each in (other, lost)]
    assert len(again) == 2
    assert first == [*sorted(set(range(4)) - set(again)), *again, *range(4, len(LENGTHS))]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda outcomes: [replace(each, groups=each.groups[:-1]) for each in outcomes], "answered 0 groups for 1 prompts"),
        (lambda outcomes: [replace(each, groups=[group[:1] for group in each.groups]) for each in outcomes], "1 responses where 2"),
        (
            lambda outcomes: [
                replace(each, groups=[tuple(replace(one, weight_version=7) for one in group) for group in each.groups]) for each in outcomes
            ],
            "weights of version 7 where 0 were loaded",
        ),
        (
            lambda outcomes: [
                replace(each, groups=[tuple(replace(one, tokens=one.tokens[:0]) for one in group) for group in each.groups])
                for each in outcomes
            ],
            "answered 0 tokens with",
        ),
        (lambda outcomes: [replace(each, number=each.number + 1000) for each in outcomes], "tasks that it was not given"),
        (lambda outcomes: [replace(each, groups=None) for each in outcomes], "without an answer"),
        (lambda outcomes: [], "lost"),
    ],
)
def test_an_engine_that_answers_garbage_is_lost(make_session, make_fleet, expected, prompts, change, reason):
    sessions = [make_session() for _ in range(2)]
    sessions[0].engine.change = change
    fleet = make_fleet(sessions)
    until(lambda: live(fleet, 2))
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    (fault,) = [member.fault for member in fleet.members() if member.presence is Presence.LOST]
    assert reason in fault


def test_an_engine_that_reports_a_failure_of_its_own_is_not_trusted_again(make_session, make_fleet, expected, prompts):
    sessions = [make_session() for _ in range(2)]
    sessions[0].engine.change = lambda outcomes: [replace(each, groups=None, error="preempted too often") for each in outcomes]
    fleet = make_fleet(sessions)
    until(lambda: live(fleet, 2))
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    assert [member.fault for member in fleet.members() if member.presence is Presence.LOST] == ["preempted too often"]


def test_a_hung_engine_is_found_by_its_steps_though_it_answers(make_session, make_fleet, expected, prompts):
    sessions = [make_session() for _ in range(2)]
    stuck = threading.Event()
    sessions[0].engine.before_step = lambda: stuck.wait(timeout=SECONDS)
    fleet = make_fleet(sessions, limits=replace(PATIENT, task_seconds=4.0))
    until(lambda: live(fleet, 2))
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    (fault,) = [member.fault for member in fleet.members() if member.presence is Presence.LOST]
    assert fault == "it answers but made no step in 4 s with 2 tasks in hand"
    assert sessions[0].killed.wait(timeout=SECONDS)
    stuck.set()
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected


def test_a_silent_engine_is_found_by_its_missing_heartbeat_also_when_nothing_is_asked_of_it(make_session, make_fleet, expected, prompts):
    sessions = [make_session() for _ in range(2)]
    fleet = make_fleet(sessions, limits=replace(PATIENT, heartbeat_seconds=4.0))
    until(lambda: live(fleet, 2))
    sessions[0].silent.set()
    until(lambda: live(fleet, 1))
    assert sessions[0].killed.wait(timeout=SECONDS)
    (fault,) = [member.fault for member in fleet.members() if member.presence is Presence.LOST]
    assert fault.startswith("no answer for")
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected


def test_an_engine_that_falls_silent_with_tasks_in_hand_gives_them_back(make_session, make_fleet, expected, prompts):
    sessions = [make_session() for _ in range(2)]
    fleet = make_fleet(sessions, limits=replace(PATIENT, heartbeat_seconds=4.0))
    until(lambda: live(fleet, 2))
    sessions[0].engine.before_step = sessions[0].silent.set
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    assert live(fleet, 1)


def test_a_task_that_breaks_every_engine_is_given_up_before_it_takes_them_all(make_session, make_fleet, make_prompts):
    sessions = [make_session() for _ in range(5)]

    def breaks():
        raise RuntimeError("device lost")

    for session in sessions:
        session.engine.before_step = breaks
    fleet = make_fleet(sessions)
    with pytest.raises(RolloutError, match=r"failed on 3 engines; the last: engine \d: RuntimeError: device lost"):
        fleet.sample(make_prompts((4,)), responses_per_prompt=1, setting=SETTING)
    assert live(fleet, 2)


def test_a_refused_request_ends_the_call_at_once_and_costs_no_engine(make_session, make_fleet, make_prompts, expected, prompts):
    fleet = make_fleet([make_session() for _ in range(2)])
    with pytest.raises(RolloutError, match="has no tokens"):
        fleet.sample(make_prompts((4, 5, 0, 3, 6)), responses_per_prompt=1, setting=SETTING)
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    assert live(fleet, 2)


def test_a_fleet_left_without_engines_says_what_each_died_of(make_session, make_fleet, make_prompts):
    sessions = [make_session() for _ in range(2)]
    for session in sessions:
        session.engine.change = lambda outcomes: []
    fleet = make_fleet(sessions, limits=replace(PATIENT, empty_seconds=1.0))
    with pytest.raises(EnginesLostError, match=r"none joined in 1 s: engine 0: RuntimeError: the engine lost .*; engine 1: RuntimeError"):
        fleet.sample(make_prompts((4, 5)), responses_per_prompt=1, setting=SETTING)


def test_an_empty_fleet_waits_for_an_engine(make_session, make_fleet, expected, prompts):
    fleet = make_fleet([])
    call = in_background(lambda: fleet.sample(prompts, responses_per_prompt=2, setting=SETTING))
    fleet.join("late", make_session())
    call.join(SECONDS)
    assert tokens_of(call.outcome[0]) == expected


def test_a_fleet_that_lost_its_last_engine_in_a_call_goes_on_with_the_next(make_session, make_fleet, expected, prompts):
    session = make_session()
    steps = []

    def breaks():
        steps.append(1)
        if len(steps) == 4:
            raise RuntimeError("device lost")

    session.engine.before_step = breaks
    fleet = make_fleet([session])
    call = in_background(lambda: fleet.sample(prompts, responses_per_prompt=2, setting=SETTING))
    until(lambda: presences(fleet).get("engine 0") is Presence.LOST)
    other = make_session()
    fleet.join("engine 0", other)
    call.join(SECONDS)
    assert tokens_of(call.outcome[0]) == expected
    assert [number for _, number, _ in other.engine.tasks] == list(range(3, len(LENGTHS)))


def test_an_engine_that_joins_in_a_call_has_the_current_weights_before_its_first_task(
    make_session, make_fleet, make_weights, make_prompts, plain_logprobs, make_model
):
    first, late = make_session(), make_session(seed=3)
    fleet = make_fleet([first])
    weights = make_weights(1)
    fleet.load(weights, version=6)
    for _, tensor in weights:
        # As a trainer would, whose parameters these are.
        tensor.zero_()
    held, entered = threading.Event(), threading.Event()

    def wait():
        entered.set()
        held.wait(timeout=SECONDS)

    first.engine.before_step = wait
    prompts = make_prompts(LENGTHS)
    call = in_background(lambda: fleet.sample(prompts, responses_per_prompt=2, setting=SETTING))
    assert entered.wait(timeout=SECONDS)
    fleet.join("late", late)
    until(lambda: late.engine.tasks)
    held.set()
    call.join(SECONDS)
    (groups,) = call.outcome
    assert {version for _, _, version in late.engine.tasks} == versions_of(groups) == {6}
    model = make_model("llama", seed=1)
    for prompt, group in zip(prompts, groups, strict=True):
        for response in group:
            assert float((plain_logprobs(model, prompt, response.tokens) - response.sampler_logprobs).abs().max()) < 1e-4


def test_an_engine_that_leaves_gives_its_tasks_back_and_is_closed(make_session, make_fleet, expected, prompts, events):
    staying, leaving = make_session(), make_session()
    held, entered = threading.Event(), threading.Event()

    def wait():
        entered.set()
        held.wait(timeout=SECONDS)

    leaving.engine.before_step = wait
    fleet = make_fleet([staying, leaving])
    until(lambda: live(fleet, 2))
    call = in_background(lambda: fleet.sample(prompts, responses_per_prompt=2, setting=SETTING))
    assert entered.wait(timeout=SECONDS)
    fleet.leave("engine 1", reason="the job asks for one rollout")
    call.join(SECONDS)
    assert tokens_of(call.outcome[0]) == expected
    assert list(presences(fleet)) == ["engine 0"]
    assert ("RolloutLeft", "engine 1 left: the job asks for one rollout; 2 tasks go back to the queue") in events
    held.set()
    assert leaving.closed.wait(timeout=SECONDS)
    assert not leaving.killed.is_set()
    fleet.leave("nobody", reason="never was here")


def test_a_newcomer_takes_the_place_of_a_member_of_its_name(make_session, make_fleet, expected, prompts):
    old, new = make_session(), make_session()
    fleet = make_fleet([old])
    until(lambda: live(fleet, 1))
    fleet.join("engine 0", new)
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    assert old.killed.wait(timeout=SECONDS)
    assert new.engine.tasks
    assert len(fleet.members()) == 1


def test_all_engines_take_the_weights(make_session, make_fleet, make_weights, make_model, prompts, plain_logprobs):
    sessions = [make_session() for _ in range(2)]
    fleet = make_fleet(sessions)
    fleet.load(iter(make_weights(1)), version=3)
    assert [fleet.weight_version, *(session.weight_version for session in sessions)] == [3, 3, 3]
    model = make_model("llama", seed=1)
    for prompt, (response,) in zip(prompts, fleet.sample(prompts, responses_per_prompt=1, setting=SETTING), strict=True):
        assert response.weight_version == 3
        assert float((plain_logprobs(model, prompt, response.tokens) - response.sampler_logprobs).abs().max()) < 1e-4


def test_weights_that_no_engine_takes_change_nothing(make_session, make_fleet, make_weights, expected, prompts):
    sessions = [make_session() for _ in range(2)]
    fleet = make_fleet(sessions)
    with pytest.raises(WeightLoadError, match=r"engine \d did not take the weights of version 3, twice: .* are missing"):
        fleet.load(make_weights(1)[1:], version=3)
    assert [fleet.weight_version, *(session.weight_version for session in sessions)] == [0, 0, 0]
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected


def test_engines_that_took_weights_which_another_refused_go_back(make_session, make_fleet, make_weights, prompts):
    sessions = [make_session() for _ in range(2)]
    fleet = make_fleet(sessions)
    fleet.load(make_weights(1), version=3)
    before = tokens_of(fleet.sample(prompts, responses_per_prompt=1, setting=SETTING))
    sessions[1].engine.refusals = 2
    with pytest.raises(WeightLoadError, match=r"engine 1 did not take the weights of version 4, twice: log-probs differ by 0\.98 nats"):
        fleet.load(make_weights(2), version=4)
    groups = fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)
    assert tokens_of(groups) == before
    assert versions_of(groups) == {3}


def test_a_mismatch_is_answered_with_a_second_load(make_session, make_fleet, make_weights, events):
    sessions = [make_session() for _ in range(2)]
    fleet = make_fleet(sessions)
    sessions[0].engine.refusals = 1
    fleet.load(make_weights(1), version=3)
    assert [session.engine.loads for session in sessions] == [[3, 3], [3]]
    assert live(fleet, 2)
    assert [message for reason, message in events if reason == "WeightMismatch"] == [
        "engine 0 is given the weights of version 3 again: log-probs differ by 0.98 nats"
    ]


def test_a_newcomer_that_cannot_be_given_the_weights_stops_the_run(make_session, make_fleet, make_weights, prompts):
    fleet = make_fleet([make_session()])
    fleet.load(make_weights(1), version=3)
    late = make_session()
    late.engine.refusals = 2
    fleet.join("late", late)
    until(lambda: presences(fleet).get("late") is Presence.LOST)
    with pytest.raises(WeightLoadError, match="late did not take the weights of version 3, twice"):
        fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)
    fleet.load(make_weights(2), version=4)
    assert versions_of(fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)) == {4}


def test_an_engine_that_is_late_with_the_weights_is_lost_and_the_others_go_on(make_session, make_fleet, make_weights, prompts):
    sessions = [make_session() for _ in range(2)]
    sessions[0].engine.may_load.clear()
    fleet = make_fleet(sessions, limits=replace(PATIENT, load_seconds=4.0))
    fleet.load(make_weights(1), version=3)
    (fault,) = [member.fault for member in fleet.members() if member.presence is Presence.LOST]
    assert "did not take the weights of version 3 within 4 s" in fault or fault.startswith("no answer for")
    assert versions_of(fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)) == {3}


def test_an_engine_that_breaks_while_it_loads_is_lost_and_the_others_go_on(make_session, make_fleet, make_weights):
    sessions = [make_session() for _ in range(2)]

    def breaks(*_, **__):
        raise RuntimeError("out of memory")

    sessions[1].engine.load = breaks
    fleet = make_fleet(sessions)
    fleet.load(make_weights(1), version=3)
    assert [member.fault for member in fleet.members()] == [None, "RuntimeError: out of memory"]


class Kept:
    """A snapshot whose end can be noticed."""

    def __init__(self, version, tensors):
        self.version = version
        self.tensors = tensors

    def __iter__(self):
        return iter(self.tensors)


def test_weights_that_were_replaced_are_let_go(make_session, make_fleet, make_weights):
    fleet = make_fleet([make_session(), make_session()])
    weights = Kept(3, make_weights(1))
    first = weakref.ref(weights)
    fleet.load(weights, version=3)
    del weights
    assert first() is not None
    fleet.load(Kept(4, make_weights(2)), version=4)
    until(lambda: first() is None)


def test_published_weights_must_be_of_the_version_they_are_loaded_as(make_fleet, make_weights):
    with pytest.raises(RolloutError, match="published as version 3 were offered as version 4"):
        make_fleet([]).load(Kept(3, make_weights(1)), version=4)


def test_weights_that_lie_elsewhere_are_published_there(make_session, make_fleet, make_weights, prompts):
    class Elsewhere:
        def publish(self, *, version):
            return Kept(version, make_weights(1))

    fleet = make_fleet([make_session()])
    fleet.load(Elsewhere(), version=5)
    assert versions_of(fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)) == {5}


def test_an_engine_that_joins_while_weights_are_loaded_gets_the_new_ones(make_session, make_fleet, make_weights, prompts):
    first, late = make_session(), make_session()
    fleet = make_fleet([first])
    fleet.load(make_weights(1), version=3)
    first.engine.may_load.clear()
    first.engine.loading.clear()
    load = in_background(lambda: fleet.load(make_weights(2), version=4))
    assert first.engine.loading.wait(timeout=SECONDS)
    fleet.join("late", late)
    until(lambda: late.engine.loads)
    first.engine.may_load.set()
    load.join(SECONDS)
    assert load.outcome == [None]
    assert late.engine.loads == [4]
    assert versions_of(fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)) == {4}


def test_a_fleet_for_which_no_engine_can_ever_come_says_so_to_every_call(make_fleet, make_weights, prompts):
    fleet = make_fleet([])
    call = in_background(lambda: fleet.sample(prompts, responses_per_prompt=1, setting=SETTING))
    fleet.fail(RolloutError("spec.rollout.engine: no such engine"))
    call.join(SECONDS)
    assert "no such engine" in str(call.outcome[0]) == str(fleet.fault)
    for work in (lambda: fleet.sample(prompts, responses_per_prompt=1, setting=SETTING), lambda: fleet.load(make_weights(1), version=3)):
        with pytest.raises(RolloutError, match="no such engine"):
            work()


def test_events_of_others_are_passed_on(make_fleet, events):
    make_fleet([]).tell("RolloutNotStarted", "no engine on rollout-3")
    until(lambda: ("RolloutNotStarted", "no engine on rollout-3") in events)


def test_weights_loaded_into_an_empty_fleet_reach_the_first_to_join(make_session, make_fleet, make_weights, prompts):
    fleet = make_fleet([], weight_version=None)
    fleet.load(make_weights(1), version=3)
    fleet.join("first", make_session())
    assert versions_of(fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)) == {3}


def test_engines_that_come_without_weights_get_no_task_before_the_first_load(make_session, make_fleet, make_weights, prompts):
    session = make_session()
    fleet = make_fleet([session], weight_version=None)
    with pytest.raises(RolloutError, match="no weights were loaded"):
        fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)
    with pytest.raises(RolloutError, match="no weights were loaded"):
        _ = fleet.weight_version
    fleet.load(make_weights(1), version=3)
    assert versions_of(fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)) == {3}
    assert {version for _, _, version in session.engine.tasks} == {3}


def test_an_engine_with_other_weights_is_not_taken_in_while_there_are_none_to_give_it(make_session, make_fleet, make_weights):
    session = make_session()
    session.load(make_weights(1), version=8, seconds=SECONDS)
    fleet = make_fleet([session])
    until(lambda: presences(fleet).get("engine 0") is Presence.LOST)
    assert fleet.members()[0].fault == "it holds weights of version 8, the fleet those of 0, and none were published"


class StopRequestedError(Exception):
    pass


@pytest.fixture
def interrupt():
    """`interrupt(when, work)`: does `work`, and a signal handler raises in it once the event `when` is set."""
    main = threading.main_thread().ident

    def stop(*_):
        raise StopRequestedError

    def send(when, over):
        if when.wait(timeout=SECONDS) and not over.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)

    def run(when, work):
        over = threading.Event()
        previous = signal.signal(signal.SIGUSR1, stop)
        sender = threading.Thread(target=send, args=(when, over), daemon=True)
        try:
            with pytest.raises(StopRequestedError):
                sender.start()
                work()
        finally:
            over.set()
            sender.join(SECONDS)
            signal.signal(signal.SIGUSR1, previous)

    return run


def test_a_call_that_a_signal_interrupts_leaves_the_fleet_usable(make_session, make_fleet, interrupt, make_weights, expected, prompts):
    sessions = [make_session() for _ in range(2)]
    held, entered = threading.Event(), threading.Event()

    def wait():
        entered.set()
        held.wait(timeout=SECONDS)

    fleet = make_fleet(sessions)
    until(lambda: live(fleet, 2))
    for session in sessions:
        session.engine.before_step = wait
    interrupt(entered, lambda: fleet.sample(prompts, responses_per_prompt=2, setting=SETTING))
    held.set()
    fleet.load(make_weights(0), version=2)
    groups = fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)
    assert tokens_of(groups) == expected
    assert versions_of(groups) == {2}
    assert live(fleet, 2)


def test_outcomes_of_an_interrupted_call_that_were_on_their_way_are_dropped(make_session, make_fleet, interrupt, expected, prompts):
    session = make_session()
    session.may_tell.clear()
    fleet = make_fleet([session])
    interrupt(session.has_outcomes, lambda: fleet.sample(prompts, responses_per_prompt=1, setting=SETTING))
    call = in_background(lambda: fleet.sample(prompts, responses_per_prompt=2, setting=SETTING))
    session.may_tell.set()
    call.join(SECONDS)
    assert tokens_of(call.outcome[0]) == expected
    assert live(fleet, 1)


def test_a_load_that_a_signal_interrupts_leaves_the_fleet_usable(make_session, make_fleet, interrupt, make_weights, expected, prompts):
    sessions = [make_session() for _ in range(2)]
    fleet = make_fleet(sessions)
    until(lambda: live(fleet, 2))
    for session in sessions:
        session.engine.may_load.clear()
    interrupt(sessions[0].engine.loading, lambda: fleet.load(make_weights(1), version=1))
    for session in sessions:
        session.engine.may_load.set()
    fleet.load(make_weights(0), version=2)
    groups = fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)
    assert tokens_of(groups) == expected
    assert versions_of(groups) == {2}
    assert live(fleet, 2)


def test_engines_sleep_when_told_and_have_weights_again_when_they_wake(make_session, make_fleet, make_weights, prompts):
    sessions = [make_session() for _ in range(2)]
    fleet = make_fleet(sessions)
    with pytest.raises(RolloutError, match="after weights were loaded"):
        fleet.sleep()
    fleet.load(make_weights(1), version=3)
    fleet.sleep()
    assert [session.engine.naps for session in sessions] == [["sleep"], ["sleep"]]
    fleet.load(make_weights(2), version=4)
    assert [session.engine.loads for session in sessions] == [[3, 4], [3, 4]]
    fleet.sleep()
    groups = fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)
    assert versions_of(groups) == {4}
    assert [session.engine.naps for session in sessions] == [["sleep", "wake"] * 2] * 2
    assert [session.engine.loads for session in sessions] == [[3, 4, 4], [3, 4, 4]]


def test_members_tell_what_each_has_done(make_session, make_fleet, prompts):
    fleet = make_fleet([make_session(), make_session()])
    groups = fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)
    members = fleet.members()
    assert [member.name for member in members] == ["engine 0", "engine 1"]
    assert sum(member.tasks_done for member in members) == len(LENGTHS)
    assert sum(member.responses_done for member in members) == 2 * len(LENGTHS)
    assert sum(member.tokens_done for member in members) == sum(len(response.tokens) for group in groups for response in group)
    assert all(member.weight_version == 0 and member.heartbeat_age < SECONDS for member in members)


def test_an_event_that_cannot_be_told_does_not_hurt_the_fleet(make_session, prompts, expected):
    def complain(_reason, _message):
        raise OSError("disk full")

    fleet = RolloutFleet(prompts_per_task=1, limits=PATIENT, on_event=complain)
    fleet.join("engine 0", make_session())
    assert tokens_of(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    fleet.close()


def test_a_closed_fleet_has_closed_its_engines_and_refuses_work(make_session, make_fleet, prompts):
    session = make_session()
    fleet = make_fleet([session])
    until(lambda: live(fleet, 1))
    fleet.close()
    assert session.closed.is_set()
    with pytest.raises(EngineLostError):
        session.submit([])
    with pytest.raises(RolloutError, match="the rollout fleet is closed"):
        fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)


def test_a_fleet_needs_tasks_of_a_size():
    with pytest.raises(RolloutError, match="at least one prompt"):
        RolloutFleet(prompts_per_task=0)
