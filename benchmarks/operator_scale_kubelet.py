"""The nodes of the scale benchmark: the testbed's fake kubelet in a process of its own, so that its CPU is not counted as anybody else's.

It takes one command a line on stdin, for many pods at once, and says on stdout when the API server knows:

    {"end": [["namespace", "pod"], …], "exitCode": 137, "message": ""}  →  {"ended": [uid, …]}
    {"made": true}                                                      →  {"made": [["namespace", "pod", how many there were], …]}

The end of stdin ends it; its last line says what it cost: `{"calls": {…}, "cpuSeconds": 12.3}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "kube"))

from testbed.kubelet_api import KubeletApi
from testbed.pod_player import PodPlayer
from testbed.pod_script import Ending, Script, run_status
from testbed.status_server import StatusServer

NODES = tuple(f"node-{number}" for number in range(100))
SECONDS_PER_STEP = 60.0
END_SECONDS = 180.0


def steady_run(seconds: float) -> dict[str, Any]:
    """A run of one step a minute, as trainer-0 tells of it. It says the same thing until there is something new to say."""
    step = int(seconds / SECONDS_PER_STEP)
    started = time.time() - seconds + step * SECONDS_PER_STEP
    return run_status(step=step, stageStarted=float(round(started, 1)), tokensPerSecond=1000.0)


async def play(kubeconfig: Path, *, in_flight: int) -> None:
    config = json.loads(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    server = StatusServer()
    await server.start()
    api = KubeletApi(
        cluster["server"], token=user["token"], certificate_authority=Path(cluster["certificate-authority"]), in_flight=in_flight
    )
    player = PodPlayer(api, server, namespace=None, labels="", nodes=NODES, bind=True)
    player.add_rule("*", Script(status=steady_run), times=None)
    following = asyncio.create_task(player.follow())
    try:
        await asyncio.wait_for(player.synced.wait(), 30.0)
        say({"playing": True})
        commands = asyncio.StreamReader(limit=2**24)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        while line := await commands.readline():
            command = json.loads(line)
            if "end" in command:
                say({"ended": await end_pods(player, command)})
            else:
                say({"made": [[*key, count] for key, count in player.made.items()]})
        usage = resource.getrusage(resource.RUSAGE_SELF)
        problems = [repr(error) for error in player.errors]
        say({"calls": dict(api.calls), "cpuSeconds": round(usage.ru_utime + usage.ru_stime, 2), "errors": problems})
    finally:
        following.cancel()
        await server.stop()
        await api.close()


async def end_pods(player: PodPlayer, command: dict[str, Any]) -> list[str]:
    """Ends the containers of all these pods at the same moment. Pods that are made later under these names are not meant."""
    chosen = [player.pods[namespace, name] for namespace, name in command["end"]]
    ending = Ending(exit_code=command["exitCode"], message=command.get("message", ""))
    for pod in chosen:
        pod.orders.put_nowait(ending)
    async with asyncio.timeout(END_SECONDS):
        for pod in chosen:
            await pod.ended.wait()
    return [pod.shape.uid for pod in chosen]


def say(report: dict[str, Any]) -> None:
    print(json.dumps(report), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="plays the pods of all namespaces until stdin ends")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--in-flight", type=int, default=32)
    arguments = parser.parse_args()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    asyncio.run(play(arguments.kubeconfig, in_flight=arguments.in_flight))


if __name__ == "__main__":
    main()
