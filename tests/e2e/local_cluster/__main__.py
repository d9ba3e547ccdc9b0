"""`scripts/local-cluster`: the local cluster from the command line."""

from __future__ import annotations

import argparse
import sys

from local_cluster.cluster import down, say, status, up
from local_cluster.images import image
from local_cluster.layout import layout
from local_cluster.processes import ClusterError
from local_cluster.programs import kubernetes_programs


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/local-cluster", description="a real Kubernetes of a few nodes on this machine")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", help="start it, or what of it does not run")
    starting.add_argument("--nodes", type=int, default=2, choices=range(1, 6), help="how many nodes (default 2)")
    starting.add_argument(
        "--image",
        action="append",
        metavar="NAME",
        help="an image of buildah's store that its nodes have; may be given several times (default: those of scripts/images)",
    )
    commands.add_parser("down", help="end it and leave nothing but cached programs and images")
    commands.add_parser("status", help="what runs")
    commands.add_parser("env", help="what to evaluate in a shell: KUBECONFIG and PATH")
    arguments = parser.parse_args()
    place = layout()
    try:
        match arguments.command:
            case "up":
                up(place, nodes=arguments.nodes, images=arguments.image or [image("operator"), image("runtime")])
                say(f'now: eval "$(scripts/local-cluster env)" && kubectl get nodes; KUBECONFIG is {place.kubeconfig}')
            case "down":
                down(place)
            case "status":
                print("\n".join(status(place)) or "no cluster")
            case "env":
                print(f'export KUBECONFIG={place.kubeconfig} PATH="{kubernetes_programs()}:$PATH"')
    except ClusterError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("stopped; scripts/local-cluster down takes away what was started")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
