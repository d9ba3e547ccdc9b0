"""The operator's way to the API server: the official client's connection and login, with plain JSON bodies.

The typed models of the client cost twice the time of a call and many times the memory; nothing here needs them. What is added: a deadline
for every call, patience where the server asks for it, retries within a budget where no answer came, a count of every request, a bound on
how many are in flight, and a fence: a process that is no longer sure to lead does not write.

A retried request may have been carried out the first time. That does no harm here: objects are created under names known before
(AlreadyExists is then looked into), deleted by UID, and patched with the resource version that was read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from reasonrl.controller.api_errors import ApiError, NoAnswer, error_of
from reasonrl.controller.kinds import Kind

Verb = Literal["get", "list", "watch", "create", "patch", "delete"]
_METHODS: dict[Verb, str] = {"get": "GET", "list": "GET", "watch": "GET", "create": "POST", "patch": "PATCH", "delete": "DELETE"}
_WRITES: frozenset[Verb] = frozenset({"create", "patch", "delete"})
_AGAIN = frozenset({429, 500, 502, 503, 504})
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, ConnectionError, OSError)
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""Asks for the objects' metadata alone: contents never leave the server."""
METADATA_EVENTS = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_LONGEST_LINE = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a call may take in all, how long one attempt, and how often it is tried. A Retry-After longer than what is left ends it."""

    deadline: float = 30.0
    attempt: float = 10.0
    attempts: int = 5
    first_wait: float = 0.1
    longest_wait: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    verb: Verb
    kind: Kind
    path: str
    body: Mapping[str, Any] | None = None
    content: str = "application/json"
    accept: str = "application/json"

    @property
    def what(self) -> str:
        return f"{self.verb} {self.path.partition('?')[0]}"


CountCall = Callable[[str, str, str, float], None]
"""Called after each request with verb, kind, code (`none` where no answer came) and seconds."""


def _count_nothing(verb: str, kind: str, code: str, seconds: float) -> None:
    return None


def _anyone_may_write() -> None:
    return None


class ApiClient:
    """One connection pool to one API server. `fence` is called before each attempt to write, and raises where writing is not allowed."""

    def __init__(
        self,
        login: Configuration,
        *,
        random: Callable[[], float],
        in_flight: int = 64,
        patience: Patience | None = None,
        count: CountCall = _count_nothing,
        fence: Callable[[], None] = _anyone_may_write,
        log_in_again: Callable[[], Awaitable[Configuration]] | None = None,
    ) -> None:
        # Watches hold a connection each, beside the calls in flight.
        login.connection_pool_maxsize = in_flight + 32
        self._login = login
        self._rest: Any = _connect(login)
        self._retired: Any = None
        self._renewing = asyncio.Lock()
        self._random = random
        self._slots = asyncio.Semaphore(in_flight)
        self._patience = patience or Patience()
        self._count = count
        self._fence = fence
        self._log_in_again = log_in_again

    async def close(self) -> None:
        for connections in (self._rest, self._retired):
            if connections is not None:
                await connections.close()

    async def get(self, kind: Kind, *, namespace: str | None, name: str, patience: Patience | None = None) -> dict[str, Any]:
        return await self._call(_Request(verb="get", kind=kind, path=kind.path(namespace=namespace, name=name)), patience)

    async def list_pages(
        self, kind: Kind, *, namespace: str | None, selector: str = "", page: int = 250, metadata_only: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """The collection page by page; each page's `metadata.resourceVersion` is that of the whole list."""
        accept = METADATA_LIST if metadata_only else "application/json"
        query = {"limit": str(page)} | ({"labelSelector": selector} if selector else {})
        while True:
            path = f"{kind.path(namespace=namespace)}?{urlencode(query)}"
            body = await self._call(_Request(verb="list", kind=kind, path=path, accept=accept))
            yield body
            more = (body.get("metadata") or {}).get("continue")
            if not more:
                return
            query["continue"] = more

    async def create(
        self, kind: Kind, body: Mapping[str, Any], *, namespace: str | None, patience: Patience | None = None
    ) -> dict[str, Any]:
        return await self._call(_Request(verb="create", kind=kind, path=kind.path(namespace=namespace), body=body), patience)

    async def patch(
        self,
        kind: Kind,
        body: Mapping[str, Any],
        *,
        namespace: str | None,
        name: str,
        subresource: str | None = None,
        patience: Patience | None = None,
    ) -> dict[str, Any]:
        """A JSON merge patch. A `metadata.resourceVersion` or `metadata.uid` in it is a precondition."""
        path = kind.path(namespace=namespace, name=name, subresource=subresource)
        return await self._call(_Request(verb="patch", kind=kind, path=path, body=body, content="application/merge-patch+json"), patience)

    async def delete(self, kind: Kind, *, namespace: str | None, name: str, uid: str, grace_seconds: int | None = None) -> dict[str, Any]:
        """Deletes the object of that UID, never a later one of the same name."""
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        return await self._call(_Request(verb="delete", kind=kind, path=kind.path(namespace=namespace, name=name), body=options))

    async def watch(
        self,
        kind: Kind,
        *,
        namespace: str | None,
        since: str,
        selector: str = "",
        seconds: float,
        silence: float,
        metadata_only: bool = False,
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The events after `since`, bookmarks included, as (type, object), until the server ends the stream after about `seconds`.

        NoAnswer where nothing at all comes for `silence` seconds or the connection breaks; Gone where `since` is too old.
        """
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": since, "timeoutSeconds": str(int(seconds))}
        if selector:
            query["labelSelector"] = selector
        path = f"{kind.path(namespace=namespace)}?{urlencode(query)}"
        accept = METADATA_EVENTS if metadata_only else "application/json"
        request = _Request(verb="watch", kind=kind, path=path, accept=accept)
        timeout = aiohttp.ClientTimeout(total=seconds + silence, sock_connect=self._patience.attempt, sock_read=silence)
        started = time.monotonic()
        response: aiohttp.ClientResponse | None = None
        code = "none"
        try:
            async with asyncio.timeout(self._patience.attempt):
                response = await self._send(request, timeout)
                code = str(response.status)
                if response.status != 200:
                    raise await _error(request.what, response)
            # Counted when it opens: a watch that lives for minutes is a call now, not at its end.
            self._count("watch", kind.kind, code, time.monotonic() - started)
            async for line in _lines(response):
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    status = event.get("object") or {}
                    raise error_of(request.what, int(status.get("code") or 0), status)
                yield event["type"], event["object"]
        except _NO_ANSWER as error:
            if response is None:
                self._count("watch", kind.kind, code, time.monotonic() - started)
            raise NoAnswer(f"{request.what}: the stream broke or fell silent: {_describe(error)}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise NoAnswer(f"{request.what}: the stream carried something that is not a watch event: {_describe(error)}") from error
        finally:
            if response is not None:
                response.close()

    async def _call(self, request: _Request, patience: Patience | None = None) -> dict[str, Any]:
        patience = patience or self._patience
        ends = time.monotonic() + patience.deadline
        if self._slots.locked():
            try:
                async with asyncio.timeout(patience.deadline):
                    await self._slots.acquire()
            except TimeoutError:
                raise NoAnswer(f"{request.what}: too many calls in flight for {patience.deadline:g} s") from None
        else:
            await self._slots.acquire()
        try:
            return await self._call_until(ends, request, patience)
        finally:
            # Kept over the waits between attempts: a server that asks for patience then has fewer callers, not the same ones later.
            self._slots.release()

    async def _call_until(self, ends: float, request: _Request, patience: Patience) -> dict[str, Any]:
        logged_in_again = False
        attempt = 0
        while True:
            attempt += 1
            rest = self._rest
            try:
                return await self._attempt(request, seconds=max(0.001, min(patience.attempt, ends - time.monotonic())))
            except ApiError as failure:
                error = failure
            if error.code == 401 and self._log_in_again is not None and not logged_in_again:
                logged_in_again = True
                await self._renew_login(rest)
                continue
            if not isinstance(error, NoAnswer) and error.code not in _AGAIN:
                raise error
            wait = min(patience.longest_wait, patience.first_wait * 2 ** (attempt - 1)) * (0.5 + self._random())
            wait = max(wait, error.retry_after or 0.0)
            if attempt >= patience.attempts or time.monotonic() + wait >= ends:
                raise error
            await asyncio.sleep(wait)

    async def _attempt(self, request: _Request, *, seconds: float) -> dict[str, Any]:
        if request.verb in _WRITES:
            self._fence()
        started = time.monotonic()
        code = "none"
        try:
            response = await self._send(request, aiohttp.ClientTimeout(total=seconds))
            try:
                code = str(response.status)
                if response.status >= 400:
                    raise await _error(request.what, response)
                answer = orjson.loads(await response.read())
            finally:
                response.release()
        except _NO_ANSWER as error:
            code = "none"
            raise NoAnswer(f"{request.what}: no answer: {_describe(error)}") from error
        except ValueError as error:
            raise NoAnswer(f"{request.what}: the answer is not JSON: {_describe(error)}") from error
        finally:
            self._count(request.verb, request.kind.kind, code, time.monotonic() - started)
        if not isinstance(answer, dict):
            raise NoAnswer(f"{request.what}: the answer is not a JSON object")
        return answer

    async def _send(self, request: _Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        headers = {"Content-Type": request.content, "Accept": request.accept, "User-Agent": "reasonrl-operator"}
        # Read for each request: a service account's token is replaced under our feet.
        if token := await self._login.get_api_key_with_prefix("BearerToken"):
            headers["Authorization"] = token
        elif self._login.username:
            headers["Authorization"] = str(self._login.get_basic_auth_token())
        url = self._login.host + request.path
        response = await self._rest.request(_METHODS[request.verb], url, headers=headers, body=request.body, _request_timeout=timeout)
        answer: aiohttp.ClientResponse = response.response
        return answer

    async def _renew_login(self, refused: Any) -> None:
        """Reads the credentials again, once for all the calls that were refused with the same ones."""
        assert self._log_in_again is not None
        async with self._renewing:
            if self._rest is not refused:
                return
            login = await self._log_in_again()
            login.connection_pool_maxsize = self._login.connection_pool_maxsize
            self._login, self._rest = login, _connect(login)
            # Calls are still in flight on the refused connections; those retired at the last renewal have none left.
            retired, self._retired = self._retired, refused
        if retired is not None:
            await retired.close()


def _connect(login: Configuration) -> Any:
    # Left to itself the HTTP library reads proxies and ~/.netrc anew for each request, in a thread: a third of a call's time.
    login.client_session_kwargs = {"trust_env": False, **(login.client_session_kwargs or {})}
    if login.proxy is None:
        login.proxy = _proxy_of_environment(login.host)
    # The client's connection carries no types.
    connection: Any = RESTClientObject
    return connection(login)


def _proxy_of_environment(url: str) -> str | None:
    parts = urlsplit(url)
    proxies = getproxies()
    if parts.scheme not in proxies or proxy_bypass(parts.hostname or ""):
        return None
    return proxies[parts.scheme]


async def _error(what: str, response: aiohttp.ClientResponse) -> ApiError:
    try:
        status = orjson.loads(await response.read())
    except ValueError:
        status = {}
    return error_of(what, response.status, status if isinstance(status, dict) else {}, _retry_after(response))


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The stream's lines. The reader of the HTTP library refuses lines longer than its buffer; objects may be."""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        rest += chunk
        if b"\n" in chunk:
            *lines, tail = bytes(rest).split(b"\n")
            rest = bytearray(tail)
            for line in lines:
                if line:
                    yield line
        if len(rest) > _LONGEST_LINE:
            raise ValueError(f"a line of more than {_LONGEST_LINE} bytes")
