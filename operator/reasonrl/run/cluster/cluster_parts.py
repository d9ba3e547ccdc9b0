"""The loop's parts when they live in other processes: a gang of trainer ranks and a fleet of rollout engines, as Ray actors."""

from __future__ import annotations

import math
import shutil
import time
from contextlib import ExitStack

import torch

from reasonrl.api.failure_answers import stage_deadline
from reasonrl.api.job import JobSpec, ReasoningRLJob
from reasonrl.rollout.fleet import RolloutFleet
from reasonrl.rollout.fleet_member import Presence
from reasonrl.rollout.fleet_messages import FleetLimits
from reasonrl.rollout.protocol import RolloutEngine
from reasonrl.run.cluster.engine_recipe import EngineRecipe, engine_recipe
from reasonrl.run.cluster.errors import ClusterStartError
from reasonrl.run.cluster.fleet_telemetry import FleetTelemetry
from reasonrl.run.cluster.membership import Membership
from reasonrl.run.cluster.nodes import role_resource, wait_for_trainers
from reasonrl.run.cluster.rank_actor import RankRecipe
from reasonrl.run.cluster.trainer_gang import TrainerGang, start_gang
from reasonrl.run.policy_source import model_place
from reasonrl.run.rollout_engine import engine_dtype
from reasonrl.run.run_job import Start
from reasonrl.run.telemetry.telemetry import Telemetry
from reasonrl.run.trainer_rules import trainer_rules
from reasonrl.train.protocol import Trainer
from reasonrl.train.trainer_files import POLICY_DIRECTORY, write_policy
from reasonrl.train.zero_rules import ZeroRules

START_DIRECTORY = ".start"
_LOOK_SECONDS = 0.2
RANK_TIMEOUT_SECONDS = 600.0
"""No rank is that much slower than another at the same work."""
TASKS_PER_STEP = 8
"""About so many tasks a step's questions are cut into, for engines that do one task at a time."""


class ClusterParts:
    """See `RunParts`. Ray must be connected. `events` hears what happens to the engines."""

    def __init__(self, telemetry: Telemetry, *, events: FleetTelemetry) -> None:
        self._telemetry = telemetry
        self._events = events
        self._engine: EngineRecipe | None = None
        self.gang: TrainerGang | None = None

    def trainer(self, start: Start, stack: ExitStack) -> TrainerGang:
        """Raises ClusterStartError when trainer pods are missing, RankLostError when a rank does not start, RunInputError for a model that
        cannot be loaded."""
        spec = start.job.spec
        model, revision = model_files(start)
        nodes = wait_for_trainers(spec.trainer.replicas, seconds=stage_deadline(spec.failure_policy, "loading"))
        recipe = RankRecipe(
            model_directory=model,
            revision=revision,
            rules=trainer_rules(spec),
            engine=spec.trainer.engine,
            zero=ZeroRules(stage=spec.trainer.zero_stage, offload=spec.trainer.offload),
        )
        gang = start_gang(
            nodes,
            recipe,
            ranks_per_node=max(1, spec.trainer.gpus_per_replica),
            gpus_per_rank=min(1, spec.trainer.gpus_per_replica),
            rank_timeout_seconds=min(RANK_TIMEOUT_SECONDS, stage_deadline(spec.failure_policy, "update")),
            dtype=engine_dtype(spec),
            deadlines=spec.failure_policy.stall_deadline_seconds,
        )
        stack.callback(gang.close)
        gang.after_publishing(self._telemetry.weights_sent)
        self.gang = gang
        self._engine = engine_recipe(spec, model, start.tokenizer, revision=revision)
        shutil.rmtree(start.directory / START_DIRECTORY, ignore_errors=True)
        return gang

    def rollouts(self, start: Start, trainer: Trainer, stack: ExitStack) -> RolloutEngine:
        """Returns when `spec.rollout.minReplicas` engines are there. Raises ClusterStartError when they do not come in time, RolloutError
        when they say that the job asks for what they cannot do."""
        assert self._engine is not None
        assert self.gang is not None
        spec = start.job.spec
        loading = stage_deadline(spec.failure_policy, "loading")
        fleet = RolloutFleet(
            prompts_per_task=prompts_per_task(spec),
            limits=fleet_limits(spec),
            weight_version=None,
            on_event=self._events.tell,
        )
        stack.callback(fleet.close)
        self._events.watch(fleet)
        colocated = spec.rollout.placement == "Colocated"
        membership = Membership(
            fleet,
            self._engine,
            resource=role_resource("trainer" if colocated else "rollout"),
            gpus=spec.rollout.gpus_per_replica,
            start_seconds=loading,
        )
        stack.callback(membership.close)
        if colocated:
            self.gang.before_work(fleet.sleep)
        wait_for_engines(fleet, spec.rollout.min_replicas, seconds=loading)
        return fleet

    def stacks(self) -> str:
        """What the ranks are doing, for whoever looks into a stall."""
        return "no trainer rank has started" if self.gang is None else self.gang.stacks()

    def max_staleness(self, job: ReasoningRLJob) -> int:
        return job.spec.rollout.max_staleness


def wait_for_engines(fleet: RolloutFleet, count: int, *, seconds: float) -> None:
    due = time.monotonic() + seconds
    while (present := sum(member.presence is not Presence.LOST for member in fleet.members())) < count:
        if time.monotonic() > due:
            raise ClusterStartError(f"{present} of at least {count} rollout engines (spec.rollout.minReplicas) came within {seconds:.0f} s")
        time.sleep(_LOOK_SECONDS)


def model_files(start: Start) -> tuple[str, str]:
    """Where every rank reads the model, and which revision of it: the checkpoint, what the job names, or what was made for this run."""
    spec = start.job.spec
    if start.checkpoint is not None:
        return str(start.checkpoint / POLICY_DIRECTORY), "main"
    if spec.model.path is not None and spec.sft is None:
        return model_place(spec.model.path, start.base_directory), spec.model.revision or "main"
    directory = start.directory / START_DIRECTORY
    shutil.rmtree(directory, ignore_errors=True)
    write_policy(directory, model=start.fresh_model(), dtype=torch.float32)
    return str(directory), "main"


def prompts_per_task(spec: JobSpec) -> int:
    """By the job alone, so that the responses are the same however many engines there are. vLLM batches over tasks, and a small one holds
    nobody up; an engine that does one task at a time wants it large."""
    if spec.rollout.engine == "vllm":
        return 1
    algorithm = spec.algorithm
    room = max(1, spec.rollout.max_sequences // algorithm.rollouts_per_prompt)
    return min(room, math.ceil(algorithm.prompts_per_step / TASKS_PER_STEP))


def fleet_limits(spec: JobSpec) -> FleetLimits:
    return FleetLimits(
        task_seconds=stage_deadline(spec.failure_policy, "rollout"),
        load_seconds=stage_deadline(spec.failure_policy, "weightSync"),
        empty_seconds=stage_deadline(spec.failure_policy, "rollout"),
    )
