"""How vLLM is started for a learner: its environment, its arguments, and what it could not do, said before it tries.

vLLM is made to answer a server's users; left alone it reads its log-probs off the wrong distribution, starts processes of its own and
binds every thread of this one. Everything that must be otherwise is here.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from reasonrl.rollout.agreement import TOLERANCE
from reasonrl.rollout.errors import RolloutError

_ENVIRONMENT = {
    # The engine core in this process: nothing is left behind when the process dies, and weights need no transport.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Workers of a tensor-parallel engine: a process that has threads must not be forked.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # On a CPU vLLM would bind every thread of this process, a trainer's too.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
_EXTENSION = "reasonrl.rollout.vllm_worker.WorkerExtension"
TRANSFER_BACKEND = "reasonrl"
_CPU_CACHE_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """What may be chosen. See `VllmEngine`."""

    directory: Path | str
    dtype: torch.dtype
    max_sequences: int
    context_tokens: int | None
    memory_utilization: float
    key_value_cache_bytes: int | None
    tensor_parallel: int
    random_weights: bool
    can_sleep: bool
    transfer: str


def import_vllm() -> Any:
    """The package, with its environment set where the user has not. Raises RolloutError when it is not installed."""
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


def start_engine(vllm: Any, settings: VllmSettings) -> Any:
    """vLLM's `LLMEngine`. No random generator of this process notices. Raises RolloutError for what vLLM cannot do here."""
    if settings.dtype not in TOLERANCE:
        raise RolloutError(f"spec.rollout.dtype must be float32 or bfloat16, got {settings.dtype}")
    on_cpu: bool = vllm.platforms.current_platform.is_cpu()
    _check_heads(settings, on_cpu=on_cpu)
    options: dict[str, Any] = {}
    if on_cpu:
        # A prompt read in pieces winds its request's random generator back, which generators on a CPU cannot do: vLLM 0.32 fails.
        options["enable_chunked_prefill"] = False
        if settings.transfer != TRANSFER_BACKEND:
            raise RolloutError(f"weights cannot come by {settings.transfer} on a CPU: it takes a GPU on both sides")
    else:
        options["enable_sleep_mode"] = settings.can_sleep
    if on_cpu or settings.key_value_cache_bytes is not None:
        options["kv_cache_memory_bytes"] = settings.key_value_cache_bytes or _CPU_CACHE_BYTES
    else:
        options["gpu_memory_utilization"] = settings.memory_utilization
    if settings.tensor_parallel > 1:
        options |= {"tensor_parallel_size": settings.tensor_parallel, "distributed_executor_backend": "mp"}
    arguments = vllm.EngineArgs(
        model=str(settings.directory),
        dtype=str(settings.dtype).removeprefix("torch."),
        max_model_len=settings.context_tokens,
        max_num_seqs=settings.max_sequences,
        load_format="dummy" if settings.random_weights else "auto",
        skip_tokenizer_init=True,
        enforce_eager=on_cpu,
        enable_prefix_caching=True,
        logprobs_mode="processed_logprobs",
        disable_log_stats=True,
        worker_extension_cls=_EXTENSION,
        weight_transfer_config={"backend": settings.transfer},
        **options,
    )
    with _random_state_kept():
        engine = vllm.LLMEngine.from_engine_args(arguments)
    if settings.tensor_parallel > 1:
        from reasonrl.rollout.vllm_worker import end_with, forget_shared_files

        engine.collective_rpc(end_with, args=(os.getpid(),))
        engine.collective_rpc(forget_shared_files)
    return engine


def shut_down(vllm: Any, engine: Any, *, owns_process_group: bool) -> None:
    """Ends vLLM and its processes. `owns_process_group`: torch's process group of this process is vLLM's, not the trainer's."""
    engine.engine_core.shutdown()
    if owns_process_group:
        vllm.distributed.cleanup_dist_env_and_memory()


def _check_heads(settings: VllmSettings, *, on_cpu: bool) -> None:
    """vLLM finds out only while it builds the model, with a traceback from deep inside."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(settings.directory).get_text_config()
    heads: int = config.num_attention_heads
    if settings.tensor_parallel < 1 or heads % settings.tensor_parallel:
        raise RolloutError(
            f"spec.rollout.gpusPerReplica: {settings.tensor_parallel} GPUs cannot share the model's {heads} attention heads evenly; "
            f"choose a divisor of {heads}"
        )
    if not on_cpu:
        return
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    sizes = CPUAttentionBackend.get_supported_head_sizes()
    if size not in sizes:
        raise RolloutError(
            f"spec.rollout.engine: vllm has no attention for heads of {size} dimensions on a CPU, only for {', '.join(map(str, sizes))}; "
            "use engine: torch"
        )


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
