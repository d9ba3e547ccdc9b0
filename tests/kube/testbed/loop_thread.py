"""An asyncio loop in a thread of its own, so that synchronous tests can use parts that serve many connections at once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines given from other threads; `stop_after` cancels what is left."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T], *, deadline: float = 30.0) -> T:
        """The result of `work`, waited for at most `deadline` seconds."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(deadline)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, object]) -> concurrent.futures.Future[object]:
        """Starts `work` and returns at once; the loop ends it when it stops."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def stop_after(self, last: Coroutine[Any, Any, object] | None = None, *, deadline: float = 10.0) -> None:
        """Cancels everything that runs, then does `last` (closing what the cancelled used), then ends the thread."""
        self.call(_cancel_rest(), deadline=deadline)
        if last is not None:
            self.call(last, deadline=deadline)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(deadline)
        self.loop.close()


async def _cancel_rest() -> None:
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
