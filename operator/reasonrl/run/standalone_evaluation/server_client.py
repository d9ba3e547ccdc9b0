"""One request to an OpenAI-compatible server: sent, waited for with a deadline, and sent again when that can help.

What a server may be forgiven (429, 5xx, no answer, an answer that is cut or garbled) has a budget of retries with growing pauses; what
another try cannot mend (a key, a model or a request that it refuses) ends the evaluation at once, with the server's own words.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from reasonrl.run.errors import RunInputError

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 60.0
_SHOWN_CHARACTERS = 300
_REMEDIES = {
    401: "put the right key into the environment variable that --api-key-env names",
    403: "put a key that may use this model into the environment variable that --api-key-env names",
    404: "look at --server (it usually ends in /v1) and --model-name",
    413: "the request is too large; lower --max-tokens or use a shorter prompt",
}


class ServerError(Exception):
    """The server gave no usable answer within its budget of retries. What was answered is kept; the same command goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """`url` ends in /v1. `request_seconds` is the deadline of one try, `retries` how many more there are; `first_pause_seconds` doubles
    with each."""

    url: str
    model: str
    api_key: str | None = field(repr=False)
    concurrency: int
    request_seconds: float
    retries: int
    first_pause_seconds: float = _FIRST_PAUSE_SECONDS

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReply:
    text: str
    length: int | None
    finish: str


def server_url(text: str) -> str:
    """With /v1 at its end. Raises RunInputError for what is no http address."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise RunInputError(f"--server = {text!r}: not an http address; write it like http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise RunInputError("--server: it holds a password; put the key into an environment variable and name it with --api-key-env")
    if parts.query or parts.fragment:
        raise RunInputError(f"--server = {text!r}: it has more than a path; write it like http://127.0.0.1:8000/v1")
    path = parts.path.rstrip("/")
    for route in ("/chat/completions", "/completions"):
        path = path.removesuffix(route)
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


async def ask(
    session: aiohttp.ClientSession, server: Server, route: str, body: Mapping[str, object], *, what: str, give_up: Callable[[], bool]
) -> ServerReply:
    """The answer to one request. `route` is chat/completions or completions, `what` names the question in messages; `give_up` is asked
    before each retry.

    Raises ServerError when the retries are used up, and RunInputError for what no retry can mend.
    """
    tries = 0
    while True:
        tries += 1
        try:
            async with asyncio.timeout(server.request_seconds):
                return await _once(session, server, route, body, what)
        except _AgainError as error:
            reason, pause = error.reason, error.pause
        except TimeoutError:
            reason, pause = f"no answer within {server.request_seconds:g} s (--request-timeout)", None
        except (aiohttp.ClientError, OSError) as error:
            reason, pause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, None
        if tries > server.retries or give_up():
            raise ServerError(
                f"{server.url}/{route}, {what}: {reason}; tried {tries} times. What was answered is kept, and "
                "the same command goes on from there"
            )
        growing = server.first_pause_seconds * 2 ** (tries - 1) * random.uniform(0.5, 1.0)
        await asyncio.sleep(min(_LONGEST_PAUSE_SECONDS, max(growing, pause or 0.0)))


class _AgainError(Exception):
    """Another try may help, after `pause` seconds if the server named them."""

    def __init__(self, reason: str, *, pause: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause


async def _once(session: aiohttp.ClientSession, server: Server, route: str, body: Mapping[str, object], what: str) -> ServerReply:
    address = f"{server.url}/{route}"
    # A redirect would turn the POST into a GET, and might carry the key elsewhere.
    async with session.post(address, json=body, headers=server.headers, allow_redirects=False) as response:
        text = await response.text(errors="replace")
        status = response.status
        if status == 429 or status == 408 or status >= 500:
            raise _AgainError(f"HTTP {status}: {_message(text)}", pause=_retry_after(response))
        if 300 <= status < 400:
            raise RunInputError(
                f"--server = {server.url!r}: it redirects to {response.headers.get('Location', 'nowhere')!r}; give that address"
            )
        if status != 200:
            remedy = _REMEDIES.get(status, "look at --template, --max-tokens and the other settings that are sent")
            raise RunInputError(f"--server = {server.url!r}: it refuses {what} with HTTP {status}: {_message(text)}; {remedy}")
    return _read(text)


def _read(text: str) -> ServerReply:
    try:
        value: Any = json.loads(text)
        choice = value["choices"][0]
        said = _chat_text(choice["message"]) if "message" in choice else choice["text"]
        used = (value.get("usage") or {}).get("completion_tokens")
        finish = choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _AgainError(
            f"its answer is not what the OpenAI API promises ({type(error).__name__}): {text[:_SHOWN_CHARACTERS]!r}"
        ) from error
    if not isinstance(said, str):
        raise _AgainError(f"its answer holds no text: {text[:_SHOWN_CHARACTERS]!r}")
    return ServerReply(text=said, length=used if isinstance(used, int) else None, finish=str(finish or "unknown"))


def _chat_text(message: Mapping[str, object]) -> object:
    """Servers that take the thinking out of the text send it beside it; the whole is what the model wrote."""
    thinking = message.get("reasoning_content") or message.get("reasoning")
    content = message.get("content")
    if isinstance(thinking, str):
        return f"<think>{thinking}</think>{content or ''}" if content else f"<think>{thinking}"
    return "" if content is None and "content" in message else content


def _message(text: str) -> str:
    try:
        error = json.loads(text)
        found = error.get("error", error)
        told = found.get("message", text) if isinstance(found, dict) else found
    except (ValueError, AttributeError):
        told = text
    return " ".join(str(told).split())[:_SHOWN_CHARACTERS] or "no message"


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None
