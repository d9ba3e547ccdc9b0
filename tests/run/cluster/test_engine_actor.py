"""Engines in other processes, under a Ray of this test's own: one head, and a rollout node that comes and goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import ray
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from reasonrl.rl.records import Prompt, Question
from reasonrl.rollout.engine_session import EngineLostError, WeightsGoneError
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.fleet import RolloutFleet
from reasonrl.rollout.fleet_member import Presence
from reasonrl.rollout.fleet_messages import FleetLimits
from reasonrl.rollout.protocol import SamplingSetting, WeightLoadError
from reasonrl.rollout.stepping import BlockingEngineSteps
from reasonrl.rollout.task import cut_into_tasks
from reasonrl.rollout.torch_engine import TorchEngine
from reasonrl.run.cluster.membership import Membership, engine_nodes
from reasonrl.run.cluster.published_weights import publish
from reasonrl.run.cluster.ray_node_process import COMPLAINT_FILE, DIRECTORY_VARIABLE, SYSTEM_CONFIG
from reasonrl.run.cluster.ray_session import launch_engine
from reasonrl.run.errors import RunInputError

VOCABULARY = 64
LENGTHS = (3, 12, 9, 14, 5, 7, 11, 4)
SETTING = SamplingSetting(max_response_tokens=20, temperature=1.0, seed=5)
SECONDS = 120.0
LIMITS = FleetLimits(heartbeat_seconds=60.0, task_seconds=120.0, load_seconds=120.0, empty_seconds=120.0)


def a_model(seed):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=128,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return transformers.AutoModelForCausalLM.from_config(config).float().eval()


def weights_of(seed):
    return [(name, parameter.detach()) for name, parameter in a_model(seed).named_parameters()]


@dataclass(frozen=True)
class Recipe:
    """Makes an engine of the model in a directory, in whatever process; `pause_seconds` slow each of its steps down."""

    directory: str
    pause_seconds: float = 0.0

    def __call__(self):
        engine = TorchEngine.from_directory(self.directory, max_sequences=16)
        return SlowSteps(engine, self.pause_seconds)


class SlowSteps(BlockingEngineSteps):
    def __init__(self, engine, pause_seconds):
        super().__init__(engine)
        self._pause = threading.Event()
        self._pause_seconds = pause_seconds

    def step(self):
        self._pause.wait(self._pause_seconds)
        return super().step()


@dataclass(frozen=True)
class Refusing:
    def __call__(self):
        raise RolloutError("spec.rollout.engine: no such engine")


class Lasting:
    """A session that outlives the fleets which it is lent to."""

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    def close(self):
        self._session.abandon()

    def kill(self):
        raise AssertionError("the standing engine was lost")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    a_model(0).save_pretrained(directory)
    words = {"<pad>": 0, "<end>": 1} | {f"w{index}": index for index in range(2, VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<pad>"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>").save_pretrained(directory)
    return Recipe(str(directory))


@pytest.fixture(scope="module")
def head():
    """The address of a Ray head in this process's care. Its directory has a short name: sockets lie in it."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    directory = tempfile.mkdtemp(prefix="rrl-")
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "5000",
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        DIRECTORY_VARIABLE: directory,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        ray.init(
            num_cpus=1,
            include_dashboard=False,
            _temp_dir=directory,
            _system_config=dict(SYSTEM_CONFIG),
            object_store_memory=100 * 2**20,
            log_to_driver=False,
            configure_logging=False,
        )
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def launch(head, recipe):
    """`launch(**changes)`: the session and process id of a new engine on the head's node. All are gone afterwards."""
    sessions = []

    def start(**changes):
        session = launch_engine(replace(recipe, **changes), node_id=ray.get_runtime_context().get_node_id(), answer_seconds=60.0)
        sessions.append(session)
        return session, session.wait_until_ready(SECONDS).process

    yield start
    for session in sessions:
        session.kill()


@pytest.fixture(scope="module")
def standing(head, recipe):
    """An engine for all tests that do it no harm."""
    session = launch_engine(recipe, node_id=ray.get_runtime_context().get_node_id(), answer_seconds=60.0)
    session.wait_until_ready(SECONDS)
    yield Lasting(session)
    session.close()


@pytest.fixture
def make_fleet():
    fleets = []

    def make(sessions, *, limits=LIMITS):
        fleet = RolloutFleet(prompts_per_task=1, limits=limits, weight_version=None)
        fleets.append(fleet)
        for name, session in sessions.items():
            fleet.join(name, session)
        return fleet

    yield make
    for fleet in fleets:
        fleet.close()


@pytest.fixture(scope="module")
def prompts():
    random = torch.Generator().manual_seed(7)
    made = []
    for index, length in enumerate(LENGTHS):
        tokens = tuple(torch.randint(2, VOCABULARY, (length,), generator=random).tolist())
        made.append(Prompt(question=Question(id=f"q{index}", text="", answer="", source="test"), text="", tokens=tokens))
    return made


@pytest.fixture(scope="module")
def expected(recipe, prompts):
    """What an engine in this process answers with the weights of seed 1, version 3."""
    engine = recipe()._engine
    engine.load(weights_of(1), version=3)
    tasks = cut_into_tasks(prompts, responses_per_prompt=2, setting=SETTING, prompts_per_task=1, call=1)
    return [engine.sample(task.prompts, responses_per_prompt=2, setting=task.setting)[0] for task in tasks]


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def gone(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    # A zombie is gone but for its parent.
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    return True


def presence_of(fleet, name):
    return next((member.presence for member in fleet.members() if member.name == name), None)


def assert_same(groups, expected):
    for group, wanted in zip(groups, expected, strict=True):
        for response, one in zip(group, wanted, strict=True):
            assert response.tokens.tolist() == one.tokens.tolist()
            assert response.tokens.dtype is one.tokens.dtype
            assert torch.equal(response.sampler_logprobs, one.sampler_logprobs)
            assert (response.finish, response.text, response.weight_version) == (one.finish, one.text, one.weight_version)


def test_an_engine_in_another_process_answers_as_one_in_this_does(standing, make_fleet, prompts, expected):
    fleet = make_fleet({"standing": standing})
    fleet.load(publish(weights_of(1), version=3, dtype=None), version=3)
    assert_same(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING), expected)
    (member,) = fleet.members()
    assert (member.tasks_done, member.responses_done) == (len(LENGTHS), 2 * len(LENGTHS))


def test_what_a_response_holds_is_its_own(standing, make_fleet, prompts):
    fleet = make_fleet({"standing": standing})
    fleet.load(publish(weights_of(1), version=3, dtype=None), version=3)
    for group in fleet.sample(prompts, responses_per_prompt=2, setting=SETTING):
        for response in group:
            assert response.tokens.untyped_storage().nbytes() == 8 * len(response.tokens)
            response.sampler_logprobs.add_(1.0)


def test_plain_tensors_reach_the_engine_too(standing, make_fleet, prompts, expected):
    fleet = make_fleet({"standing": standing})
    fleet.load(weights_of(1), version=3)
    assert_same(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING), expected)


def test_refusals_come_back_as_themselves(standing, make_fleet, prompts):
    fleet = make_fleet({"standing": standing})
    with pytest.raises(WeightLoadError, match=r"standing did not take the weights of version 4, twice: .* are missing"):
        fleet.load(publish(weights_of(1)[1:], version=4, dtype=None), version=4)
    fleet.load(publish(weights_of(1), version=3, dtype=None), version=3)
    with pytest.raises(RolloutError, match="maxResponseTokens is 200"):
        fleet.sample(prompts, responses_per_prompt=1, setting=replace(SETTING, max_response_tokens=200))
    assert len(fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)) == len(LENGTHS)


def test_a_damaged_tensor_is_refused(standing):
    published = publish(weights_of(1), version=3, dtype=None)
    damaged = [array.copy() for array in ray.get(published.reference)]
    damaged[0][5] ^= 255
    with pytest.raises(WeightLoadError, match="embed_tokens"):
        standing.load(replace(published, reference=ray.put(damaged)), version=3, seconds=SECONDS)


def test_published_weights_can_be_read_here(head):
    published = publish(weights_of(1), version=3, dtype=torch.bfloat16)
    read = dict(published)
    assert all(torch.equal(read[name], tensor.to(torch.bfloat16)) for name, tensor in weights_of(1))
    assert (published.version, len(read)) == (3, len(weights_of(1)))


def test_an_engine_that_cannot_be_made_says_why_and_leaves_nothing(head):
    session = launch_engine(Refusing(), node_id=ray.get_runtime_context().get_node_id(), answer_seconds=60.0)
    with pytest.raises(RolloutError, match="no such engine"):
        session.wait_until_ready(SECONDS)
    with pytest.raises(EngineLostError):
        session.collect(0.0)


def test_an_engine_on_a_node_that_is_gone_is_lost(head, recipe):
    session = launch_engine(recipe, node_id="ab" * 28, answer_seconds=60.0)
    with pytest.raises(EngineLostError):
        session.wait_until_ready(SECONDS)


def test_an_engine_killed_in_a_call_gives_its_tasks_back(launch, standing, make_fleet, prompts, expected):
    session, process = launch(pause_seconds=SECONDS)
    fleet = make_fleet({"standing": standing, "victim": session})
    fleet.load(publish(weights_of(1), version=3, dtype=None), version=3)
    killer = threading.Thread(
        target=lambda: (
            until(lambda: any(m.name == "victim" and m.tasks_in_hand for m in fleet.members())),
            os.kill(process, signal.SIGKILL),
        )
    )
    killer.start()
    assert_same(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING), expected)
    killer.join(SECONDS)
    (fault,) = [member.fault for member in fleet.members() if member.presence is Presence.LOST]
    assert "ActorDiedError" in fault
    assert gone(process)


def test_a_frozen_engine_is_found_by_its_missing_heartbeat_and_killed(launch, standing, make_fleet, prompts, expected):
    session, process = launch(pause_seconds=SECONDS)
    fleet = make_fleet({"standing": standing, "victim": session}, limits=replace(LIMITS, heartbeat_seconds=5.0))
    fleet.load(publish(weights_of(1), version=3, dtype=None), version=3)
    freezer = threading.Thread(
        target=lambda: (
            until(lambda: any(m.name == "victim" and m.tasks_in_hand for m in fleet.members())),
            os.kill(process, signal.SIGSTOP),
        )
    )
    freezer.start()
    assert_same(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING), expected)
    freezer.join(SECONDS)
    assert presence_of(fleet, "victim") is Presence.LOST
    until(lambda: gone(process))


def engines_below(process):
    """Process ids of the engine actors among all that `process` has started."""
    found = []
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"ray::EngineActor"):
                found.append(int(child))
            found += engines_below(child)
    return found


@pytest.fixture
def rollout_node(head):
    """`rollout_node(index)`: starts a Ray node as a rollout pod would; `.kill()` ends all of it at once."""
    nodes = []

    class Node:
        def __init__(self, index):
            ray_command = Path(sys.executable).parent / "ray"
            offered = f'{{"reasonrl_rollout": 1, "reasonrl_rollout_{index}": 1}}'
            options = ["--block", "--num-cpus=1", f"--object-store-memory={100 * 2**20}", f"--resources={offered}"]
            self.process = subprocess.Popen(
                [str(ray_command), "start", f"--address={head}", *options],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

        def kill(self):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(SECONDS)

    def start(index):
        nodes.append(Node(index))
        return nodes[-1]

    yield start
    for node in nodes:
        node.kill()


def test_engines_follow_the_nodes_that_come_and_go(rollout_node, standing, recipe, make_fleet, prompts, expected):
    fleet = make_fleet({"standing": standing})
    fleet.load(publish(weights_of(1), version=3, dtype=None), version=3)
    membership = Membership(fleet, recipe, resource="reasonrl_rollout", start_seconds=SECONDS, answer_seconds=60.0, period_seconds=0.2)
    try:
        node = rollout_node(3)
        until(lambda: presence_of(fleet, "rollout-3") is Presence.LIVE)
        assert_same(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING), expected)
        assert {member.name: bool(member.tasks_done) for member in fleet.members()} == {"standing": True, "rollout-3": True}

        (engine,) = engines_below(node.process.pid)
        os.kill(engine, signal.SIGKILL)
        until(lambda: presence_of(fleet, "rollout-3") is not Presence.LIVE)
        until(lambda: presence_of(fleet, "rollout-3") is Presence.LIVE)
        assert_same(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING), expected)

        node.kill()
        until(lambda: [member.name for member in fleet.members()] == ["standing"])
        assert_same(fleet.sample(prompts, responses_per_prompt=2, setting=SETTING), expected)
    finally:
        membership.close()


def test_a_job_that_no_engine_can_be_made_for_fails_the_fleet(head, make_fleet, prompts):
    fleet = make_fleet({})
    fleet.load(publish(weights_of(1), version=3, dtype=None), version=3)
    resource = next(name for name in ray.nodes()[0]["Resources"] if name.startswith("node:"))
    membership = Membership(fleet, Refusing(), resource=resource, start_seconds=SECONDS, period_seconds=0.2)
    try:
        with pytest.raises(RolloutError, match="no such engine"):
            fleet.sample(prompts, responses_per_prompt=1, setting=SETTING)
    finally:
        membership.close()


class Ending:
    """An engine that does not last."""

    def __call__(self):
        os._exit(1)


def test_a_node_on_which_engines_do_not_last_is_told_so(head, standing, make_fleet, monkeypatch):
    monkeypatch.setattr("reasonrl.run.cluster.membership._STARTS", 2)
    fleet = make_fleet({"standing": standing})
    resource = next(name for name in ray.nodes()[0]["Resources"] if name.startswith("node:"))
    told = Path(os.environ[DIRECTORY_VARIABLE], COMPLAINT_FILE)
    membership = Membership(fleet, Ending(), resource=resource, start_seconds=SECONDS, period_seconds=0.2)
    try:
        until(told.exists)
    finally:
        membership.close()
    assert "2 engines in a row ended here without a task done, the last: " in told.read_text()


class Publisher:
    """Publishes weights, as rank 0 does, and owns them."""

    def publish(self):
        return publish(weights_of(1), version=3, dtype=None)


def cannot_be_had(reference):
    try:
        ray.get(reference, timeout=1.0)
    except ray.exceptions.ObjectLostError:
        return True
    except ray.exceptions.GetTimeoutError:
        pass
    return False


def test_weights_whose_rank_has_died_are_no_fault_of_the_engines(standing, make_fleet, prompts):
    fleet = make_fleet({"standing": standing})
    publisher = ray.remote(num_cpus=0)(Publisher).remote()
    published = ray.get(publisher.publish.remote(), timeout=SECONDS)
    ray.kill(publisher)
    until(lambda: cannot_be_had(published.reference))
    with pytest.raises(WeightsGoneError, match="weights of version 3: the rank that published them has died"):
        fleet.load(published, version=3)
    assert presence_of(fleet, "standing") is not Presence.LOST
    with pytest.raises(WeightsGoneError):
        fleet.sample(prompts, responses_per_prompt=2, setting=SETTING)


def test_weights_that_do_not_fit_into_the_object_store_name_the_field_to_raise(head):
    """The store of this head has 100 MiB."""
    with pytest.raises(RunInputError, match=r"take 120 MiB.*sharedMemory to at least 1Gi"):
        publish([("large", torch.zeros(120, 2**18))], version=1, dtype=None)


def test_nodes_are_named_after_their_pods():
    def node(**changes):
        return {"Alive": True, "NodeID": "abcdef0123456789", "Resources": {"CPU": 1.0, "reasonrl_rollout": 1.0}} | changes

    nodes = [
        node(Resources={"reasonrl_rollout": 1.0, "reasonrl_rollout_12": 1.0}),
        node(),
        node(Alive=False),
        node(Resources={"reasonrl_trainer": 1.0, "reasonrl_trainer_0": 1.0}),
    ]
    assert [found.name for found in engine_nodes(nodes, resource="reasonrl_rollout")] == ["rollout-12", "rollout-abcdef01"]
