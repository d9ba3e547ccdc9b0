"""Every way of getting a job wrong that we know of: which field is named, and what the message says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError

KL = {"schedule": {"type": "constant", "value": 0.001}}
PHASE = {"name": "ctx-4k", "maxResponseTokens": 4096, "until": {"steps": 10}}
SCRATCH = {"hiddenSize": 128, "heads": 4, "contextTokens": 4096}
TASK = {"task": {"name": "chainedDigits", "seed": 1}}
ON_A_TASK = {
    "spec.model": {"scratch": SCRATCH},
    "spec.prompt": {"template": "raw", "maxTokens": 96},
    "spec.data.train[0]": TASK,
}
SFT = {"train": [{"path": "sft.jsonl"}], "steps": 100}
BENCHMARK = {"name": "aime24", "path": "aime.jsonl"}
DATA_VOLUME = {"claimName": "data", "mountPath": "/data"}
ENDLESS: dict[str, object] = {}


class Bad(NamedTuple):
    """The minimal job with `edits` has a problem at `field` whose message contains `says`."""

    edits: Mapping[str, object]
    field: str
    says: str


BAD_JOBS = [
    # The object itself.
    Bad({"apiVersion": "reasonrl.dev/v1"}, "apiVersion", "must be reasonrl.dev/v1alpha1"),
    Bad({"kind": "ReasoningJob"}, "kind", "must be ReasoningRLJob"),
    Bad({"status": {}}, "status", "there is no such field"),
    Bad({"metadata.name": "First_Job"}, "metadata.name", "lower-case letters, digits and dashes"),
    Bad({"metadata.name": "a" * 60}, "metadata.name", "has 60 characters; at most 50"),
    # Names, types and bounds.
    Bad({"spec.algoritm": {}}, "spec.algoritm", "did you mean algorithm?"),
    Bad({"spec.learningRate": 1e-6}, "spec.learningRate", "spec.algorithm.optimizer.learningRate"),
    Bad({"spec.entropyCoefficient": 0.0}, "spec.entropyCoefficient", "there is spec.algorithm.entropy.coefficient"),
    Bad({"spec.algorithm.prompts_per_step": 8}, "spec.algorithm.prompts_per_step", "did you mean promptsPerStep"),
    Bad({"spec.somethingElse": 1}, "spec.somethingElse", "reasonrl explain spec lists"),
    Bad({"spec.algorithm.promptsPerStep": "128"}, "spec.algorithm.promptsPerStep", "write 128 without quotes"),
    Bad({"spec.algorithm.promptsPerStep": 12.5}, "spec.algorithm.promptsPerStep", "must be a whole number"),
    Bad({"spec.algorithm.promptsPerStep": True}, "spec.algorithm.promptsPerStep", "must be a whole number"),
    Bad({"spec.algorithm.promptsPerStep": 0}, "spec.algorithm.promptsPerStep", "must be at least 1"),
    Bad({"spec.phases[0].maxResponseTokens": "2k"}, "spec.phases[0].maxResponseTokens", "without a unit"),
    Bad({"spec.algorithm.optimizer.learningRate": float("nan")}, "spec.algorithm.optimizer.learningRate", "finite"),
    Bad({"spec.algorithm.optimizer.learningRate": -1e-6}, "spec.algorithm.optimizer.learningRate", "more than 0"),
    Bad({"spec.algorithm.optimizer": None}, "spec.algorithm.optimizer", "is empty"),
    Bad({"spec.model.dtype": "bf16"}, "spec.model.dtype", "did you mean bfloat16?"),
    Bad({"spec.model.reference": True}, "spec.model.reference", "must be an object with fields such as enabled"),
    Bad({"spec.rewards": {"type": "answer"}}, "spec.rewards", "must be a list: put - in front of each item"),
    Bad({"spec.rewards": []}, "spec.rewards", "needs at least 1"),
    Bad({"spec.rewards[0].type": "answr"}, "spec.rewards[0].type", "did you mean answer?"),
    Bad({"spec.rewards[0]": {"weight": 1.0}}, "spec.rewards[0].type", "is required: one of answer, format, function, overlong"),
    Bad({"spec.rewards[0].timeout": 3}, "spec.rewards[0].timeout", "did you mean timeoutSeconds"),
    Bad({"spec.algorithm.kl": {}}, "spec.algorithm.kl.schedule", "is required"),
    Bad({"spec.algorithm.kl.schedule": {"type": "cosine", "start": 0.1}}, "spec.algorithm.kl.schedule.steps", "is required"),
    Bad({"spec.checkpoint.maxBytes": "50GB"}, "spec.checkpoint.maxBytes", "unknown unit 'GB'"),
    Bad({"spec.trainer.gpuMemory": "lots"}, "spec.trainer.gpuMemory", "quantity of bytes such as 50Gi"),
    Bad({"spec.prompt.text": ""}, "spec.prompt.text", "must not be empty"),
    # Of a later version.
    Bad({"spec.rollout.tools": [{"type": "python"}]}, "spec.rollout.tools", "from version 0.5"),
    Bad({"spec.rewards[1]": {"type": "responseLength"}}, "spec.rewards[1].type", "from version 0.5"),
    Bad({"spec.rewards[1]": {"type": "reasoningActions", "words": ["wait"]}}, "spec.rewards[1].type", "from version 0.5"),
    Bad({"spec.selection": [{"type": "questionSelection"}]}, "spec.selection[0].type", "from version 0.5"),
    Bad({"spec.selection": [{"type": "responseSelection"}]}, "spec.selection[0].type", "from version 0.5"),
    Bad({"spec.data.filters": [{"type": "passRate", "min": 0.1, "max": 0.9}]}, "spec.data.filters[0].type", "from version 0.5"),
    # Model and prompt.
    Bad({"spec.model": {}}, "spec.model", "needs a model"),
    Bad({"spec.model.scratch": SCRATCH}, "spec.model.scratch", "path and scratch are both given"),
    Bad({"spec.model.path": "hf://Qwen2.5-1.5B"}, "spec.model.path", "hf://organisation/name"),
    Bad({"spec.model.path": "hf://Qwen/Qwen2.5-1.5B@main"}, "spec.model.path", "its version goes to revision"),
    Bad({"spec.model.path": "s3://bucket/model"}, "spec.model.path", "fetch the model to a directory first"),
    Bad({"spec.model": {"path": "model", "revision": "main"}}, "spec.model.revision", "only a model of the hub"),
    Bad({**ON_A_TASK, "spec.model.scratch.hiddenSize": 130}, "spec.model.scratch.hiddenSize", "multiple of 2 × heads = 8"),
    Bad({**ON_A_TASK, "spec.model.scratch.keyValueHeads": 3}, "spec.model.scratch.keyValueHeads", "must divide heads (4)"),
    Bad({**ON_A_TASK, "spec.model.scratch.contextTokens": 2100}, "spec.model.scratch.contextTokens", "longest prompt (96)"),
    Bad({**ON_A_TASK, "spec.data.train[0]": {"path": "q.jsonl"}}, "spec.model.scratch", "which must then be a task"),
    Bad({**ON_A_TASK, "spec.prompt.template": "long"}, "spec.prompt.template", "use template: raw"),
    Bad({"spec.algorithm.kl": KL, "spec.model.reference.enabled": False}, "spec.model.reference.enabled", "needs the reference"),
    Bad({"spec.model.reference.resetEverySteps": 200}, "spec.model.reference.resetEverySteps", "no reference to reset"),
    Bad({"spec.algorithm.kl": KL, "spec.model.reference.resetOptimizer": True}, "spec.model.reference.resetOptimizer", "never reset"),
    Bad({"spec.prompt": {"template": "custom"}}, "spec.prompt.text", "needs a text with {question}"),
    Bad({"spec.prompt": {"template": "custom", "text": "Solve it."}}, "spec.prompt.text", "it has it 0 times"),
    Bad({"spec.prompt": {"template": "custom", "text": "{question} {question}"}}, "spec.prompt.text", "it has it 2 times"),
    Bad({"spec.prompt": {"template": "long", "text": "{question}"}}, "spec.prompt.text", "use template: custom"),
    Bad({"spec.prompt": {"template": "short", "system": "Think."}}, "spec.prompt.system", "use template: chat"),
    # Data.
    Bad({"spec.data.train": []}, "spec.data.train", "needs at least 1"),
    Bad({"spec.data.train[0]": {}}, "spec.data.train[0]", "exactly one of path, huggingFace, reasoningGym, task"),
    Bad({"spec.data.train[0].task": {"name": "chainedDigits"}}, "spec.data.train[0]", "path and task are all given"),
    Bad({"spec.data.train[0].path": "rows.csv"}, "spec.data.train[0].path", "must end in .jsonl"),
    Bad({"spec.data.train[0].path": "hf://org/set"}, "spec.data.train[0].path", "huggingFace: {name: organisation/set}"),
    Bad({"spec.data.train[0]": {**TASK, "answerField": "a"}}, "spec.data.train[0].answerField", "task names its own columns"),
    Bad({"spec.data.train[0].task": {"name": "sums"}}, "spec.data.train[0].task.name", "must be chainedDigits"),
    Bad(
        {"spec.data.train[0]": {"task": {"name": "chainedDigits", "options": {"terms": 3}}}},
        "spec.data.train[0].task.options.terms",
        "minTerms, maxTerms, largestDigit",
    ),
    Bad(
        {"spec.data.train[0]": {"task": {"name": "chainedDigits", "options": {"minTerms": 9, "maxTerms": 4}}}},
        "spec.data.train[0].task.options",
        "2 ≤ minTerms ≤ maxTerms ≤ 26",
    ),
    Bad({"spec.data.train[0].limit": 100}, "spec.algorithm.promptsPerStep", "at most 100 questions"),
    Bad({"spec.data.order": "sortedBy"}, "spec.data.sortField", "needs the name of a column"),
    Bad({"spec.data.sortField": "level"}, "spec.data.sortField", "use order: sortedBy"),
    Bad({"spec.data.sortDescending": True}, "spec.data.sortDescending", "use order: sortedBy"),
    Bad({"spec.data.filters": [{"type": "numericAnswer"}, {"type": "numericAnswer"}]}, "spec.data.filters[1]", "is there already"),
    # The warm start.
    Bad({"spec.sft": {"train": [{"path": "s.jsonl"}]}}, "spec.sft", "give steps or epochs"),
    Bad({"spec.sft": {**SFT, "epochs": 3}}, "spec.sft.epochs", "steps and epochs are both given"),
    Bad({"spec.sft": {**SFT, "warmupSteps": 100}}, "spec.sft.warmupSteps", "never reaches its peak"),
    Bad({"spec.sft": {**SFT, "train": [{"reasoningGym": {"name": "gcd"}}]}}, "spec.sft.train[0].reasoningGym", "no responses to imitate"),
    Bad({"spec.sft": {**SFT, "train": [{**TASK, "responseField": "r"}]}}, "spec.sft.train[0].responseField", "its own worked responses"),
    Bad({"spec.sft": {**SFT, "train": [{}]}}, "spec.sft.train[0]", "names no questions"),
    # The algorithm.
    Bad(
        {"spec.algorithm": {"promptsPerStep": 100, "updatesPerStep": 8}},
        "spec.algorithm.promptsPerStep",
        "use 96 or 104 prompts, or updatesPerStep: 5",
    ),
    Bad(
        {"spec.algorithm": {"promptsPerStep": 4, "updatesPerStep": 8}},
        "spec.algorithm.promptsPerStep",
        "use 8 prompts, or updatesPerStep: 4",
    ),
    Bad({"spec.algorithm.rolloutsPerPrompt": 1}, "spec.algorithm.rolloutsPerPrompt", "grpo compares the responses"),
    Bad(
        {"spec.algorithm": {"rolloutsPerPrompt": 1, "advantage": {"estimator": "rloo"}}},
        "spec.algorithm.rolloutsPerPrompt",
        "rloo compares the responses",
    ),
    Bad({"spec.algorithm.advantage": {"estimator": "dr_grpo", "epsilon": 0.1}}, "spec.algorithm.advantage.epsilon", "divides by no"),
    Bad({"spec.algorithm.loss": {"type": "cispo", "clipLow": 0.1}}, "spec.algorithm.loss.clipLow", "no lower bound"),
    Bad({"spec.algorithm.loss": {"type": "cispo", "dualClip": 3.0}}, "spec.algorithm.loss.dualClip", "no dual clip"),
    Bad({"spec.algorithm.importanceSampling.floor": 0.1}, "spec.algorithm.importanceSampling.floor", "use correction: mask"),
    Bad(
        {"spec.algorithm.importanceSampling": {"correction": "none", "cap": 3.0}},
        "spec.algorithm.importanceSampling.cap",
        "use correction: truncate",
    ),
    Bad(
        {"spec.algorithm.importanceSampling": {"correction": "none", "level": "sequence"}},
        "spec.algorithm.importanceSampling.level",
        "use correction: truncate",
    ),
    Bad(
        {"spec.algorithm.importanceSampling": {"correction": "mask", "oldLogProbs": "sampler"}},
        "spec.algorithm.importanceSampling.correction",
        "nothing to mask",
    ),
    Bad({"spec.algorithm.entropy.delta": 0.001}, "spec.algorithm.entropy.delta", "give target"),
    Bad({"spec.algorithm.entropy.maxCoefficient": 0.1}, "spec.algorithm.entropy.maxCoefficient", "give target"),
    Bad({"spec.algorithm.entropy": {"target": 0.2, "coefficient": 0.1}}, "spec.algorithm.entropy.coefficient", "at most maxCoefficient"),
    Bad({"spec.algorithm.entropy": {"target": 0.2, "delta": 0.1}}, "spec.algorithm.entropy.delta", "larger than the whole range"),
    Bad(
        {"spec.algorithm.kl.schedule": {"type": "piecewise", "points": [{"step": 5, "value": 0.1}]}},
        "spec.algorithm.kl.schedule.points[0].step",
        "must be step 0",
    ),
    Bad(
        {"spec.algorithm.kl.schedule": {"type": "piecewise", "points": [{"step": 0, "value": 0.1}, {"step": 0, "value": 0.0}]}},
        "spec.algorithm.kl.schedule.points[1].step",
        "must be more than 0",
    ),
    # Rewards and selection.
    Bad({"spec.rewards[0].weight": 0.0}, "spec.rewards", "every weight is 0"),
    Bad({"spec.rewards": [{"type": "format"}]}, "spec.rewards", "a format gate only multiplies"),
    Bad({"spec.rewards": [{"type": "overlong", "bufferTokens": 100}]}, "spec.rewards", "overlong alone"),
    Bad({"spec.rewards[1]": {"type": "format", "mode": "gate", "weight": 2.0}}, "spec.rewards[1].weight", "use mode: additive"),
    Bad({"spec.rewards[1]": {"type": "answer"}}, "spec.rewards[1]", "is a reward already"),
    Bad({"spec.rewards[0].correct": -1.0}, "spec.rewards[0].correct", "worth more than a wrong one"),
    Bad({"spec.rewards[0].missing": 2.0}, "spec.rewards[0].missing", "worth less than a right one"),
    Bad({"spec.rewards[0].weight": -1.0}, "spec.rewards[0].weight", "pays for wrong answers"),
    Bad({"spec.rewards[1]": {"type": "overlong"}}, "spec.rewards[1].bufferTokens", "ctx-2k has 2048"),
    Bad({"spec.rewards[1]": {"type": "overlong", "bufferTokens": 9, "weight": -1.0}}, "spec.rewards[1].weight", "pay for length"),
    Bad({"spec.rewards[1]": {"type": "function", "path": "r.py", "function": "a b"}}, "spec.rewards[1].function", "must match"),
    Bad({"spec.selection": [{"type": "overlengthMask"}] * 2}, "spec.selection[1].type", "is there already"),
    # Phases.
    Bad({"spec.phases": []}, "spec.phases", "needs at least 1"),
    Bad({"spec.phases[0].until": ENDLESS}, "spec.phases[0].until", "might never end"),
    Bad({"spec.phases[0].until": {"truncatedShare": {}}}, "spec.phases[0].until", "give steps, or maxSteps"),
    Bad({"spec.phases[0].until.maxSteps": 300}, "spec.phases[0].until.maxSteps", "steps: 200 ends the phase already"),
    Bad({"spec.phases[0].until.stepz": 300}, "spec.phases[0].until.stepz", "did you mean steps"),
    Bad({"spec.phases[1]": {**PHASE, "maxResponseTokens": 1024}}, "spec.phases[1].maxResponseTokens", "less than 2048"),
    Bad({"spec.phases[1]": {**PHASE, "name": "ctx-2k"}}, "spec.phases[1].name", "two phases have this name"),
    Bad({"spec.phases[0].advance": "Manual"}, "spec.phases[0].advance", "the first phase begins at once"),
    Bad({"spec.algorithm.updatesPerStep": 4, "spec.phases[0].promptsPerStep": 10}, "spec.phases[0].promptsPerStep", "does not divide"),
    Bad({"spec.phases[0].klSchedule": {"type": "constant", "value": 0.1}}, "spec.phases[0].klSchedule", "KL is off"),
    Bad(
        {
            "spec.algorithm.kl.schedule": {"type": "adaptive", "start": 0.1, "target": 0.1},
            "spec.phases[0].klSchedule": {"type": "constant", "value": 0.1},
        },
        "spec.phases[0].klSchedule",
        "adaptive KL coefficient",
    ),
    Bad(
        {"spec.algorithm.kl": KL, "spec.phases[0].klSchedule": {"type": "adaptive", "start": 0.1, "target": 0.1}},
        "spec.phases[0].klSchedule.type",
        "must be one of constant, linear, cosine, piecewise",
    ),
    Bad({"spec.phases[0].until.truncatedShare": {"above": 1.0}}, "spec.phases[0].until.truncatedShare.above", "never above 1"),
    Bad({"spec.phases[0].until.truncatedShare": {"forSteps": 200}}, "spec.phases[0].until.truncatedShare.forSteps", "ends after 200"),
    Bad({"spec.phases[0].until.responseLength": {"above": 2048}}, "spec.phases[0].until.responseLength.above", "never happens"),
    Bad({"spec.phases[0].until.lengthPlateau": {"window": 100}}, "spec.phases[0].until.lengthPlateau.window", "needs 200 steps"),
    Bad(
        {"spec.rewards[0]": {"type": "function", "path": "r.py"}, "spec.phases[0].until.accuracyPlateau": {}},
        "spec.phases[0].until.accuracyPlateau",
        "add {type: answer}",
    ),
    Bad({"spec.algorithm.loss.type": "cispo", "spec.phases[0].clipLow": 0.1}, "spec.phases[0].clipLow", "no lower bound"),
    Bad(
        {"spec.phases[0].rollout": {"replicas": 1}, "spec.rollout": {"replicas": 3, "minReplicas": 2}},
        "spec.phases[0].rollout.replicas",
        "minReplicas (2)",
    ),
    # Engines.
    Bad({"spec.rollout.minReplicas": 2}, "spec.rollout.minReplicas", "at most replicas (1)"),
    Bad({"spec.rollout.gpusPerReplica": 2}, "spec.rollout.gpusPerReplica", "uses one GPU"),
    Bad({"spec.rollout": {"placement": "Colocated", "gpusPerReplica": 1}}, "spec.rollout.gpusPerReplica", "share those of the trainers"),
    Bad({"spec.rollout.memoryUtilization": 0.5}, "spec.rollout.memoryUtilization", "engine: vllm alone"),
    Bad({"spec.rollout.keyValueCache": "2Gi"}, "spec.rollout.keyValueCache", "engine: vllm alone"),
    Bad(
        {"spec.rollout": {"engine": "vllm", "gpusPerReplica": 1, "keyValueCache": "2Gi"}},
        "spec.rollout.keyValueCache",
        "use memoryUtilization",
    ),
    Bad({"spec.trainer.zeroStage": 3}, "spec.trainer.zeroStage", "use engine: deepspeed"),
    Bad({"spec.trainer.zeroStage": 4}, "spec.trainer.zeroStage", "at most 3"),
    Bad({"spec.trainer.offload": "optimizer"}, "spec.trainer.offload", "use engine: deepspeed"),
    Bad({"spec.trainer.replicas": 2}, "spec.trainer.replicas", "use engine: deepspeed"),
    Bad({"spec.trainer.gpusPerReplica": 8}, "spec.trainer.gpusPerReplica", "use engine: deepspeed"),
    Bad({"spec.trainer": {"engine": "deepspeed", "offload": "optimizer"}}, "spec.trainer.offload", "zeroStage 1 or more"),
    Bad({"spec.trainer": {"engine": "deepspeed", "zeroStage": 2, "offload": "parameters"}}, "spec.trainer.offload", "needs zeroStage 3"),
    Bad({"spec.trainer.gpuMemory": "40Gi"}, "spec.trainer.gpuMemory", "asks for no GPU"),
    # Evaluation, checkpoints, telemetry.
    Bad({"spec.evaluation.benchmarks": [BENCHMARK, BENCHMARK]}, "spec.evaluation.benchmarks[1].name", "two benchmarks have this name"),
    Bad(
        {"spec.evaluation.benchmarks": [{**BENCHMARK, "name": "reward"}]},
        "spec.evaluation.benchmarks[0].name",
        "stands for the training reward",
    ),
    Bad({"spec.evaluation.benchmarks": [{"name": "a"}]}, "spec.evaluation.benchmarks[0]", "names no questions"),
    Bad({"spec.evaluation.benchmarks": [{**BENCHMARK, "temperature": 0.0}]}, "spec.evaluation.benchmarks[0].samples", "use samples: 1"),
    Bad(
        {"spec.evaluation.benchmarks": [{**BENCHMARK, "prompt": {"template": "custom"}}]},
        "spec.evaluation.benchmarks[0].prompt.text",
        "{question}",
    ),
    Bad({"spec.evaluation.benchmarks": [{**BENCHMARK, "path": "questions.jsonl"}]}, "spec.evaluation.benchmarks[0]", "the same file"),
    Bad(
        {**ON_A_TASK, "spec.evaluation.benchmarks": [{"name": "a", "task": {"name": "chainedDigits", "seed": 9}}]},
        "spec.evaluation.benchmarks[0]",
        "seeds that differ modulo 8",
    ),
    Bad(
        {"spec.rewards[0]": {"type": "function", "path": "r.py"}, "spec.evaluation.benchmarks": [BENCHMARK]},
        "spec.evaluation.benchmarks",
        "add {type: answer}",
    ),
    Bad(
        {"spec.checkpoint.keepBest": {"metric": "aime"}, "spec.evaluation.benchmarks": [BENCHMARK]},
        "spec.checkpoint.keepBest.metric",
        "use aime24",
    ),
    Bad({"spec.checkpoint.keepLast": 0}, "spec.checkpoint.keepLast", "at least 1"),
    Bad({"spec.telemetry.prometheusAddress": "0.0.0.0"}, "spec.telemetry.prometheusAddress", "without prometheusPort"),
    Bad({"spec.telemetry.prometheusPort": 70000}, "spec.telemetry.prometheusPort", "at most 65535"),
    # What a cluster alone reads.
    Bad({"spec.runtimeRef": {"kind": "Runtime", "name": "h100"}}, "spec.runtimeRef.kind", "must be one of ClusterReasoningRLRuntime"),
    Bad({"spec.suspend": "yes"}, "spec.suspend", "must be true or false"),
    Bad({"spec.scheduling.gang": "kueue"}, "spec.scheduling.gang", "did you mean Kueue?"),
    Bad({"spec.scheduling.gang": "Kueue"}, "spec.scheduling.queue", "needs the name of a LocalQueue"),
    Bad({"spec.scheduling.queue": "team-a"}, "spec.scheduling.queue", "gang: None has no queues"),
    Bad({"spec.scheduling.priority": "high"}, "spec.scheduling.priority", "priorityClassName"),
    Bad({"spec.failurePolicy.trainer.maxRestarts": -1}, "spec.failurePolicy.trainer.maxRestarts", "at least 0"),
    Bad(
        {"spec.failurePolicy.rollout": {"backoffSeconds": 600}},
        "spec.failurePolicy.rollout.backoffSeconds",
        "at most maxBackoffSeconds (300)",
    ),
    Bad({"spec.failurePolicy.onUnhealthy.nan": "Stop"}, "spec.failurePolicy.onUnhealthy.nan", "None, Pause, Rollback"),
    Bad({"spec.failurePolicy.stallDeadlineSeconds.update": 0}, "spec.failurePolicy.stallDeadlineSeconds.update", "at least 1"),
    Bad({"spec.ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished", "at least 0"),
    Bad({"spec.activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds", "at least 1"),
    Bad({"spec.checkpoint.volume.claimName": "My_Claim"}, "spec.checkpoint.volume.claimName", "lower-case letters"),
    Bad({"spec.volumes": [{"claimName": "data", "mountPath": "data"}]}, "spec.volumes[0].mountPath", "must match"),
    Bad({"spec.volumes": [{"claimName": "data", "mountPath": "/checkpoints/x"}]}, "spec.volumes[0].mountPath", "is taken by the pods"),
    Bad({"spec.volumes": [DATA_VOLUME, DATA_VOLUME]}, "spec.volumes[1].mountPath", "mounted there already"),
    Bad({"spec.network": {"policy": "None", "egress": [{"cidr": "10.0.0.0/8"}]}}, "spec.network.egress", "restricts nothing"),
    Bad({"spec.network.egress": [{"cidr": "example.org"}]}, "spec.network.egress[0].cidr", "must match"),
    Bad({"spec.image": "my image"}, "spec.image", "must match"),
    Bad({"spec.pods.trainers.image": "a"}, "spec.pods.trainers", "did you mean trainer?"),
    Bad({"spec.pods.trainer.env": [{"name": "A"}]}, "spec.pods.trainer.env[0]", "exactly one of value and valueFrom"),
    Bad({"spec.pods.trainer.env": [{"name": "A", "value": "1"}] * 2}, "spec.pods.trainer.env[1].name", "is given already"),
    Bad(
        {"spec.pods.trainer.env": [{"name": "A", "valueFrom": {}}]},
        "spec.pods.trainer.env[0].valueFrom",
        "exactly one of secretKeyRef and configMapKeyRef",
    ),
    Bad({"spec.pods.rollout.resources.limits": {"nvidia.com/gpu": 1}}, "spec.pods.rollout.resources.limits", "counted by gpusPerReplica"),
    Bad({"spec.pods.rollout.resources.limits": {"cpu": 0.5}}, "spec.pods.rollout.resources.limits.cpu", "write it in thousandths, 500m"),
    Bad({"spec.pods.rollout.resources.limits": {"cpu": "lots"}}, "spec.pods.rollout.resources.limits.cpu", "such as 4, 500m or 64Gi"),
    Bad(
        {"spec.pods.rollout.resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": 1}}},
        "spec.pods.rollout.resources.requests",
        "more than its limit (1)",
    ),
    Bad(
        {"spec.pods.trainer": {"sharedMemory": "16Gi", "resources": {"limits": {"memory": "8Gi"}}}},
        "spec.pods.trainer.sharedMemory",
        "which is less (8Gi)",
    ),
    Bad({"spec.pods.trainer.labels": {"reasonrl.dev/job": "x"}}, "spec.pods.trainer.labels", "the operator's own"),
    Bad({"spec.pods.trainer.tolerations": [{"operator": "Exists", "value": "a"}]}, "spec.pods.trainer.tolerations[0].value", "no value"),
    Bad({"spec.pods.trainer.tolerations": [{"effect": "NoExecute"}]}, "spec.pods.trainer.tolerations[0].key", "compares a key"),
    Bad({"spec.telemetry": {"rolloutsEverySteps": 0, "rolloutsPerStep": 3}}, "spec.telemetry.rolloutsPerStep", "writes none"),
]


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
    assert len(BAD_JOBS) >= 60
    assert len({(repr(bad.edits), bad.field) for bad in BAD_JOBS}) == len(BAD_JOBS)


@pytest.mark.parametrize("path", ["spec.model", "spec.data", "spec.rewards", "spec.phases", "spec", "metadata", "kind", "apiVersion"])
def test_a_missing_part_is_named(path: str, job_with: Callable[[Mapping[str, object]], dict[str, Any]], removed: object) -> None:
    with pytest.raises(JobError) as raised:
        parse_job(job_with({path: removed}))
    assert [problem.field for problem in raised.value.problems] == [path]
    assert raised.value.problems[0].message.startswith("is required: ")
