"""The kinds of object that the operator reads or writes, and where the API server keeps each: paths are built here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from reasonrl.api import names


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`group` "" is the core API."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of one object, or of the collection without `name`; across namespaces without `namespace`."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


POD = Kind(group="", version="v1", kind="Pod", plural="pods")
SERVICE = Kind(group="", version="v1", kind="Service", plural="services")
CONFIG_MAP = Kind(group="", version="v1", kind="ConfigMap", plural="configmaps")
SECRET = Kind(group="", version="v1", kind="Secret", plural="secrets")
EVENT = Kind(group="", version="v1", kind="Event", plural="events")
NETWORK_POLICY = Kind(group="networking.k8s.io", version="v1", kind="NetworkPolicy", plural="networkpolicies")
LEASE = Kind(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases")
VOLCANO_POD_GROUP = Kind(group="scheduling.volcano.sh", version="v1beta1", kind="PodGroup", plural="podgroups")
COSCHEDULING_POD_GROUP = Kind(group="scheduling.x-k8s.io", version="v1alpha1", kind="PodGroup", plural="podgroups")
JOB = Kind(group=names.GROUP, version=names.VERSION, kind="ReasoningRLJob", plural=names.JOB_PLURAL)
RUNTIME = Kind(group=names.GROUP, version=names.VERSION, kind="ReasoningRLRuntime", plural=names.RUNTIME_PLURAL)
CLUSTER_RUNTIME = Kind(
    group=names.GROUP,
    version=names.VERSION,
    kind="ClusterReasoningRLRuntime",
    plural=names.CLUSTER_RUNTIME_PLURAL,
    namespaced=False,
)

CHILD_KINDS = (POD, SERVICE, CONFIG_MAP, SECRET, NETWORK_POLICY, VOLCANO_POD_GROUP, COSCHEDULING_POD_GROUP)
"""What a job may own."""
OPTIONAL_KINDS = frozenset({VOLCANO_POD_GROUP, COSCHEDULING_POD_GROUP})
"""Kinds that a cluster has only where somebody has installed them."""

_BY_VERSION_AND_KIND = {(kind.api_version, kind.kind): kind for kind in (*CHILD_KINDS, EVENT, LEASE, JOB, RUNTIME, CLUSTER_RUNTIME)}


def kind_of(api_version: str, kind: str) -> Kind:
    """The entry of an object's `apiVersion` and `kind`. KeyError where the operator does not handle such objects."""
    return _BY_VERSION_AND_KIND[api_version, kind]
