"""`reasonrl eval`: how good a model is on a benchmark, outside of any run."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from reasonrl.data.templates import TemplateName
    from reasonrl.run.standalone_evaluation.evaluate import Local
    from reasonrl.run.standalone_evaluation.server_client import Server

_TEMPLATES = ("short", "long", "chat", "raw", "custom")
_DEFAULT_KEY = "OPENAI_API_KEY"


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)


def evaluate(
    model: Annotated[
        Path | None,
        typer.Argument(help="A Hugging Face model directory, a finished run, or a checkpoint of one.", show_default=False),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="What to ask, once for each benchmark: FILE, NAME=FILE, aime24, aime25, math500, omni-math, liveaops, olympiadbench, "
            "chainedDigits:size=200,seed=3, or gym:TASK:size=100.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Directory of answers and results; one that exists is gone on with. [default: evaluations/MODEL]",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Answers to each question. [default: 8]", show_default=False)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, max=10.0, help="Sampling temperature; 0 is greedy. [default: 0.6]", show_default=False)
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus, above 0 and at most 1. [default: 0.95]", show_default=False)] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="One answer to each question, at temperature 0.")] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest answer, in tokens. [default: 32768, or what the model's context leaves]", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many questions of each benchmark.", show_default=False)
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="short, long, chat, raw or custom. [default: the run's; else chat if the tokenizer has a chat template, else long]",
            show_default=False,
        ),
    ] = None,
    prompt_text: Annotated[
        str | None, typer.Option(help="Prompt with {question} in it, for the template custom.", show_default=False)
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message, for the template chat.", show_default=False)] = None,
    question_field: Annotated[
        str | None, typer.Option(help="Column with the question. [default: question, or the named benchmark's]", show_default=False)
    ] = None,
    answer_field: Annotated[
        str | None, typer.Option(help="Column with the gold answer. [default: answer, or the named benchmark's]", show_default=False)
    ] = None,
    require_boxed: Annotated[bool, typer.Option("--require-boxed", help="Only an answer in \\boxed{} counts.")] = False,
    grading_timeout: Annotated[float, typer.Option(min=0.1, max=3600.0, help="Seconds for judging one answer.")] = 5.0,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Grading processes.")] = min(os.cpu_count() or 1, 8),
    engine: Annotated[str, typer.Option(help="torch or vllm.")] = "torch",
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16. [default: bfloat16 on a GPU, else float32]", show_default=False)
    ] = None,
    max_sequences: Annotated[int, typer.Option(min=1, help="Answers that the engine writes at once.")] = 64,
    memory_utilization: Annotated[float, typer.Option(min=0.05, max=1.0, help="Share of a GPU's memory that vLLM may take.")] = 0.85,
    server: Annotated[
        str | None,
        typer.Option(
            help="Address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1, instead of MODEL.", show_default=False
        ),
    ] = None,
    model_name: Annotated[str | None, typer.Option(help="What the server calls the model.", show_default=False)] = None,
    api_key_env: Annotated[str, typer.Option(help="Environment variable with the server's key.")] = _DEFAULT_KEY,
    concurrency: Annotated[int, typer.Option(min=1, max=4096, help="Requests to the server at a time.")] = 16,
    request_timeout: Annotated[float, typer.Option(min=0.1, max=86_400.0, help="Seconds for one request.")] = 1800.0,
    retries: Annotated[int, typer.Option(min=0, max=100, help="Tries more for a request that gets 429, 5xx or no answer.")] = 6,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")] = False,
) -> None:
    """Ask MODEL, or the model behind --server, the questions of --data, and say how many it answers right.

    A killed evaluation is gone on with by the same command: what was answered is in OUTPUT/answers.jsonl, the numbers are in
    OUTPUT/results.json and on one page in OUTPUT/evaluation.html.
    """
    from rich.console import Console

    from reasonrl.api.exit_codes import ExitCode
    from reasonrl.cli.eval_view import EvaluationView, show_results
    from reasonrl.cli.problems import show_error
    from reasonrl.cli.run_errors import explained
    from reasonrl.report.evaluation_page import EVALUATION_PAGE, render_evaluation
    from reasonrl.report.page import write_page
    from reasonrl.run.errors import RunInputError
    from reasonrl.run.standalone_evaluation.data_option import Fields, load_benchmarks
    from reasonrl.run.standalone_evaluation.evaluate import Request
    from reasonrl.run.standalone_evaluation.evaluate import evaluate as run_evaluation
    from reasonrl.run.standalone_evaluation.server_client import ServerError
    from reasonrl.run.standalone_evaluation.setting import GradingChoice, PromptChoice

    console = Console(quiet=quiet)
    with explained():
        if greedy and samples not in (None, 1):
            raise RunInputError(f"--samples = {samples}: --greedy gives one answer to each question; leave one of the two out")
        if greedy and temperature:
            raise RunInputError(f"--temperature = {temperature:g}: --greedy is temperature 0; leave one of the two out")
        if top_p is not None and not 0.0 < top_p <= 1.0:
            raise RunInputError(f"--top-p = {top_p:g}: it must be above 0 and at most 1")
        if template is not None and template not in _TEMPLATES:
            raise RunInputError(f"--template = {template!r}: choose one of {', '.join(_TEMPLATES)}")
        answering, name = _answering(
            model,
            server,
            model_name=model_name,
            engine=engine,
            dtype=dtype,
            max_sequences=max_sequences,
            memory_utilization=memory_utilization,
            api_key_env=api_key_env,
            concurrency=concurrency,
            request_timeout=request_timeout,
            retries=retries,
        )
        fields = Fields(question=question_field, answer=answer_field)
        request = Request(
            benchmarks=load_benchmarks(data or [], fields=fields, limit=limit),
            samples=samples or (1 if greedy or temperature == 0 else 8),
            temperature=0.0 if greedy else 0.6 if temperature is None else temperature,
            top_p=1.0 if top_p is None and (greedy or temperature == 0) else 0.95 if top_p is None else top_p,
            max_response_tokens=max_tokens,
            seed=seed,
            prompt=PromptChoice(template=cast("TemplateName | None", template), text=prompt_text, system=system),
            grading=GradingChoice(require_boxed=require_boxed, timeout_seconds=grading_timeout),
            workers=workers,
            output=output or Path("evaluations") / name,
        )
        try:
            with EvaluationView(console) as view:
                outcome = run_evaluation(request, answering, watcher=view)
        except ServerError as error:
            show_error(str(error))
            sys.exit(ExitCode.RETRYABLE)
        except KeyboardInterrupt:
            show_error(f"stopped; what was answered is in {request.output}, and the same command goes on from there")
            sys.exit(ExitCode.PREEMPTED)
    page = outcome.path.with_name(EVALUATION_PAGE)
    try:
        write_page(render_evaluation(outcome.path.parent), page)
    except OSError as error:
        show_error(f"{page}: {error.strerror}; the numbers are in {outcome.path}")
        sys.exit(ExitCode.RETRYABLE)
    show_results(outcome, console)
    console.print(f"{page}", highlight=False, markup=False, soft_wrap=True)


def _answering(
    model: Path | None,
    server: str | None,
    *,
    model_name: str | None,
    engine: str,
    dtype: str | None,
    max_sequences: int,
    memory_utilization: float,
    api_key_env: str,
    concurrency: int,
    request_timeout: float,
    retries: int,
) -> tuple[Local | Server, str]:
    """Who answers, and a name for its directory. Raises RunInputError for options that do not fit together."""
    from reasonrl.run.errors import RunInputError

    if (model is None) == (server is None):
        given = "both are given" if server else "neither is given"
        raise RunInputError(f"MODEL, --server: {given}; name either a directory, or the address of a server with --model-name")
    if server is not None:
        if not model_name:
            raise RunInputError("--model-name: --server needs it; it is what the server calls the model (see its /v1/models)")
        return _server(
            server,
            model_name,
            api_key_env=api_key_env,
            concurrency=concurrency,
            request_timeout=request_timeout,
            retries=retries,
        ), re.sub(r"[^A-Za-z0-9._-]+", "-", model_name).strip("-.") or "model"
    if model_name is not None:
        raise RunInputError(f"--model-name = {model_name!r}: it is for --server; leave it out")
    assert model is not None
    local = _local(model, engine, dtype=dtype, max_sequences=max_sequences, memory_utilization=memory_utilization)
    return local, local.place.name


def _server(address: str, model_name: str, *, api_key_env: str, concurrency: int, request_timeout: float, retries: int) -> Server:
    from reasonrl.run.errors import RunInputError
    from reasonrl.run.standalone_evaluation.server_client import Server, server_url

    key = os.environ.get(api_key_env)
    if not key and api_key_env != _DEFAULT_KEY:
        raise RunInputError(f"--api-key-env = {api_key_env!r}: this environment variable is not set, or empty")
    return Server(
        url=server_url(address),
        model=model_name,
        api_key=key or None,
        concurrency=concurrency,
        request_seconds=request_timeout,
        retries=retries,
    )


def _local(model: Path, engine: str, *, dtype: str | None, max_sequences: int, memory_utilization: float) -> Local:
    import torch

    from reasonrl.run.errors import RunInputError
    from reasonrl.run.standalone_evaluation.evaluate import Local
    from reasonrl.run.standalone_evaluation.local_answers import LocalEngine, default_dtype
    from reasonrl.run.standalone_evaluation.model_place import find_model

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if engine not in ("torch", "vllm"):
        raise RunInputError(f"--engine = {engine!r}: choose torch or vllm")
    if dtype is not None and dtype not in dtypes:
        raise RunInputError(f"--dtype = {dtype!r}: choose float32 or bfloat16")
    return Local(
        place=find_model(model),
        engine=LocalEngine(
            name="vllm" if engine == "vllm" else "torch",
            dtype=dtypes[dtype] if dtype else default_dtype(),
            max_sequences=max_sequences,
            memory_utilization=memory_utilization,
        ),
    )
