"""A rollout engine around vLLM, in this process.

vLLM batches continuously over all requests of a call and shares the prefix of a group. What this module adds is what a learner needs
and vLLM does not promise: log-probs of the distribution that was sampled from, weights that really are the ones pushed (its own
reload forgets a head that is tied to the embedding, and its prefix cache outlives the weights), and the same answer to the same
question.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch

from reasonrl.rl.records import FinishReason, Prompt, Response
from reasonrl.rollout.agreement import TOLERANCE
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting, WeightLoadError
from reasonrl.rollout.request_check import check_request
from reasonrl.rollout.response_text import response_texts
from reasonrl.rollout.weight_canary import WeightCanary
from reasonrl.rollout.weight_check import checked_weights

_ENVIRONMENT = {
    # The engine core in this process: nothing is left behind when the process dies, and weights need no transport.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # On a CPU vLLM would bind every thread of this process, a trainer's too.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
_CANARY_TOKENS = 2
_CPU_CACHE_BYTES = 4 * 2**30


class VllmEngine:
    """Samples with the model in `directory` until other weights are loaded.

    `stop_token_ids` end a response; `max_sequences` are decoded at once; `context_tokens` bounds prompt and response together (the
    model's own by default). `dtype` is float32 or bfloat16. On a GPU `memory_utilization` is the share of its memory to take;
    `key_value_cache_bytes` fixes the size of the cache instead, and is the way to size it on a CPU (by default enough for
    `max_sequences` full contexts, at most 4 GiB).

    Sets vLLM's environment variables for this process where the user has not. Raises RolloutError when vLLM is not installed, or when it
    has no kernel for the model's attention heads on a CPU.
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
    ) -> None:
        if dtype not in TOLERANCE:
            raise RolloutError(f"spec.rollout.dtype must be float32 or bfloat16, got {dtype}")
        vllm = _vllm()
        self._dtype = dtype
        self._stop_token_ids = sorted(set(stop_token_ids))
        self._tokenizer = tokenizer
        self._canary = WeightCanary(directory)
        on_cpu: bool = vllm.platforms.current_platform.is_cpu()
        options: dict[str, Any] = {}
        if on_cpu:
            _check_head_size(directory)
            # A prompt read in pieces winds its request's random generator back, which generators on a CPU cannot do: vLLM 0.32 fails.
            options["enable_chunked_prefill"] = False
        if on_cpu or key_value_cache_bytes is not None:
            options["kv_cache_memory_bytes"] = key_value_cache_bytes or _CPU_CACHE_BYTES
        else:
            options["gpu_memory_utilization"] = memory_utilization
        arguments = vllm.EngineArgs(
            model=str(directory),
            dtype=str(dtype).removeprefix("torch."),
            max_model_len=context_tokens,
            max_num_seqs=max_sequences,
            skip_tokenizer_init=True,
            enforce_eager=on_cpu,
            logprobs_mode="processed_logprobs",
            disable_log_stats=True,
            **options,
        )
        self._owns_process_group = not torch.distributed.is_initialized()
        with _random_state_kept():
            self._engine: Any = vllm.LLMEngine.from_engine_args(arguments)
        self._context_tokens: int = self._engine.model_config.max_model_len
        self._vllm = vllm
        self._calls = 0
        self._version = 0
        self._fault: str | None = None

    @property
    def weight_version(self) -> int:
        return self._version

    def sample(self, prompts: Sequence[Prompt], *, responses_per_prompt: int, setting: SamplingSetting) -> list[tuple[Response, ...]]:
        """See `RolloutEngine.sample`. With `top_p` below 1 the sampler log-probs are NaN: vLLM reports those of the nucleus alone, and
        they must not pass for the full distribution's.

        Raises RolloutError for a setting out of range, a prompt that leaves no room in the context, or after a load that failed.
        """
        if self._fault is not None:
            raise RolloutError(f"the engine holds no usable weights since a load failed: {self._fault}; load a full set of weights first")
        if not prompts:
            return []
        check_request(prompts, responses_per_prompt=responses_per_prompt, setting=setting, context_tokens=self._context_tokens)
        requests = [(prompt, number) for prompt in range(len(prompts)) for number in range(responses_per_prompt)]
        written = self._run(
            [prompts[prompt].tokens for prompt, _ in requests],
            [self._parameters(setting, seed=_request_seed(setting.seed, prompt, number)) for prompt, number in requests],
        )
        responses = self._responses(written, scored=setting.top_p == 1.0)
        return [tuple(responses[start : start + responses_per_prompt]) for start in range(0, len(responses), responses_per_prompt)]

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        """See `RolloutEngine.load`. The offer is checked before anything is touched.

        Afterwards the engine writes a few tokens, and their log-probs are held against a plain forward pass over the offered tensors.
        Should they differ, WeightLoadError is raised and the engine refuses to sample until a load succeeds: vLLM overwrites
        its weights as it reads, so there is nothing to go back to.
        """
        offered = checked_weights(weights, expected=self._canary.expected, aliases=self._canary.aliases)
        if self._fault is not None:
            self._engine.collective_rpc(_clear_cache)
        self._fault = "it did not finish"
        self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(offered.items()), "is_checkpoint_format": True})
        self._engine.apply_model(_repack_head)
        if not self._engine.reset_prefix_cache():
            self._fault = "vLLM would not drop its prefix cache"
            raise WeightLoadError(f"{self._fault}: requests are still running in it")
        gap = self._canary_gap(offered)
        if gap > TOLERANCE[self._dtype]:
            self._fault = f"its log-probs differ from those of the offered weights by {gap:.2g} nats"
            raise WeightLoadError(f"vLLM took the weights of version {version}, but {self._fault} (allowed: {TOLERANCE[self._dtype]})")
        self._fault = None
        self._version = version

    def close(self) -> None:
        """Ends vLLM's engine. The engine cannot be used afterwards."""
        self._fault = "the engine was closed"
        self._engine.engine_core.shutdown()
        del self._engine
        if self._owns_process_group:
            self._vllm.distributed.cleanup_dist_env_and_memory()

    def _canary_gap(self, offered: Mapping[str, torch.Tensor]) -> float:
        setting = SamplingSetting(max_response_tokens=_CANARY_TOKENS, temperature=0.0, seed=0)
        (completion,) = self._run([self._canary.prompt], [self._parameters(setting, seed=0)])
        return self._canary.gap(offered, tokens=completion.token_ids, logprobs=completion.logprobs.logprobs)

    def _parameters(self, setting: SamplingSetting, *, seed: int) -> Any:
        return self._vllm.SamplingParams(
            temperature=setting.temperature,
            top_p=setting.top_p,
            seed=seed,
            max_tokens=setting.max_response_tokens,
            stop_token_ids=self._stop_token_ids,
            ignore_eos=True,
            logprobs=0,
            flat_logprobs=True,
            detokenize=False,
            output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )

    def _run(self, prompts: Sequence[Sequence[int]], parameters: Sequence[Any]) -> list[Any]:
        """Submits every request at once, steps until all are done, and returns their completions in order.

        Raises RolloutError when vLLM stops making progress.
        """
        self._calls += 1
        names = [f"{self._calls}-{index}" for index in range(len(prompts))]
        for name, prompt, one in zip(names, prompts, parameters, strict=True):
            self._engine.add_request(name, {"prompt_token_ids": list(prompt)}, one)
        finished: dict[str, Any] = {}
        # A step decodes at least one token or runs a piece of a prompt; twice that allows for preempted work done again.
        budget = 64 + 2 * sum(len(prompt) + one.max_tokens for prompt, one in zip(prompts, parameters, strict=True))
        while self._engine.has_unfinished_requests():
            if budget == 0:
                self._engine.abort_request(names)
                raise RolloutError("vLLM made no progress; its cache may be too small for one request: raise spec.rollout.keyValueCache")
            budget -= 1
            for output in self._engine.step():
                if output.finished:
                    finished[output.request_id] = output.outputs[0]
        return [finished[name] for name in names]

    def _responses(self, written: Sequence[Any], *, scored: bool) -> list[Response]:
        tokens = [torch.tensor(one.token_ids, dtype=torch.long) for one in written]
        stopped = [one.finish_reason == "stop" for one in written]
        texts = response_texts(self._tokenizer, tokens, stopped)
        responses = []
        for index, one in enumerate(written):
            logprobs = torch.tensor(one.logprobs.logprobs, dtype=torch.float32)
            if not bool(logprobs.isfinite().all()):
                self._fault = f"its log-probs were not finite at version {self._version}"
                raise RolloutError(
                    f"the policy's log-probs are not finite at weight version {self._version}: the weights have diverged or hold NaN; "
                    "lower spec.algorithm.optimizer.learningRate or resume from an earlier checkpoint"
                )
            responses.append(
                Response(
                    tokens=tokens[index],
                    sampler_logprobs=logprobs if scored else torch.full_like(logprobs, torch.nan),
                    finish=FinishReason.STOP if stopped[index] else FinishReason.LENGTH,
                    weight_version=self._version,
                    text=texts[index],
                )
            )
        return responses


def _check_head_size(directory: Path | str) -> None:
    """vLLM finds out only while it builds the model, with a traceback from deep inside."""
    from transformers import AutoConfig
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    config = AutoConfig.from_pretrained(directory).get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    sizes = CPUAttentionBackend.get_supported_head_sizes()
    if size not in sizes:
        raise RolloutError(
            f"spec.rollout.engine: vllm has no attention for heads of {size} dimensions on a CPU, only for {', '.join(map(str, sizes))}; "
            "use engine: torch"
        )


def _vllm() -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] != "0":
        raise RolloutError("VLLM_ENABLE_V1_MULTIPROCESSING must be 0 or unset: this engine loads weights inside its own process")
    try:
        import vllm
        import vllm.distributed
        import vllm.platforms
        import vllm.sampling_params
    except ImportError as error:
        raise RolloutError(
            "spec.rollout.engine: vllm is not installed; install reasonrl[vllm] on a GPU machine or reasonrl[cpu] on another, "
            "or use engine: torch"
        ) from error
    return vllm


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """vLLM seeds every generator of the process when it starts; a run in that process must not notice."""
    python, arrays = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(arrays)


def _clear_cache(worker: Any) -> None:
    """Bad weights can leave NaN in the cache, and vLLM multiplies it by zero wherever a later request leaves a block half full."""
    for stored in worker.model_runner.kv_caches:
        stored.zero_()


def _repack_head(model: Any) -> None:
    """On a CPU a head tied to the embedding keeps the packed copy of its old weights through a reload."""
    head = getattr(model, "lm_head", None)
    if head is None or not hasattr(head, "cpu_linear"):
        return
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    dispatch_cpu_unquantized_gemm(head, remove_weight=False)


def _request_seed(seed: int, prompt: int, number: int) -> int:
    """A request's own seed, so that what it draws does not depend on its batch."""
    digest = hashlib.blake2b(f"{seed}:{prompt}:{number}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")
