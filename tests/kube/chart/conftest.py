"""The chart on a real API server: one control plane of its own, where real Helm has installed it, for all tests of this folder.

No node runs the operator's image here, so the operator is started as a process of its own: with the arguments that the installed Deployment
has, as the service account that the chart made, by a token that the API server issued for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testbed.client import Client
from testbed.control_plane import CONTROLLERS, ControlPlane
from testbed.helm import Helm, new_namespace, wait_served, with_helm


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlPlane, Helm]]:
    """A control plane with the chart installed as `rl` in namespace `platform`, where pods must be restricted, and the real controllers."""
    with with_helm(tmp_path_factory.mktemp("helm")) as (plane, helm):
        admin = plane.client()
        new_namespace(admin, "platform", **{"pod-security.kubernetes.io/enforce": "restricted"})
        helm.install("rl", namespace="platform")
        wait_served(admin)
        plane.start_controller_manager((*CONTROLLERS, "validatingadmissionpolicy-status-controller"))
        yield plane, helm
        plane.check()


@pytest.fixture(scope="session")
def plane(cluster: tuple[ControlPlane, Helm]) -> ControlPlane:
    return cluster[0]


@pytest.fixture(scope="session")
def helm(cluster: tuple[ControlPlane, Helm]) -> Helm:
    return cluster[1]


@pytest.fixture(scope="session")
def admin(plane: ControlPlane) -> Client:
    return plane.client()


@pytest.fixture
def team(admin: Client, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, where jobs may be."""
    return new_namespace(admin, f"team-{abs(hash(request.node.name)) % 10**9}")
