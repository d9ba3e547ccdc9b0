"""Rollout engines side by side: ours, transformers' `generate`, vLLM as it comes, our engine around vLLM, and the fleet around that.

Each contender lives in a process of its own with the same model, prompts and number of threads; rounds alternate between them, and
medians are compared. A round samples 32 groups of 8 responses of at most 96 tokens: *fixed*, where nothing ends a response early, and
*ragged*, where end tokens stop it after about a third. Only tokens up to a response's own end count. `generate` has an advantage: it is
not asked for log-probs. vLLM is given the same requests as our engine around it: a seed each, the sampled token's log-prob.
*vllm-fleet* is a fleet with that one engine in its process, *vllm-ray* with that one engine in another, as in a run across pods.

Tokens a second of CPU time are of all threads of the contender's process (for *vllm-ray* they would say nothing: its engine is
elsewhere). They count on a machine that others share, with one thread: more than one spin while they wait.

Weight sync is the time of one `load` of every parameter, against copying the same tensors one by one into storage of their shapes.

    python benchmarks/rollouts.py [--quick] [--rounds 5] [--threads 2] [--shapes fixed ragged] [--json PATH]
        [--contenders torch generate vllm-raw vllm vllm-fleet vllm-ray]
"""

from __future__ import annotations

import argparse
import atexit
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

CONTENDERS = ("torch", "generate", "vllm-raw", "vllm", "vllm-fleet", "vllm-ray")
END_TOKENS = (1, 2, 3, 4)
CACHE_BYTES = 2**30
DEADLINE_SECONDS = 900.0
LOADS = 20


@dataclass(frozen=True)
class Workload:
    """One round's requests and the model that answers them (a random Qwen2 with tied embeddings, float32)."""

    groups: int = 32
    responses: int = 8
    tokens: int = 96
    shortest_prompt: int = 15
    longest_prompt: int = 45
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    vocabulary: int = 135
    ends: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        return self.groups * self.responses

    def prompts(self) -> list[tuple[int, ...]]:
        import torch

        random = torch.Generator().manual_seed(0)
        lengths = torch.randint(self.shortest_prompt, self.longest_prompt + 1, (self.groups,), generator=random).tolist()
        return [tuple(torch.randint(10, self.vocabulary, (length,), generator=random).tolist()) for length in lengths]

    def save_model(self, directory: str) -> None:
        import torch
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel
        from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            intermediate_size=3 * self.hidden,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        )
        Qwen2ForCausalLM(config).save_pretrained(directory)
        words = {f"w{index}": index for index in range(self.vocabulary)}
        PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0"))).save_pretrained(directory)


Round = Callable[[int], int]
"""Samples once with a seed and returns the number of tokens."""
Load = Callable[[list[tuple[str, Any]]], None]


def our_torch(directory: str, workload: Workload) -> tuple[Round, Load]:
    from reasonrl.rollout.torch_engine import TorchEngine

    engine = TorchEngine.from_directory(directory, stop_token_ids=workload.ends, max_sequences=workload.rows)
    return _engine_rounds(engine, workload), lambda weights: engine.load(weights, version=1)


def our_vllm(directory: str, workload: Workload) -> tuple[Round, Load]:
    engine = VllmRecipe(directory, workload)()
    return _engine_rounds(engine, workload), lambda weights: engine.load(weights, version=1)


@dataclass(frozen=True)
class VllmRecipe:
    directory: str
    workload: Workload

    def __call__(self) -> Any:
        from transformers import AutoTokenizer

        from reasonrl.rollout.vllm_engine import VllmEngine

        return VllmEngine(
            self.directory,
            AutoTokenizer.from_pretrained(self.directory),
            stop_token_ids=self.workload.ends,
            max_sequences=self.workload.rows,
            key_value_cache_bytes=CACHE_BYTES,
        )


def fleet_here(directory: str, workload: Workload) -> tuple[Round, None]:
    from reasonrl.rollout.engine_worker import EngineWorker

    return _fleet_rounds(EngineWorker(VllmRecipe(directory, workload)), workload), None


def fleet_across(directory: str, workload: Workload) -> tuple[Round, None]:
    import ray

    from reasonrl.run.cluster.ray_session import launch_engine

    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=128 * 2**20, log_to_driver=False, _temp_dir=f"{directory}/ray")
    atexit.register(ray.shutdown)
    session = launch_engine(VllmRecipe(directory, workload), node_id=ray.get_runtime_context().get_node_id(), answer_seconds=60.0)
    session.wait_until_ready(DEADLINE_SECONDS)
    return _fleet_rounds(session, workload), None


def _fleet_rounds(session: Any, workload: Workload) -> Round:
    """With tasks of one prompt, as a run across pods cuts them for vLLM."""
    from reasonrl.rollout.fleet import RolloutFleet

    fleet = RolloutFleet(prompts_per_task=1)
    atexit.register(fleet.close)
    fleet.join("engine", session)
    return _engine_rounds(fleet, workload)


def _engine_rounds(engine: Any, workload: Workload) -> Round:
    from reasonrl.rl.records import Prompt, Question
    from reasonrl.rollout.protocol import SamplingSetting

    question = Question(id="benchmark", text="", answer="", source="benchmark")
    prompts = [Prompt(question=question, text="", tokens=tokens) for tokens in workload.prompts()]

    def sample(seed: int) -> int:
        setting = SamplingSetting(max_response_tokens=workload.tokens, temperature=1.0, seed=seed)
        groups = engine.sample(prompts, responses_per_prompt=workload.responses, setting=setting)
        return sum(len(response.tokens) for group in groups for response in group)

    return sample


def generate(directory: str, workload: Workload) -> tuple[Round, None]:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(directory).eval()
    prompts = [prompt for prompt in workload.prompts() for _ in range(workload.responses)]
    width = max(map(len, prompts))
    tokens = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    ends = torch.tensor(workload.ends, dtype=torch.long)

    def sample(seed: int) -> int:
        torch.manual_seed(seed)
        written = model.generate(
            tokens,
            attention_mask=mask,
            max_new_tokens=workload.tokens,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            eos_token_id=list(workload.ends) or None,
            pad_token_id=0,
        )[:, width:]
        ended = torch.isin(written, ends).long()
        return int((ended.cumsum(dim=1) - ended == 0).sum())

    return sample, None


def raw_vllm(directory: str, workload: Workload) -> tuple[Round, None]:
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_LOGGING_LEVEL": "ERROR"}
    from vllm import EngineArgs, LLMEngine, SamplingParams
    from vllm.sampling_params import RequestOutputKind

    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=directory,
            dtype="float32",
            enforce_eager=True,
            skip_tokenizer_init=True,
            max_num_seqs=workload.rows,
            kv_cache_memory_bytes=CACHE_BYTES,
            # With it, requests with a seed fail on a CPU: vLLM would wind their generators back.
            enable_chunked_prefill=False,
            logprobs_mode="processed_logprobs",
            disable_log_stats=True,
        )
    )
    prompts = workload.prompts()

    def sample(seed: int) -> int:
        for index, prompt in enumerate(prompts):
            parameters = SamplingParams(
                n=workload.responses,
                temperature=1.0,
                seed=1_000_003 * seed + 1_009 * index,
                max_tokens=workload.tokens,
                ignore_eos=True,
                stop_token_ids=list(workload.ends),
                logprobs=0,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            engine.add_request(f"{seed}-{index}", {"prompt_token_ids": list(prompt)}, parameters)
        tokens = 0
        while engine.has_unfinished_requests():
            tokens += sum(len(one.token_ids) for output in engine.step() for one in output.outputs)
        return tokens

    return sample, None


STARTS: dict[str, Callable[[str, Workload], tuple[Round, Load | None]]] = {
    "torch": our_torch,
    "generate": generate,
    "vllm-raw": raw_vllm,
    "vllm": our_vllm,
    "vllm-fleet": fleet_here,
    "vllm-ray": fleet_across,
}


def serve(address: str, contender: str, directory: str, workload: Workload, threads: int) -> None:
    """A contender's process: answers each seed with (tokens, seconds, seconds of CPU), `load` with (load, copy seconds), until `end`."""
    began = time.perf_counter()
    import torch

    torch.set_num_threads(threads)
    sample, load = STARTS[contender](directory, workload)
    sample(10**6)
    started = time.perf_counter() - began
    with Client(address, family="AF_UNIX") as parent:
        parent.send({"start_seconds": started, "can_load": load is not None})
        while (order := parent.recv()) != "end":
            if order == "load":
                assert load is not None
                parent.send(_time_loads(directory, load))
                continue
            began, used = time.perf_counter(), time.process_time()
            tokens = sample(order)
            parent.send((tokens, time.perf_counter() - began, time.process_time() - used))
        parent.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _time_loads(directory: str, load: Load) -> tuple[float, float]:
    import torch
    from transformers import AutoModelForCausalLM

    weights = [(name, parameter.detach()) for name, parameter in AutoModelForCausalLM.from_pretrained(directory).named_parameters()]
    copies = [torch.zeros_like(tensor) for _, tensor in weights]
    loads, bare = [], []
    for _ in range(LOADS):
        began = time.perf_counter()
        load(weights)
        loads.append(time.perf_counter() - began)
        began = time.perf_counter()
        for target, (_, tensor) in zip(copies, weights, strict=True):
            target.copy_(tensor)
        bare.append(time.perf_counter() - began)
    return statistics.median(loads), statistics.median(bare)


class Contender:
    """A running contender, seen from the parent."""

    def __init__(self, name: str, directory: str, workload: Workload, threads: int) -> None:
        self.name = name
        self.rates: list[float] = []
        self.thrift: list[float] = []
        self.seconds: list[float] = []
        address = str(Path(directory) / f"{name}-{time.monotonic_ns()}")
        order = json.dumps(
            {"address": address, "contender": name, "directory": directory, "workload": asdict(workload), "threads": threads}
        )
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "", "TRANSFORMERS_VERBOSITY": "error"}
        with Listener(address, family="AF_UNIX") as listener:
            self._process = subprocess.Popen([sys.executable, __file__, "--serve", order], env=environment, stdout=subprocess.DEVNULL)
            listener._listener._socket.settimeout(DEADLINE_SECONDS)  # type: ignore[attr-defined]
            self._connection = listener.accept()
        self.facts: dict[str, Any] = self._ask(None)

    def _ask(self, order: Any) -> Any:
        if order is not None:
            self._connection.send(order)
        if not self._connection.poll(DEADLINE_SECONDS):
            raise TimeoutError(f"{self.name} did not answer within {DEADLINE_SECONDS:.0f} s")
        return self._connection.recv()

    def round(self, seed: int) -> None:
        tokens, seconds, used = self._ask(seed)
        self.rates.append(tokens / seconds)
        self.thrift.append(tokens / used)
        self.seconds.append(seconds)

    def end(self, sync: bool) -> dict[str, Any]:
        result = {
            "tokens_per_second": statistics.median(self.rates),
            "tokens_per_cpu_second": statistics.median(self.thrift),
            "rounds": self.rates,
            "seconds": statistics.median(self.seconds),
            "start_seconds": self.facts["start_seconds"],
        }
        if sync and self.facts["can_load"]:
            result["load_seconds"], result["copy_seconds"] = self._ask("load")
        result["peak_megabytes"] = self._ask("end")
        self._connection.close()
        self._process.wait(timeout=60)
        return result


def measure(workload: Workload, names: Sequence[str], *, rounds: int, threads: int) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as directory:
        workload.save_model(directory)
        contenders = [Contender(name, directory, workload, threads) for name in names]
        for seed in range(rounds):
            for contender in contenders:
                contender.round(seed)
        return {contender.name: contender.end(sync=True) for contender in contenders}


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    heads = (
        "workload",
        "contender",
        "tok/s",
        "ours ÷ it",
        "it ÷ raw vLLM",
        "tok/CPU s",
        "s a round",
        "start s",
        "peak MB",
        "load ms",
        "load ÷ copy",
    )
    rows = [heads]
    for shape, by_name in results.items():
        ours, raw = (by_name.get(name, {}).get("tokens_per_second") for name in ("torch", "vllm-raw"))
        for name, one in by_name.items():
            rows.append(
                (
                    shape,
                    name,
                    f"{one['tokens_per_second']:.0f}",
                    f"{ours / one['tokens_per_second']:.2f}" if ours else "",
                    f"{one['tokens_per_second'] / raw:.3f}" if raw and name.startswith("vllm") else "",
                    "" if name == "vllm-ray" else f"{one['tokens_per_cpu_second']:.0f}",
                    f"{one['seconds']:.3f}",
                    f"{one['start_seconds']:.1f}",
                    f"{one['peak_megabytes']:.0f}",
                    f"{one['load_seconds'] * 1e3:.2f}" if "load_seconds" in one else "",
                    f"{one['load_seconds'] / one['copy_seconds']:.2f}" if "load_seconds" in one else "",
                )
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds of a quarter of the work")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--shapes", nargs="+", choices=("fixed", "ragged"), default=["fixed", "ragged"])
    parser.add_argument("--groups", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--json", type=Path, help="where to write every figure")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        order = json.loads(options.serve)
        workload = Workload(**(order.pop("workload")))
        serve(**order, workload=replace(workload, ends=tuple(workload.ends)))
        return
    names = [name for name in options.contenders if not name.startswith("vllm") or importlib.util.find_spec("vllm")]
    fixed = Workload(groups=options.groups, tokens=options.tokens)
    if options.quick:
        options.rounds, fixed = 2, replace(fixed, groups=8, tokens=48)
    size = f"{fixed.rows} x {fixed.tokens}"
    workloads = {"fixed": fixed, "ragged": replace(fixed, ends=END_TOKENS)}
    results = {
        f"{size} {shape}": measure(workloads[shape], names, rounds=options.rounds, threads=options.threads) for shape in options.shapes
    }
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps({"workload": asdict(fixed), "threads": options.threads, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
