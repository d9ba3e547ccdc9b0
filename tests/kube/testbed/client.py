"""A small synchronous client of the API server, for tests: plain dictionaries in and out, kinds found by discovery.

It shares no code with the operator's client on purpose: a mistake there must not hide here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from testbed.deadline import DeadlinePassed, wait_for

Object = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class ApiError(Exception):
    """The API server refused; `status` is the HTTP code, `reason` and `message` are what it said."""

    def __init__(self, status: int, text: str) -> None:
        try:
            body = json.loads(text)
        except ValueError:
            body = {}
        self.status = status
        self.body: Object = body if isinstance(body, dict) else {}
        self.reason = str(self.body.get("reason", ""))
        self.message = str(self.body.get("message", text))
        super().__init__(f"{status} {self.reason}: {self.message}")


@dataclass(frozen=True, slots=True)
class Resource:
    prefix: str
    plural: str
    kind: str
    namespaced: bool

    def path(self, *, namespace: str | None, name: str | None, subresource: str | None) -> str:
        parts = [self.prefix]
        if namespace is not None and self.namespaced:
            parts.append(f"namespaces/{namespace}")
        parts += [self.plural, *filter(None, (name, subresource))]
        return "/".join(parts)


class Client:
    """Speaks to one API server as one user. Thread-safe."""

    def __init__(self, url: str, *, token: str, certificate_authority: Path | None = None, timeout: float = 30.0) -> None:
        self.url = url
        self._pool = urllib3.PoolManager(
            ca_certs=str(certificate_authority) if certificate_authority else None,
            headers={"Authorization": f"Bearer {token}"},
            timeout=urllib3.Timeout(connect=5.0, read=timeout),
            retries=False,
            maxsize=16,
        )
        self._resources: dict[str, Resource] = {}

    def raw(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """One request as it is: the status and the text of the answer, whatever they are."""
        url = self.url + path + (f"?{urlencode(query)}" if query else "")
        merged = {**self._pool.headers, "Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        data = None if body is None else json.dumps(body).encode()
        answer = self._pool.request(method, url, body=data, headers=merged)
        return int(answer.status), answer.data.decode(errors="replace")

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        status, text = self.raw(method, path, body, query=query, headers=headers)
        if status >= 400:
            raise ApiError(status, text)
        answer: Object = json.loads(text) if text else {}
        return answer

    def resource(self, name: str) -> Resource:
        """A kind by plural (`pods`), kind (`Pod`) or either with its group (`reasoningrljobs.reasonrl.dev`); asked of the server once."""
        if name not in self._resources:
            self._discover()
        if name not in self._resources:
            raise KeyError(f"the API server has no resource {name!r}; is its CRD installed?")
        return self._resources[name]

    def has(self, resource: str) -> bool:
        """Whether the server has this kind; asked again as long as it has not."""
        if resource not in self._resources:
            self._discover()
        return resource in self._resources

    def _discover(self) -> None:
        for root in ("/apis", "/api"):
            for group in self.request("GET", root, headers={"Accept": _DISCOVERY})["items"]:
                for version in reversed(group["versions"]):
                    self._remember(str(group["metadata"].get("name", "")), version)

    def _remember(self, group: str, version: Object) -> None:
        prefix = f"/apis/{group}/{version['version']}" if group else f"/api/{version['version']}"
        for entry in version.get("resources", ()):
            kind = entry["responseKind"].get("kind", "")
            found = Resource(prefix=prefix, plural=entry["resource"], kind=kind, namespaced=entry["scope"] == "Namespaced")
            for name in (found.plural, kind):
                self._resources[name] = found
                self._resources[f"{name}.{group}"] = found

    def get(self, resource: str, name: str, *, namespace: str | None = None, subresource: str | None = None) -> Object:
        return self.request("GET", self._path(resource, namespace, name, subresource))

    def find(self, resource: str, name: str, *, namespace: str | None = None) -> Object | None:
        """The object, or None when there is none."""
        try:
            return self.get(resource, name, namespace=namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, resource: str, *, namespace: str | None = None, labels: str = "", fields: str = "") -> list[Object]:
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        items: list[Object] = self.request("GET", self._path(resource, namespace), query=query)["items"]
        return items

    def create(self, manifest: Object, *, namespace: str | None = None, query: Mapping[str, object] | None = None) -> Object:
        """Creates `manifest`, in `namespace` unless it names its own."""
        return self.request("POST", self._path(*self._place(manifest, namespace)), manifest, query=query)

    def replace(self, manifest: Object, *, subresource: str | None = None) -> Object:
        resource, namespace = self._place(manifest, None)
        return self.request("PUT", self._path(resource, namespace, manifest["metadata"]["name"], subresource), manifest)

    def apply(self, manifest: Object, *, namespace: str | None = None, manager: str = "testbed") -> Object:
        """Server-side apply, taking over fields of other managers."""
        resource, place = self._place(manifest, namespace)
        path = self._path(resource, place, manifest["metadata"]["name"])
        query = {"fieldManager": manager, "force": "true"}
        return self.request("PATCH", path, manifest, query=query, headers={"Content-Type": APPLY_PATCH})

    def patch(
        self,
        resource: str,
        name: str,
        body: object,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
        how: str = MERGE_PATCH,
    ) -> Object:
        return self.request("PATCH", self._path(resource, namespace, name, subresource), body, headers={"Content-Type": how})

    def delete(self, resource: str, name: str, *, namespace: str | None = None, grace: int | None = None, propagation: str = "") -> None:
        """Deletes; that there is nothing to delete is no error."""
        body = {key: value for key, value in (("gracePeriodSeconds", grace), ("propagationPolicy", propagation)) if value not in (None, "")}
        status, text = self.raw("DELETE", self._path(resource, namespace, name), body)
        if status >= 400 and status != 404:
            raise ApiError(status, text)

    def delete_all(self, resource: str, *, namespace: str, labels: str = "", grace: int | None = None) -> None:
        query = {"labelSelector": labels} if labels else {}
        self.request("DELETE", self._path(resource, namespace), {} if grace is None else {"gracePeriodSeconds": grace}, query=query)

    def watch(
        self, resource: str, *, namespace: str | None = None, labels: str = "", since: str = "", seconds: int = 30
    ) -> Iterator[Object]:
        """Events as they come, for at most `seconds`; ends when the server or the network ends it."""
        query: dict[str, object] = {"watch": "true", "timeoutSeconds": seconds, "resourceVersion": since, "labelSelector": labels}
        url = f"{self.url}{self._path(resource, namespace)}?{urlencode({key: value for key, value in query.items() if value})}"
        answer = self._pool.request("GET", url, preload_content=False, timeout=urllib3.Timeout(connect=5.0, read=seconds + 5.0))
        try:
            if answer.status >= 400:
                raise ApiError(answer.status, answer.data.decode(errors="replace"))
            pending = b""
            for part in answer.stream(2**16):
                *lines, pending = (pending + part).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        finally:
            answer.close()

    def wait_for(
        self,
        resource: str,
        name: str,
        predicate: Callable[[Object], object],
        *,
        namespace: str | None = None,
        deadline: float = 10.0,
        what: str = "",
    ) -> Object:
        """The object once `predicate` holds of it."""
        seen: list[Object | None] = [None]

        def probe() -> Object | None:
            seen[0] = self.find(resource, name, namespace=namespace)
            return seen[0] if seen[0] is not None and predicate(seen[0]) else None

        try:
            found = wait_for(probe, deadline=deadline)
        except DeadlinePassed:
            last = (
                "absent" if seen[0] is None else json.dumps({key: seen[0].get(key) for key in ("metadata", "status")}, default=str)[:3000]
            )
            raise DeadlinePassed(f"{resource}/{name}: {what or 'the condition'} did not hold within {deadline:g} s; last: {last}") from None
        assert found is not None
        return found

    def wait_gone(self, resource: str, name: str, *, namespace: str | None = None, uid: str = "", deadline: float = 10.0) -> None:
        """Until the object (that with `uid`, if given) is not there any more."""

        def probe() -> bool:
            found = self.find(resource, name, namespace=namespace)
            return found is None or bool(uid and found["metadata"]["uid"] != uid)

        wait_for(probe, deadline=deadline, what=f"{resource}/{name} gone")

    def token(self, service_account: str, *, namespace: str) -> str:
        """A real token of a service account: what a pod with it would hold."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        return str(self.request("POST", path, body)["status"]["token"])

    def _place(self, manifest: Object, namespace: str | None) -> tuple[str, str | None]:
        group, _, _ = manifest["apiVersion"].rpartition("/")
        place = manifest["metadata"].get("namespace") or namespace
        return f"{manifest['kind']}.{group}", place

    def _path(self, resource: str, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        return self.resource(resource).path(namespace=namespace, name=name, subresource=subresource)
