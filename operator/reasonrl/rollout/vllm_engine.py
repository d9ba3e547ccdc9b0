"""A rollout engine around vLLM, in this process.

vLLM batches continuously over all requests in hand and shares the prefix of a group. What this module adds is what a learner needs
and vLLM does not promise: log-probs of the distribution that was sampled from, weights that really are the ones pushed, tasks that come
and go one by one, and the same answer to the same question.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from reasonrl.rl.records import FinishReason, Prompt, Question, Response
from reasonrl.rollout.agreement import TOLERANCE
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting, WeightLoadError
from reasonrl.rollout.request_check import check_request
from reasonrl.rollout.response_text import response_texts
from reasonrl.rollout.task import RolloutTask, TaskOutcome, completed
from reasonrl.rollout.vllm_requests import VllmRequests
from reasonrl.rollout.vllm_start import TRANSFER_BACKEND, VllmSettings, import_vllm, shut_down, start_engine
from reasonrl.rollout.weight_announcement import WeightAnnouncement
from reasonrl.rollout.weight_canary import WeightCanary
from reasonrl.rollout.weight_check import checked_weights
from reasonrl.rollout.weight_offer import LocalOffer, WeightOffer, shared_offer

PROBE_EVERY = 8
"""Loads from one log-prob probe to the next."""
_PROBE_TOKENS = 2


class VllmEngine:
    """Samples with the model in `directory` until other weights are loaded. It is a `RolloutEngine` and a `SteppingEngine`, for one thread.

    `stop_token_ids` end a response; `max_sequences` are decoded at once; `context_tokens` bounds prompt and response together (the
    model's own by default). `dtype` is float32 or bfloat16. On a GPU `memory_utilization` is the share of its memory to take;
    `key_value_cache_bytes` fixes the size of the cache instead, and is the way to size it on a CPU (4 GiB by default).

    `tensor_parallel` processes share the model, on a GPU each; at 1 everything is in this process. With `random_weights` nothing is read
    but the configuration, and `load` must come before the first task. `can_sleep` must be set for `sleep` to give a GPU's memory back.
    The probe (see `load`) follows the first load, every load after one that failed, and every `probe_every`-th.

    `transfer` names vLLM's weight-transfer backend: ours, through host memory, or "nccl" or "ipc" from the trainers' GPUs. The latter
    come from vLLM's trainer-side engines, to which this one is a `VLLMWeightSyncClient`; `adopt` follows each push, and `load` is refused.

    Sets vLLM's environment variables for this process where the user has not. Raises RolloutError when vLLM is not installed, or when it
    cannot do here what is asked. All of this has been run on CPUs only: nothing on a GPU, neither "nccl" nor "ipc", is proven.
    """

    def __init__(
        self,
        directory: Path | str,
        tokenizer: Any,
        *,
        stop_token_ids: Collection[int],
        max_sequences: int,
        dtype: torch.dtype = torch.float32,
        context_tokens: int | None = None,
        memory_utilization: float = 0.85,
        key_value_cache_bytes: int | None = None,
        tensor_parallel: int = 1,
        random_weights: bool = False,
        can_sleep: bool = False,
        probe_every: int = PROBE_EVERY,
        transfer: str = TRANSFER_BACKEND,
    ) -> None:
        vllm = import_vllm()
        settings = VllmSettings(
            directory=directory,
            dtype=dtype,
            max_sequences=max_sequences,
            context_tokens=context_tokens,
            memory_utilization=memory_utilization,
            key_value_cache_bytes=key_value_cache_bytes,
            tensor_parallel=tensor_parallel,
            random_weights=random_weights,
            can_sleep=can_sleep,
            transfer=transfer,
        )
        self._vllm = vllm
        self._dtype = dtype
        self._tokenizer = tokenizer
        self._capacity = max_sequences
        self._in_process = tensor_parallel == 1
        self._on_cpu: bool = vllm.platforms.current_platform.is_cpu()
        self._canary = WeightCanary(directory)
        self._announced = WeightAnnouncement(expected=self._canary.expected, aliases=self._canary.aliases)
        self._transfer = transfer
        self._owns_process_group = not torch.distributed.is_initialized()
        self._engine: Any = start_engine(vllm, settings)
        self._context_tokens: int = self._engine.model_config.max_model_len
        self._requests = VllmRequests(vllm, self._engine, stop_token_ids=stop_token_ids)
        self._version = 0
        self._probe_every = probe_every
        self._loads_to_probe = 1
        self._pushed = False
        self._cache_sizes: list[list[int]] | None = None
        self._unusable: str | None = "it started with random ones" if random_weights else None

    @property
    def weight_version(self) -> int:
        return self._version

    @property
    def capacity(self) -> int:
        return self._capacity

    def sample(self, prompts: Sequence[Prompt], *, responses_per_prompt: int, setting: SamplingSetting) -> list[tuple[Response, ...]]:
        """See `RolloutEngine.sample`. With `top_p` below 1 the sampler log-probs are NaN: vLLM reports those of the nucleus alone, and
        they must not pass for the full distribution's.

        Raises RolloutError for a setting out of range, a prompt that leaves no room in the context, or with no usable weights.
        """
        if self.unfinished():
            raise RolloutError(f"the engine has {self.unfinished()} tasks in hand; a call of its own would mix with them")
        if not prompts:
            return []
        task = RolloutTask(number=0, prompts=tuple(prompts), responses_per_prompt=responses_per_prompt, setting=setting, call=0)
        try:
            self.submit(task)
            while not (outcomes := self.step()):
                pass
        finally:
            self.abandon()
        groups = outcomes[0].groups
        assert groups is not None
        return groups

    def submit(self, task: RolloutTask) -> None:
        """See `SteppingEngine.submit`. Raises RolloutError as `sample` does."""
        if self._unusable is not None:
            raise RolloutError(f"the engine holds no usable weights: {self._unusable}; load a full set of weights first")
        check_request(
            task.prompts, responses_per_prompt=task.responses_per_prompt, setting=task.setting, context_tokens=self._context_tokens
        )
        self._requests.submit(task)

    def step(self) -> list[TaskOutcome]:
        """See `SteppingEngine.step`. Raises RolloutError when the cache is too small for one request, and for log-probs that are not
        finite, after which the engine refuses to sample until other weights are loaded."""
        return [completed(task, self._groups(task, written)) for task, written in self._requests.step()]

    def unfinished(self) -> int:
        return self._requests.tasks

    def unwritten(self) -> int:
        return self._requests.responses

    def abandon(self) -> None:
        self._requests.abandon()

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        """See `RolloutEngine.load`. The offer is checked before anything is touched, and goes in through vLLM's weight-transfer interface.

        A probe follows, not after every load: the engine writes a few tokens, and their log-probs are held against a plain forward pass
        over the offered tensors. When they differ, or when the offer did not arrive whole, WeightLoadError is raised and the
        engine refuses to sample until a load succeeds: vLLM overwrites its weights as it reads, so there is nothing to go back to.
        """
        if self._transfer != TRANSFER_BACKEND:
            raise RolloutError(f"this engine takes its weights by {self._transfer}, from the trainers' GPUs, and by no other way")
        offered = checked_weights(weights, expected=self._canary.expected, aliases=self._canary.aliases)
        self._before_push()
        self._push(offered, version=version)
        self.adopt(offered, version=version)

    def adopt(self, weights: Mapping[str, torch.Tensor] | None, *, version: int) -> None:
        """Takes weights that were pushed into the engine for those of `version`: what vLLM remembers of the old ones is dropped, and the
        probe follows when it is due and `weights` holds the tensors that were pushed. Raises WeightLoadError as `load` does, and when no
        whole push came."""
        if not self._pushed:
            raise WeightLoadError(f"no whole push came that version {version} could be")
        self._pushed = False
        if not self._engine.reset_prefix_cache():
            self._fail(version, "vLLM would not drop its prefix cache, requests are still running in it")
        self._loads_to_probe -= 1
        if self._loads_to_probe <= 0 and weights is not None:
            self._probe(weights, version=version)
            self._loads_to_probe = self._probe_every
        self._unusable = None
        self._version = version

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Meets the trainer, for the backends that must."""
        self._engine.collective_rpc("init_weight_transfer_engine", args=(init_info,))

    def start_weight_update(self) -> None:
        self._before_push()
        self._announced.clear()
        self._engine.collective_rpc("start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Takes part of a push, of which `update_info` gives names and shapes. Raises WeightLoadError, which ends the push, for
        tensors that are unknown, of another shape, or announced before."""
        try:
            self._announced.add(update_info["names"], update_info["shapes"])
        except WeightLoadError:
            # vLLM begins no other push before this one was ended.
            self._engine.collective_rpc("finish_weight_update")
            raise
        self._engine.collective_rpc("update_weights", args=(update_info,))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Ends a push. Raises WeightLoadError when it was not complete; the engine is then of no use until one is."""
        self._engine.collective_rpc("finish_weight_update")
        self._announced.check_complete()
        self._pushed = True
        self._unusable = "a push came and was not adopted"

    def sleep(self) -> None:
        """Gives back the memory of the cache, and on a GPU that of the weights too (vLLM's level 2, which has not been run)."""
        if self.unfinished():
            raise RolloutError(f"the engine cannot sleep with {self.unfinished()} tasks in hand")
        if self._cache_sizes is not None:
            return
        self._engine.reset_prefix_cache()
        self._unusable = "it sleeps"
        if self._on_cpu:
            self._cache_sizes = self._call("release_cache")
        else:
            self._engine.sleep(level=2)
            self._cache_sizes = []

    def wake(self) -> None:
        if self._cache_sizes is None:
            return
        if self._on_cpu:
            self._call("take_cache", self._cache_sizes)
        else:
            self._engine.wake_up()
        self._cache_sizes = None
        self._unusable = "it slept"

    def close(self) -> None:
        """Ends vLLM's engine and its processes. The engine cannot be used afterwards."""
        self._unusable = "the engine was closed"
        shut_down(self._vllm, self._engine, owns_process_group=self._owns_process_group)
        del self._engine

    def _before_push(self) -> None:
        if self.unfinished():
            raise RolloutError(f"weights cannot be loaded with {self.unfinished()} tasks in hand")
        if self._cache_sizes is not None:
            raise RolloutError("the engine sleeps; wake it before weights are loaded")
        self._pushed = False
        if self._unusable is not None:
            self._call("clear_cache")
            self._loads_to_probe = 1
        self._unusable = "a push of weights did not finish"

    def _push(self, offered: Mapping[str, torch.Tensor], *, version: int) -> None:
        shapes = {name: list(tensor.shape) for name, tensor in offered.items()}
        if self._in_process:
            self._take(LocalOffer(version=version, tensors=offered), shapes, version=version)
        else:
            with shared_offer(offered, version=version, dtype=self._dtype) as offer:
                self._take(offer, shapes, version=version)
        self._pushed = True

    def _take(self, offer: WeightOffer, shapes: Mapping[str, list[int]], *, version: int) -> None:
        for reason in self._call("take_weights", offer, version, [*shapes], [*shapes.values()]):
            if reason is not None:
                self._fail(version, reason)

    def _probe(self, offered: Mapping[str, torch.Tensor], *, version: int) -> None:
        setting = SamplingSetting(max_response_tokens=_PROBE_TOKENS, temperature=0.0, seed=0)
        prompt = Prompt(question=Question(id="probe", text="", answer="", source="probe"), text="", tokens=self._canary.prompt)
        self._requests.submit(RolloutTask(number=0, prompts=(prompt,), responses_per_prompt=1, setting=setting, call=0))
        try:
            while not (complete := self._requests.step()):
                pass
        finally:
            self._requests.abandon()
        ((_, (written,)),) = complete
        gap = self._canary.gap(offered, tokens=written.token_ids, logprobs=written.logprobs.logprobs)
        if gap > TOLERANCE[self._dtype]:
            self._fail(
                version,
                f"its log-probs differ from those of the offered weights by {gap:.2g} nats (allowed: {TOLERANCE[self._dtype]})",
            )

    def _fail(self, version: int, reason: str) -> NoReturn:
        self._unusable = f"it did not take those of version {version}: {reason}"
        raise WeightLoadError(f"vLLM did not take the weights of version {version}: {reason}")

    def _call(self, name: str, *arguments: Any) -> list[Any]:
        """Has `vllm_worker`'s function done in each process that holds the model."""
        from reasonrl.rollout import vllm_worker

        answers: list[Any] = self._engine.collective_rpc(getattr(vllm_worker, name), args=arguments)
        return answers

    def _groups(self, task: RolloutTask, written: Sequence[Any]) -> list[tuple[Response, ...]]:
        tokens = [torch.tensor(one.token_ids, dtype=torch.long) for one in written]
        stopped = [one.finish_reason == "stop" for one in written]
        texts = response_texts(self._tokenizer, tokens, stopped)
        responses = []
        for index, one in enumerate(written):
            logprobs = torch.tensor(one.logprobs.logprobs, dtype=torch.float32)
            if not bool(logprobs.isfinite().all()):
                self._unusable = f"their log-probs were not finite at version {self._version}"
                raise RolloutError(
                    f"the policy's log-probs are not finite at weight version {self._version}: the weights have diverged or hold NaN; "
                    "lower spec.algorithm.optimizer.learningRate or resume from an earlier checkpoint"
                )
            responses.append(
                Response(
                    tokens=tokens[index],
                    sampler_logprobs=logprobs if task.setting.top_p == 1.0 else torch.full_like(logprobs, torch.nan),
                    finish=FinishReason.STOP if stopped[index] else FinishReason.LENGTH,
                    weight_version=self._version,
                    text=texts[index],
                )
            )
        count = task.responses_per_prompt
        return [tuple(responses[start : start + count]) for start in range(0, len(responses), count)]
