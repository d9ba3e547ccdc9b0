"""`reasonrl operator`: the process that the chart installs. It watches jobs on a cluster and sees them through."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def register(app: typer.Typer) -> None:
    app.command("operator")(operator)


def operator(
    namespace: Annotated[
        list[str] | None, typer.Option(help="Namespace to act in; may be given several times. Default: the whole cluster.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Jobs looked at at the same time.")] = 16,
    in_flight: Annotated[int, typer.Option(min=1, max=1024, help="Calls to the API server in flight.")] = 64,
    metrics_host: Annotated[str, typer.Option(help="Address for /metrics, /healthz and /readyz.")] = "0.0.0.0",
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Port for them; 0 lets the system choose.")] = 8080,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Default: the pod's service account, else $KUBECONFIG or ~/.kube/config.", show_default=False)
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig. Default: its current one.", show_default=False)] = None,
    lease_namespace: Annotated[
        str | None, typer.Option(help="Where the Lease is that decides which replica acts. Default: this pod's namespace.")
    ] = None,
    lease_name: Annotated[str, typer.Option(help="Name of that Lease.")] = "reasonrl-operator",
    lease_seconds: Annotated[float, typer.Option(min=3, max=300, help="After how long another replica takes over.")] = 15.0,
    watch_silence: Annotated[float, typer.Option(min=1, max=600, help="Seconds without a word after which a watch is made again.")] = 75.0,
    poll_seconds: Annotated[float, typer.Option(min=0.2, max=600, help="How often a running job is asked how far it is.")] = 10.0,
    image: Annotated[str | None, typer.Option(help="Image of jobs that name none.", show_default=False)] = None,
    cluster_domain: Annotated[str, typer.Option(help="The cluster's DNS domain.")] = "cluster.local",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the operator until a signal ends it.

    Exit code 75 means that another replica acts now; 3 that a part of the operator broke. Both are for a restart. 2 means that it was
    started in a way in which it cannot run.
    """
    import asyncio
    import logging
    from dataclasses import replace
    from functools import partial

    try:
        from reasonrl.controller.api_login import LoginError
        from reasonrl.controller.operator import OperatorFailed, run_operator
        from reasonrl.controller.operator_options import Options, OptionsError, lease_times
        from reasonrl.controller.plan import plan
        from reasonrl.controller.settings import Platform
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "reasonrl":
            raise
        typer.echo(f"error: the operator needs the package {error.name}: pip install 'reasonrl[operator]'", err=True)
        raise typer.Exit(2) from error

    level = logging.getLevelName(log_level.upper())
    if not isinstance(level, int):
        typer.echo(f"error: --log-level {log_level}: is not one of debug, info, warning, error", err=True)
        raise typer.Exit(2)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # Kopf tells of each event of each object.
    logging.getLogger("kopf").setLevel(max(level, logging.WARNING))
    options = Options(
        namespaces=tuple(namespace or ()),
        workers=workers,
        in_flight=in_flight,
        health_host=metrics_host,
        health_port=metrics_port,
        kubeconfig=kubeconfig,
        context=context,
        lease_namespace=lease_namespace or _own_namespace(namespace or []),
        lease_name=lease_name,
        lease=lease_times(lease_seconds),
        identity=f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}",
        silence=watch_silence,
        poll=poll_seconds,
    )
    platform = replace(Platform(cluster_domain=cluster_domain), **({"image": image} if image else {}))
    try:
        asyncio.run(run_operator(options, partial(plan, platform=platform)))
    except (LoginError, OptionsError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except OperatorFailed as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(3) from error


def _own_namespace(acting_in: list[str]) -> str:
    try:
        return _OWN_NAMESPACE.read_text().strip() or "default"
    except OSError:
        return acting_in[0] if acting_in else "default"
