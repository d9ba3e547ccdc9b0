"""One scenario of the scale benchmark, from the first job created to the last one succeeded, with a check of every pod on the way."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from testbed.pod_script import run_result

from operator_scale_bringup import Load, Meter, bring_up, lead, part, pid_of
from operator_scale_check import Fleet, Killed, check_children, check_ended, check_made, check_running, list_pods
from operator_scale_measure import AuditLog, Check, Key, WrongEnd, calls_between, calls_of_jobs
from operator_scale_rig import Rig, looks
from reasonrl.api import names

KILLED_SHARE = 0.1
IN_FLIGHT_SECONDS = 1.0


def run_scenario(name: str, rig: Rig, fleet: Fleet, load: Load) -> dict[str, Any]:
    """What was measured. WrongEnd where anything ended otherwise than it must."""
    meter = lead(rig, fleet, name)
    killed = Killed()
    if load.profile is not None:
        _profile(rig, load.profile / f"{name}.txt")
    restart = partial(_restart_half_way, rig, fleet, meter, load) if name == "restart" else dict
    began, result = bring_up(meter, fleet, load, meanwhile=restart)
    result = {"scenario": name, **result, "looksPerJob": round(looks(rig.operator) / len(fleet.jobs), 1)}
    audit, jobs = meter.audit, meter.jobs
    if load.steady:
        result["steady"] = _steady(meter, fleet, load)
    _check_running(rig, fleet, audit, killed)
    if name == "kills":
        result["kills"] = _kill(rig, fleet, meter, killed, load)
    result["end"] = _succeed(rig, fleet, meter, load)
    usage, calls, _ = meter.mark()
    check_ended(list_pods(rig.api, fleet.namespaces), fleet)
    check_made(rig.kubelet.made(), audit.created, fleet, killed)
    result["inAll"] = part(fleet, (began.usage, began.calls), (usage, calls))
    result |= {"refused": dict(audit.refused), "statusUpdatesSeen": jobs.updates, "kubelet": rig.kubelet.close(), "samples": meter.samples}
    _check_log(rig)
    meter.say("ended as it must")
    return result


def _check_running(rig: Rig, fleet: Fleet, audit: AuditLog, killed: Killed) -> None:
    audit.read()
    check_running(list_pods(rig.api, fleet.namespaces), fleet, killed)
    check_children(rig.api, fleet)
    check_made(rig.kubelet.made(), audit.created, fleet, killed)


def _restart_half_way(rig: Rig, fleet: Fleet, meter: Meter, load: Load) -> dict[str, Any]:
    """Kills the operator when half of the pods are made, and starts another at once, which has to wait for the lease to run out."""
    until = time.monotonic() + load.deadline
    while meter.audit.pods < fleet.pods / 2:
        if time.monotonic() > until:
            raise WrongEnd(f"half of the pods were not there after {load.deadline:g} s")
        time.sleep(0.02)
        meter.audit.read()
    rig.operator.kill()
    killed = time.time()
    rig.operator.start()
    # What was on its way when the process died is still carried out by the API server.
    time.sleep(IN_FLIGHT_SECONDS)
    meter.audit.read()
    made = meter.audit.pods
    meter.say(f"killed the operator with {made} of {fleet.pods} pods made")
    while meter.audit.pods == made:
        if time.monotonic() > until:
            raise WrongEnd(f"the second operator made no pod within {load.deadline:g} s")
        time.sleep(0.05)
        meter.tick()
    return {"restart": {"podsMade": made, "secondsToNextPod": round(time.time() - killed, 2)}}


def _steady(meter: Meter, fleet: Fleet, load: Load) -> dict[str, Any]:
    """What it costs when nothing happens but that runs go on."""
    before, calls_before, began = meter.mark()
    while time.time() < began + load.steady:
        meter.tick()
        time.sleep(0.25)
    after, calls_after, ended = meter.mark()
    seconds = ended - began
    calls = calls_between(calls_before, calls_after)
    return {
        "seconds": round(seconds, 1),
        "cpuShare": round((after.cpu - before.cpu) / seconds, 4),
        "callsPerSecond": round(calls_of_jobs(calls) / seconds, 2),
        "calls": dict(calls),
    }


def _kill(rig: Rig, fleet: Fleet, meter: Meter, killed: Killed, load: Load) -> dict[str, Any]:
    """Kills a tenth of all pods at the same moment (exit code 137), and waits until every job runs in full again and says why."""
    chosen = list(_choose(fleet, killed, random.Random(load.seed)))
    before, calls_before, began = meter.mark()
    killed.uids |= set(rig.kubelet.end_pods(chosen, exit_code=137))
    reported = time.time()
    checks = {job: _recovered(rig, killed, job) for job in fleet.jobs}
    recovered = meter.jobs.wait(checks, deadline=load.deadline, tick=meter.tick)
    after, calls_after, _ = meter.mark()
    _check_running(rig, fleet, meter.audit, killed)
    meter.say(f"{len(chosen)} pods killed, {len(killed.again)} made again, all right again after {recovered - began:.1f} s")
    calls = calls_between(calls_before, calls_after)
    return {
        "killed": len(chosen),
        "madeAgain": len(killed.again),
        "jobsHit": len(killed.trainers.keys() | killed.rollouts.keys()),
        "reportedSeconds": round(reported - began, 2),
        "recoveredSeconds": round(recovered - began, 2),
        "podsPerSecond": round(len(killed.again) / (recovered - began), 1),
        "callsPerPodMadeAgain": round(calls_of_jobs(calls) / len(killed.again), 2),
        "cpuMsPerPodMadeAgain": round(1000 * (after.cpu - before.cpu) / len(killed.again), 2),
        "calls": dict(calls),
    }


def _choose(fleet: Fleet, killed: Killed, dice: random.Random) -> Iterator[Key]:
    every = [(job, pod) for job in fleet.jobs for pod in fleet.pods_of(job)]
    for job, pod in sorted(dice.sample(every, max(1, round(KILLED_SHARE * len(every))))):
        if pod[1].startswith(f"{job[1]}-trainer-"):
            killed.trainers[job] += 1
            killed.again |= {(job[0], names.pod_name(job[1], "trainer", index)) for index in range(fleet.trainers)}
        else:
            killed.rollouts[job] += 1
            killed.again.add(pod)
        yield pod


def _recovered(rig: Rig, killed: Killed, job: Key) -> Check:
    """The job runs in full, and its books have the failures: one of the gang, however many of it died, one for each rollout pod."""
    runs, of_trainers, of_rollouts = rig.contender.ready, min(killed.trainers[job], 1), killed.rollouts[job]

    def check(status: dict[str, Any]) -> bool:
        if not runs(status):
            return False
        attempts = status["attempts"]
        return (attempts["trainer"]["failures"], attempts["rollout"]["failures"]) == (of_trainers, of_rollouts)

    return check


def _succeed(rig: Rig, fleet: Fleet, meter: Meter, load: Load) -> dict[str, Any]:
    """All trainers end their runs at the same moment; the operator says so and takes the rollout pods away."""
    leaders = [(namespace, names.pod_name(job, "trainer", index)) for namespace, job in fleet.jobs for index in range(fleet.trainers)]
    before, calls_before, began = meter.mark()
    rig.kubelet.end_pods(leaders, exit_code=0, message=run_result(exit_code=0, reason="Completed", step=1000, checkpoint_step=1000))
    reported = time.time()
    succeeded = meter.jobs.wait(dict.fromkeys(fleet.jobs, _succeeded), deadline=load.deadline, tick=meter.tick)
    _wait_quiet(meter, load)
    after, calls_after, ended = meter.mark()
    meter.say(f"all succeeded after {succeeded - began:.1f} s, nothing runs after {ended - began:.1f} s")
    return {
        "reportedSeconds": round(reported - began, 2),
        "allSucceededSeconds": round(succeeded - began, 2),
        "quietSeconds": round(ended - began, 2),
    } | part(fleet, (before, calls_before), (after, calls_after))


def _succeeded(status: dict[str, Any]) -> bool:
    return str(status.get("summary")) == "Succeeded"


def _wait_quiet(meter: Meter, load: Load) -> None:
    """Until the operator has asked for nothing of a job for two seconds."""
    until = time.monotonic() + load.deadline
    calls, since = -1, time.monotonic()
    while time.monotonic() < since + 2.0:
        if time.monotonic() > until:
            raise WrongEnd(f"the operator still makes calls {load.deadline:g} s after the end")
        meter.tick()
        time.sleep(0.25)
        now = calls_of_jobs(meter.audit.calls)
        if now != calls:
            calls, since = now, time.monotonic()


def _check_log(rig: Rig) -> None:
    wrong = [line for line in rig.operator.log().splitlines() if "Traceback" in line or " ERROR " in line or " CRITICAL " in line]
    if wrong:
        raise WrongEnd(f"the operator's log has errors: {wrong[:3]}")


def _profile(rig: Rig, path: Path) -> None:
    """Until the process ends: stacks, one a line, with how often each was seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    program = shutil.which("py-spy")
    if program is None:
        raise WrongEnd("--profile needs py-spy: pip install py-spy")
    command = [program, "record", "--pid", str(pid_of(rig)), "--format", "raw", "--rate", "200", "--output", str(path)]
    subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
