"""`reasonrl eval` as a user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

REASONRL = str(Path(sys.executable).with_name("reasonrl"))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


class Seats:
    """How many requests the server answers before it keeps the others waiting, and what it was asked."""

    def __init__(self) -> None:
        self.open = threading.Semaphore(0)
        self.asked: list[dict[str, Any]] = []


@pytest.fixture
def seats() -> Iterator[tuple[str, Seats]]:
    """A server that adds up."""
    found = Seats()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked.append(body)
            if not found.open.acquire(timeout=120):
                return
            one, other = body["messages"][-1]["content"].split("+")
            text = json.dumps(
                {"choices": [{"message": {"content": f"\\boxed{{{int(one) + int(other)}}}"}, "finish_reason": "stop"}]}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", found
    server.shutdown()
    server.server_close()


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps({"problem": f"{index}+1", "answer": index + 1 + index // 8}) + "\n" for index in range(10)))
    return file


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_evaluation_goes_on_with_what_is_missing(
    seats: tuple[str, Seats], sums: Path, tmp_path: Path, reasonrl: Callable[..., Any]
) -> None:
    url, server = seats
    arguments = ["eval", "--server", url, "--model-name", "adder", "--data", str(sums), "--question-field", "problem"]
    arguments += ["--samples", "2", "--concurrency", "2", "--max-tokens", "64", "--workers", "1", "--output", str(tmp_path / "out")]
    answers = tmp_path / "out" / "answers.jsonl"
    server.open.release(7)
    with subprocess.Popen([REASONRL, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as first:
        wait_until(lambda: answers.exists() and answers.read_bytes().count(b"\n") == 7)
        first.send_signal(signal.SIGKILL)
        first.wait(60)
    before = len(server.asked)
    server.open.release(100)
    done = reasonrl(*arguments)
    assert done.code == 0, done.err
    assert len(server.asked) - before == 20 - 7
    assert "sums: 7 of 20 answers are there already" in done.out
    # The last two answers of the file are wrong.
    assert "80.0" in done.out
    assert len(answers.read_text().splitlines()) == 20
    assert "avg@2" in (tmp_path / "out" / "evaluation.html").read_text()
    metrics = json.loads((tmp_path / "out" / "results.json").read_text())["benchmarks"][0]["metrics"]
    assert {name: metric["value"] for name, metric in metrics.items()} == {"avg@2": 0.8, "pass@1": 0.8, "pass@2": 0.8, "maj@2": 0.8}
    refused = reasonrl(*arguments, "--seed", "9")
    assert refused.code == 2
    assert "sampling.seed was 1 and is 9" in refused.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "MODEL, --server: neither is given"),
        (["{model}", "--server", "http://h"], "MODEL, --server: both are given"),
        (["--server", "http://h"], "--model-name: --server needs it"),
        (["{model}", "--model-name", "m"], "--model-name = 'm': it is for --server"),
        (["--server", "h:80", "--model-name", "m"], "--server = 'h:80': not an http address"),
        (["--server", "http://h", "--model-name", "m", "--api-key-env", "NO_SUCH_KEY"], "--api-key-env = 'NO_SUCH_KEY'"),
        (["{model}"], "it holds no config.json"),
        (["{model}", "--greedy", "--samples", "3"], "--samples = 3: --greedy gives one answer"),
        (["{model}", "--greedy", "--temperature", "0.7"], "--temperature = 0.7: --greedy is temperature 0"),
        (["{model}", "--top-p", "0"], "--top-p = 0: it must be above 0"),
        (["{model}", "--template", "tall"], "--template = 'tall': choose one of short, long"),
        (["{model}", "--engine", "rocket"], "--engine = 'rocket': choose torch or vllm"),
        (["{model}", "--dtype", "int4"], "--dtype = 'int4': choose float32 or bfloat16"),
        (["--server", "http://h", "--model-name", "m", "--data", "nothing"], "--data nothing: there is no such file"),
        (["--server", "http://h", "--model-name", "m", "--data", "chainedDigits", "--template", "raw", "--system", "s"], "--system"),
        (["--server", "http://h", "--model-name", "m", "--data", "chainedDigits", "--prompt-text", "no question"], "--prompt-text"),
    ],
)
def test_bad_input_is_one_clear_error(reasonrl: Callable[..., Any], tmp_path: Path, arguments: list[str], told: str) -> None:
    answer = reasonrl("eval", *(each.format(model=tmp_path) for each in arguments), "--output", tmp_path / "out")
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert told in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
