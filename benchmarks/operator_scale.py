"""The operator under load: many jobs at once on one real API server, with nodes that are played.

    python benchmarks/operator_scale.py [--jobs 1000] [--trainers 4] [--rollouts 4] [--scenarios plain kills restart] [--output FILE]
    python benchmarks/operator_scale.py --against kuberay [--rounds 5] [--jobs 500]

Each scenario has a control plane of its own (etcd, kube-apiserver), fake nodes and one `reasonrl operator`, all on this machine:

- plain: jobs are created as fast as four clients can; all run, run on for a while, and all succeed.
- kills: the same, and a tenth of all pods is killed at the same moment while they run.
- restart: the operator gets SIGKILL when half of the pods are made; another starts at once and has to wait for the lease to run out.

With --against, the way up alone is measured, in turns with the KubeRay operator, which is built from its Go module for it.

At the end of each scenario, every pod is compared with what the jobs ask for, and the audit log with what may have been made: one that
ends wrong exits with 1. Calls are counted from the API server's audit log, CPU and memory from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from operator_scale_bringup import Load
    from operator_scale_check import Fleet

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ("plain", "kills", "restart")
NAMESPACES = 10


def main() -> int:
    parser = argparse.ArgumentParser(description="the operator under load on a real API server")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--trainers", type=int, default=4, help="trainer pods of each job")
    parser.add_argument("--rollouts", type=int, default=4, help="rollout pods of each job")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--against", choices=("kuberay",), help="measure another operator in turns with ours, instead of the scenarios")
    parser.add_argument("--reconciles", type=int, default=16, help="of KubeRay at the same time; ours has --operator-option=--workers=16")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each, with --against")
    parser.add_argument("--steady", type=float, default=20.0, help="seconds for which all jobs just run")
    parser.add_argument("--deadline", type=float, default=900.0, help="seconds for each thing that is waited for")
    parser.add_argument("--operator-option", action="append", default=[], metavar="OPTION", help="for `reasonrl operator`: --workers=32")
    parser.add_argument("--profile", type=Path, metavar="DIRECTORY", help="py-spy's view of the operator in each scenario, where installed")
    parser.add_argument("--keep-logs", action="store_true", help="leave logs and the audit log in the temporary directory")
    parser.add_argument("--output", type=Path, help="write what was measured as JSON")
    arguments = parser.parse_args()
    # The testbed is a package of the tests, which no installation brings along.
    sys.path.insert(0, str(ROOT / "tests" / "kube"))
    return run(arguments)


def run(arguments: argparse.Namespace) -> int:
    from testbed.child_process import ProcessEnded
    from testbed.client import ApiError
    from testbed.deadline import DeadlinePassed

    from operator_scale_bringup import Load
    from operator_scale_check import Fleet
    from operator_scale_measure import WrongEnd
    from operator_scale_rig import ours, rig
    from operator_scale_scenario import run_scenario
    from operator_scale_table import show

    jobs = tuple((f"team-{number % NAMESPACES}", f"job-{number:04d}") for number in range(arguments.jobs))
    fleet = Fleet(jobs=jobs, trainers=arguments.trainers, rollouts=arguments.rollouts)
    load = Load(steady=arguments.steady, deadline=arguments.deadline, profile=arguments.profile)
    if arguments.against:
        return run_against(arguments, fleet, load)
    results: list[dict[str, Any]] = []
    for name in arguments.scenarios:
        try:
            with rig(fleet, ours(fleet, arguments.operator_option), keep=arguments.keep_logs) as parts:
                results.append(run_scenario(name, parts, fleet, load))
        except (WrongEnd, ProcessEnded, DeadlinePassed, ApiError) as error:
            results.append({"scenario": name, "jobs": len(jobs), "pods": fleet.pods, "wrong": str(error)})
            print(f"{name}: WRONG: {error}", file=sys.stderr, flush=True)
        if arguments.output:
            write(arguments.output, results, fleet.trainers, fleet.rollouts)
    right = [result for result in results if "wrong" not in result]
    show(right, fleet)
    return 0 if len(right) == len(results) else 1


def run_against(arguments: argparse.Namespace, fleet: Fleet, load: Load) -> int:
    from operator_scale_against import run_turns, show_turns
    from operator_scale_kuberay import CannotBuild, kuberay
    from operator_scale_rig import ours

    try:
        contenders = [ours(fleet, arguments.operator_option), kuberay(fleet, reconciles=arguments.reconciles)]
    except CannotBuild as error:
        print(f"KubeRay: {error}", file=sys.stderr)
        return 1
    results = run_turns(contenders, fleet, load, rounds=arguments.rounds, keep=arguments.keep_logs)
    if arguments.output:
        write(arguments.output, results, fleet.trainers, fleet.rollouts)
    show_turns(results, contenders, fleet)
    return 0


def write(path: Path, results: list[dict[str, Any]], trainers: int, rollouts: int) -> None:
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.release()}
    report = {"trainers": trainers, "rollouts": rollouts, "machine": machine, "results": results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
