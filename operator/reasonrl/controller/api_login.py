"""Where the API server is and how to be let in: the official client's configuration, from a pod's service account or a kubeconfig."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kubernetes.aio import config as official
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME, SERVICE_TOKEN_FILENAME


class LoginError(Exception):
    """No way to the API server is configured, or the one that is cannot be read."""


async def load_login(kubeconfig: Path | None = None, context: str | None = None) -> Configuration:
    """A kubeconfig that is named wins; then the pod's service account; then $KUBECONFIG or ~/.kube/config."""
    configuration = Configuration()
    load: Any = official  # its functions carry no types
    in_pod = bool(os.environ.get(SERVICE_HOST_ENV_NAME)) and Path(SERVICE_TOKEN_FILENAME).exists()
    try:
        if kubeconfig is None and in_pod:
            load.load_incluster_config(client_configuration=configuration)
        else:
            named = None if kubeconfig is None else str(kubeconfig)
            await load.load_kube_config(config_file=named, context=context, client_configuration=configuration)
    except (official.ConfigException, OSError) as error:
        where = kubeconfig or ("the pod's service account" if in_pod else os.environ.get("KUBECONFIG") or "~/.kube/config")
        raise LoginError(
            f"cannot log in to a Kubernetes API server with {where}: {error}. Name a kubeconfig with --kubeconfig or $KUBECONFIG, "
            "or run in a pod with a service account."
        ) from error
    return configuration
