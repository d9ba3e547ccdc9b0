"""Answers of a model behind an OpenAI-compatible server: one request for each, a bounded number at a time.

The requests live in a thread of their own, because grading blocks the thread that it is in, and a reply that waits for it would miss its
deadline. After the first failure no request is begun or repeated; those under way are waited for, since somebody may be paying for them.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from reasonrl.rl.records import Question
from reasonrl.run.seeds import derive_seed
from reasonrl.run.standalone_evaluation.sampled import Sampled, Sampling, Wanted
from reasonrl.run.standalone_evaluation.server_client import Server, ServerError, ask

_LOOK_SECONDS = 0.5
_END_SECONDS = 10.0
_SEED_BITS = 31
_MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSource:
    """See `sampled.Source`. `frame` is the text around a question, for completions; None asks for chat completions, with `system` as the
    system message if there is one."""

    server: Server
    questions: Sequence[Question]
    sampling: Sampling
    benchmark: str
    frame: str | None
    system: str | None

    def answers(self, wanted: list[Wanted]) -> Generator[list[Sampled], None, None]:
        """Raises ServerError and RunInputError as `server_client.ask` does, after every answer that came before was yielded."""
        asked = [(each.question, sample) for each in wanted for sample in each.samples]
        conversation = _Conversation(self, asked)
        conversation.start()
        try:
            yield from conversation.replies()
        finally:
            conversation.end()

    def request(self, question: int, sample: int) -> tuple[str, dict[str, object]]:
        """Route and body."""
        sampling, text = self.sampling, self.questions[question].text
        seed = derive_seed(sampling.seed, f"evaluation/{self.benchmark}/{question}", sample) % 2**_SEED_BITS
        body: dict[str, object] = {
            "model": self.server.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_response_tokens,
            "seed": seed,
            "n": 1,
            "stream": False,
        }
        if self.frame is not None:
            return "completions", {**body, "prompt": self.frame.replace("{question}", text)}
        opening = [] if self.system is None else [{"role": "system", "content": self.system}]
        return "chat/completions", {**body, "messages": [*opening, {"role": "user", "content": text}]}


class _Conversation:
    """The thread with the requests, and the queue that their answers come through."""

    def __init__(self, source: ServerSource, asked: Sequence[tuple[int, int]]) -> None:
        self._source = source
        self._waiting = iter(asked)
        self._replies: queue.SimpleQueue[Sampled] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="requests", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def replies(self) -> Iterator[list[Sampled]]:
        while True:
            ended = not self._thread.is_alive()
            batch: list[Sampled] = []
            with suppress(queue.Empty):
                batch.append(self._replies.get(timeout=0 if ended else _LOOK_SECONDS))
                while len(batch) < _MOST_AT_ONCE:
                    batch.append(self._replies.get_nowait())
            if batch:
                yield batch
            elif ended:
                break
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        if self._thread.is_alive() and self._loop is not None and self._work is not None:
            with suppress(RuntimeError):
                # The loop may have closed since.
                self._loop.call_soon_threadsafe(self._work.cancel)
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._ask_all())
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that reads the replies
            self._failure = error

    async def _ask_all(self) -> None:
        self._loop, self._work = asyncio.get_running_loop(), asyncio.current_task()
        server = self._source.server
        connector = aiohttp.TCPConnector(limit=server.concurrency)
        # The deadline of a try is kept around it; aiohttp's own five minutes would cut a long answer short.
        unlimited = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=unlimited) as session, asyncio.TaskGroup() as group:
            for _ in range(server.concurrency):
                group.create_task(self._ask_in_turn(session))

    async def _ask_in_turn(self, session: aiohttp.ClientSession) -> None:
        source = self._source
        while self._failure is None and (place := next(self._waiting, None)) is not None:
            question, sample = place
            route, body = source.request(question, sample)
            what = f"question {source.questions[question].id!r} of {source.benchmark}"
            try:
                reply = await ask(session, source.server, route, body, what=what, give_up=lambda: self._failure is not None)
            except Exception as error:  # noqa: BLE001 - the first failure ends the evaluation, after the requests under way
                if self._failure is None or isinstance(self._failure, ServerError):
                    self._failure = error
                return
            self._replies.put(Sampled(question=question, sample=sample, text=reply.text, length=reply.length, finish=reply.finish))
