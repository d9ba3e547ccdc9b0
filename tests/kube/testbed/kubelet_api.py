"""The calls that a kubelet and a scheduler make to the API server, for many pods at once.

Bounded in flight, repeated within a budget when the server is busy or a connection breaks, and counted, since a benchmark wants to know.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from testbed.client import ApiError
from testbed.pod_status import PodShape

Object = dict[str, Any]
RETRY_SECONDS = 30.0


class Expired(Exception):
    """The watch is too old to go on from: list again."""


class KubeletApi:
    """A session with one API server. Made and used inside one event loop."""

    def __init__(self, url: str, *, token: str, certificate_authority: Path, in_flight: int = 32) -> None:
        self._url = url
        context = ssl.create_default_context(cafile=str(certificate_authority))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=in_flight + 4),
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
        )
        self._slots = asyncio.Semaphore(in_flight)
        self.calls: Counter[str] = Counter()

    async def close(self) -> None:
        await self._session.close()

    async def bind(self, shape: PodShape, node: str) -> bool:
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": shape.name, "uid": shape.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        return await self._change("bind", "POST", f"{_path(shape)}/binding", body, "application/json")

    async def report(self, shape: PodShape, patch: Object) -> bool:
        return await self._change("status", "PATCH", f"{_path(shape)}/status", patch, "application/strategic-merge-patch+json")

    async def remove(self, shape: PodShape) -> bool:
        """The kubelet's last word on a pod: nothing of it runs any more."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": shape.uid}}
        return await self._change("remove", "DELETE", _path(shape), body, "application/json")

    async def delete(self, shape: PodShape) -> bool:
        """Asks for the pod's end with its own grace period, as a controller does."""
        return await self._change("delete", "DELETE", _path(shape), {"preconditions": {"uid": shape.uid}}, "application/json")

    async def evict(self, shape: PodShape) -> bool:
        """What `kubectl drain` does: the API server sets DisruptionTarget and deletes."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": shape.name, "namespace": shape.namespace},
            "deleteOptions": {"preconditions": {"uid": shape.uid}},
        }
        return await self._change("evict", "POST", f"{_path(shape)}/eviction", body, "application/json")

    async def register_node(self, name: str) -> None:
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        status, text = await self._send("POST", "/api/v1/nodes", node, "application/json")
        if status >= 400 and status != 409:
            raise ApiError(status, text)
        room = {"cpu": "1024", "memory": "8Ti", "pods": "10000", "nvidia.com/gpu": "8"}
        reported = {
            "status": {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}
        }
        status, text = await self._send("PATCH", f"/api/v1/nodes/{name}/status", reported, "application/strategic-merge-patch+json")
        if status >= 400:
            raise ApiError(status, text)

    async def _change(self, name: str, method: str, path: str, body: Object, content: str) -> bool:
        """Whether the server did it; False when the pod is gone or is another by now."""
        until = time.monotonic() + RETRY_SECONDS
        pause = 0.05
        while True:
            async with self._slots:
                self.calls[name] += 1
                try:
                    status, text = await self._send(method, path, body, content)
                except aiohttp.ClientConnectionError as error:
                    status, text = 503, str(error)
            if status < 400:
                return True
            if status in (404, 409):
                return False
            if (status != 429 and status < 500) or time.monotonic() > until:
                raise ApiError(status, text)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)

    async def _send(self, method: str, path: str, body: Object, content: str) -> tuple[int, str]:
        async with self._session.request(method, self._url + path, data=json.dumps(body), headers={"Content-Type": content}) as answer:
            return answer.status, await answer.text()

    async def list_pods(self, *, namespace: str | None, labels: str) -> tuple[list[Object], str]:
        """All pods, and the version to watch from."""
        pods: list[Object] = []
        query = {"limit": "500", "labelSelector": labels}
        while True:
            async with self._session.get(
                self._url + _pods(namespace), params={key: value for key, value in query.items() if value}
            ) as answer:
                if answer.status != 200:
                    raise ApiError(answer.status, await answer.text())
                page = json.loads(await answer.read())
            pods += page["items"]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return pods, str(page["metadata"]["resourceVersion"])

    async def watch_pods(self, *, namespace: str | None, labels: str, since: str) -> AsyncIterator[tuple[str, Object]]:
        """Events from `since` on, until the server ends the watch; raises Expired when it is too old."""
        query = {"watch": "true", "resourceVersion": since, "allowWatchBookmarks": "true", "timeoutSeconds": "300", "labelSelector": labels}
        params = {key: value for key, value in query.items() if value}
        async with self._session.get(self._url + _pods(namespace), params=params) as answer:
            if answer.status == 410:
                raise Expired
            if answer.status != 200:
                raise ApiError(answer.status, await answer.text())
            pending = b""
            async for part in answer.content.iter_any():
                *lines, pending = (pending + part).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        if event["object"].get("code") == 410:
                            raise Expired
                        raise ApiError(int(event["object"].get("code", 500)), line.decode())
                    yield event["type"], event["object"]


def _pods(namespace: str | None) -> str:
    return f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"


def _path(shape: PodShape) -> str:
    return f"/api/v1/namespaces/{shape.namespace}/pods/{shape.name}"
