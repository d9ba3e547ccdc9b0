"""The Ray node that a pod brings to the run's cluster, from the pod's environment."""

from __future__ import annotations

from reasonrl.run.cluster.pod_environment import PodEnvironment
from reasonrl.run.cluster.pod_network import own_address
from reasonrl.run.cluster.ray_node import NodeSettings, store_size

START_SECONDS = 120.0


def node_settings(pod: PodEnvironment) -> NodeSettings:
    return NodeSettings(
        role=pod.role,
        index=pod.index,
        address=own_address(pod),
        head=None if pod.is_head else pod.head,
        port=pod.ray_port,
        gpus=pod.gpus,
        scratch=pod.scratch,
        store_bytes=store_size(pods=pod.pods_here),
    )
