"""The fake kubelet of the testbed: it plays pods as a real node would, as far as the operator can see."""

from __future__ import annotations

import json

import pytest
import urllib3
from testbed.client import Client
from testbed.control_plane import ControlPlane
from testbed.deadline import DeadlinePassed
from testbed.fake_kubelet import FakeKubelet, fake_kubelet
from testbed.objects import condition, ending, phase, pod
from testbed.pod_script import Script, run_result, run_status

from reasonrl.api import names


def ask(address: str, path: str = "/status", *, timeout: float = 5.0) -> tuple[int, str]:
    answer = urllib3.request("GET", f"http://{address}:{names.STATUS_PORT}{path}", timeout=timeout, retries=False)
    return answer.status, answer.data.decode()


class TestFakeKubelet:
    def test_runs_a_pod_without_a_script(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        api.create(pod("plain"), namespace=namespace)
        found = api.wait_for("pods", "plain", lambda one: phase(one) == "Running", namespace=namespace)
        assert condition(found, "Ready")["status"] == "True"
        assert condition(found, "PodScheduled")["status"] == "True"
        assert found["spec"]["nodeName"] == kubelet.node_of("plain")
        assert found["status"]["podIP"].startswith("127.")

    def test_script_decides_how_a_pod_ends(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        message = run_result(exit_code=7, reason="BadReward", message="reward code raises", step=12)
        kubelet.script("bad-*", Script(run_for=0.0, exit_code=7, message=message))
        kubelet.script("big-*", Script(run_for=0.0, exit_code=137, reason="OOMKilled"))
        kubelet.script("good-*", Script(run_for=0.0))
        for name in ("bad-0", "big-0", "good-0"):
            api.create(pod(name), namespace=namespace)
        ends = {}
        for name in ("bad-0", "big-0", "good-0"):
            found = api.wait_for("pods", name, lambda one: phase(one) in ("Failed", "Succeeded"), namespace=namespace)
            ends[name] = (phase(found), ending(found)["exitCode"], ending(found)["reason"], ending(found).get("message", ""))
        assert ends == {
            "bad-0": ("Failed", 7, "Error", message),
            "big-0": ("Failed", 137, "OOMKilled", ""),
            "good-0": ("Succeeded", 0, "Completed", ""),
        }

    def test_script_with_times_is_for_the_first_pods_only(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        kubelet.script("again", Script(run_for=0.0, exit_code=1), times=1)
        first = api.create(pod("again"), namespace=namespace)
        api.wait_for("pods", "again", lambda one: phase(one) == "Failed", namespace=namespace)
        api.delete("pods", "again", namespace=namespace)
        api.wait_gone("pods", "again", namespace=namespace, uid=first["metadata"]["uid"])
        api.create(pod("again"), namespace=namespace)
        api.wait_for("pods", "again", lambda one: phase(one) == "Running", namespace=namespace)
        assert kubelet.made("again") == 2

    def test_scripts_given_at_the_start_hold_for_pods_already_there(self, control_plane: ControlPlane, api: Client, namespace: str) -> None:
        api.create(pod("early"), namespace=namespace)
        with fake_kubelet(control_plane, namespace=namespace, scripts={"early": Script(run_for=0.0, exit_code=9)}):
            found = api.wait_for("pods", "early", lambda one: phase(one) == "Failed", namespace=namespace)
        assert ending(found)["exitCode"] == 9

    def test_commands_end_pods_and_return_when_the_server_knows(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        for name in ("lives", "dies"):
            api.create(pod(name), namespace=namespace)
        kubelet.wait_running("lives", "dies")
        kubelet.fail("dies", 3, "no more")
        kubelet.succeed("lives", "done")
        assert ending(api.get("pods", "dies", namespace=namespace))["message"] == "no more"
        assert phase(api.get("pods", "lives", namespace=namespace)) == "Succeeded"

    def test_deletion_ends_the_container_before_the_pod_is_gone(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        kubelet.script("*", Script(terminate_exit_code=4, terminate_message="preempted"))
        made = api.create(pod("victim"), namespace=namespace)
        kubelet.wait_running("victim")
        events = api.watch("pods", namespace=namespace, since=api.get("pods", "victim", namespace=namespace)["metadata"]["resourceVersion"])
        api.delete("pods", "victim", namespace=namespace)
        seen = []
        for event in events:
            seen.append(event)
            if event["type"] == "DELETED":
                break
        assert {event["object"]["metadata"]["uid"] for event in seen} == {made["metadata"]["uid"]}
        assert phase(seen[0]["object"]) == "Running"
        assert "deletionTimestamp" in seen[0]["object"]["metadata"]
        assert (ending(seen[1]["object"])["exitCode"], ending(seen[1]["object"])["message"]) == (4, "preempted")

    def test_drain_marks_the_disruption(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        kubelet.script("*", Script(terminate_after=60.0))
        api.create(pod("drained"), namespace=namespace)
        kubelet.wait_running("drained")
        kubelet.drain("drained")
        found = api.wait_for("pods", "drained", lambda one: "deletionTimestamp" in one["metadata"], namespace=namespace)
        assert condition(found, "DisruptionTarget")["reason"] == "EvictionByEvictionAPI"
        kubelet.fail("drained", 4)
        api.wait_gone("pods", "drained", namespace=namespace)

    def test_held_pods_wait_for_a_node(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        kubelet.hold("waits-*")
        api.create(pod("waits-0"), namespace=namespace)
        found = api.wait_for("pods", "waits-0", lambda one: condition(one, "PodScheduled"), namespace=namespace)
        assert (phase(found), condition(found, "PodScheduled")["reason"]) == ("Pending", "Unschedulable")
        kubelet.release("waits-*")
        kubelet.wait_running("waits-0")

    def test_gated_pods_wait_for_their_gates(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        api.create(pod("gated", schedulingGates=[{"name": "example.com/quota"}]), namespace=namespace)
        with pytest.raises(DeadlinePassed):
            kubelet.wait_running("gated", deadline=0.3)
        api.patch("pods", "gated", {"spec": {"schedulingGates": []}}, namespace=namespace)
        kubelet.wait_running("gated")

    def test_containers_that_cannot_start_say_why(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        kubelet.script("*", Script(waiting="ImagePullBackOff", waiting_message="no such image"))
        api.create(pod("imageless"), namespace=namespace)
        found = api.wait_for("pods", "imageless", lambda one: one["status"].get("containerStatuses"), namespace=namespace)
        assert found["status"]["containerStatuses"][0]["state"]["waiting"] == {"reason": "ImagePullBackOff", "message": "no such image"}
        api.delete("pods", "imageless", namespace=namespace)
        api.wait_gone("pods", "imageless", namespace=namespace)

    def test_lost_node_makes_pods_unready_and_their_deletion_hang(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        api.create(pod("cut"), namespace=namespace)
        kubelet.wait_running("cut")
        node = kubelet.node_of("cut")
        assert kubelet.lose_node(node) == ["cut"]
        assert condition(api.get("pods", "cut", namespace=namespace), "Ready")["status"] == "False"
        kubelet.evict_from_lost_node(node)
        found = api.get("pods", "cut", namespace=namespace)
        assert condition(found, "DisruptionTarget")["reason"] == "DeletionByTaintManager"
        assert "deletionTimestamp" in found["metadata"]
        kubelet.restore_node(node)
        api.wait_gone("pods", "cut", namespace=namespace)

    def test_removed_node_takes_its_pods(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        api.create(pod("cut"), namespace=namespace)
        kubelet.wait_running("cut")
        node = kubelet.node_of("cut")
        kubelet.lose_node(node)
        kubelet.remove_lost_node(node)
        assert api.find("pods", "cut", namespace=namespace) is None

    def test_evicted_pod_fails_without_an_exit_code(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        api.create(pod("squeezed"), namespace=namespace)
        kubelet.wait_running("squeezed")
        kubelet.evict("squeezed")
        found = api.get("pods", "squeezed", namespace=namespace)
        assert (phase(found), found["status"]["reason"]) == ("Failed", "Evicted")
        assert condition(found, "DisruptionTarget")["reason"] == "TerminationByKubelet"

    def test_a_new_pod_of_the_same_name_is_not_touched_by_the_old_ones_end(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        kubelet.script("twin", Script(terminate_after=60.0), times=1)
        old = api.create(pod("twin"), namespace=namespace)
        kubelet.wait_running("twin")
        api.delete("pods", "twin", namespace=namespace)
        api.delete("pods", "twin", namespace=namespace, grace=0)
        api.wait_gone("pods", "twin", namespace=namespace, uid=old["metadata"]["uid"])
        new = api.create(pod("twin"), namespace=namespace)
        found = api.wait_for("pods", "twin", lambda one: phase(one) == "Running", namespace=namespace)
        assert found["metadata"]["uid"] == new["metadata"]["uid"]

    def test_each_leading_trainer_serves_its_own_status(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        kubelet.script("*", Script(status=run_status(step=1)))
        addresses = {}
        for name in ("a-trainer-0", "b-trainer-0"):
            api.create(pod(name, role="trainer"), namespace=namespace)
            found = api.wait_for("pods", name, lambda one: phase(one) == "Running", namespace=namespace)
            addresses[name] = found["status"]["podIP"]
        kubelet.set_status("b-trainer-0", run_status(step=77))
        assert {name: json.loads(ask(address)[1])["step"] for name, address in addresses.items()} == {"a-trainer-0": 1, "b-trainer-0": 77}
        assert (kubelet.asked("a-trainer-0"), kubelet.asked("b-trainer-0")) == (1, 1)

    def test_status_answers_as_badly_as_told(self, api: Client, namespace: str, kubelet: FakeKubelet) -> None:
        api.create(pod("j-trainer-0", role="trainer"), namespace=namespace)
        address = api.wait_for("pods", "j-trainer-0", lambda one: phase(one) == "Running", namespace=namespace)["status"]["podIP"]
        assert ask(address)[0] == 503
        assert ask(address, "/healthz") == (200, "ok")
        kubelet.serve("j-trainer-0", "error")
        assert ask(address)[0] == 500
        kubelet.serve("j-trainer-0", "nonsense")
        assert "<html>" in ask(address)[1]
        kubelet.serve("j-trainer-0", "hang")
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            ask(address, timeout=0.3)
        kubelet.fail("j-trainer-0", 1)
        with pytest.raises(urllib3.exceptions.NewConnectionError):
            ask(address)

    def test_commands_name_what_is_there_when_a_pod_is_not(self, kubelet: FakeKubelet) -> None:
        with pytest.raises(DeadlinePassed, match="no pod nobody within"):
            kubelet.wait_running("nobody", deadline=0.1)
