"""The testbed itself: a fixture that lies makes every test above it worthless."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from testbed.audit import AuditTrail
from testbed.client import ApiError, Client, Object
from testbed.control_plane import ControlPlane
from testbed.deadline import DeadlinePassed, wait_for
from testbed.fake_kubelet import FakeKubelet, fake_kubelet
from testbed.fault_proxy import FaultProxy
from testbed.fault_rules import Answer, CloseWatch, Delay, DropAfter, DropBefore, DuplicateEvents, ExpireWatch
from testbed.pod_script import Script, run_result, run_status
from testbed.scratch import scratch_directory

from reasonrl.api import names


def pod(name: str, *, role: str = "rollout", index: int = 0, **spec: Any) -> Object:
    labels = {names.LABEL_ROLE: role, names.LABEL_INDEX: str(index)}
    container = {"name": names.CONTAINER, "image": "reasonrl/runtime"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [container], **spec},
    }


def config_map(name: str, *, owner: Object | None = None, **data: str) -> Object:
    metadata: Object = {"name": name}
    if owner is not None:
        reference = {"apiVersion": "v1", "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        metadata["ownerReferences"] = [{**reference, "controller": True, "blockOwnerDeletion": True}]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def phase(found: Object) -> str:
    return str(found["status"]["phase"])


def condition(found: Object, kind: str) -> Object:
    return next((one for one in found["status"].get("conditions", ()) if one["type"] == kind), {})


def ending(found: Object) -> Object:
    state: Object = found["status"]["containerStatuses"][0]["state"]["terminated"]
    return state


def ask(address: str, path: str = "/status", *, timeout: float = 5.0) -> tuple[int, str]:
    answer = urllib3.request("GET", f"http://{address}:{names.STATUS_PORT}{path}", timeout=timeout, retries=False)
    return answer.status, answer.data.decode()


class TestControlPlane:
    def test_serves_the_pinned_version(self, control_plane: ControlPlane, api: Client) -> None:
        pinned = (Path(__file__).parent / "gomod" / "go.mod").read_text()
        version = api.request("GET", "/version")
        assert f"k8s.io/kubernetes {version['gitVersion']} " in pinned
        assert control_plane.start_seconds < 60

    def test_enforces_rbac_by_user(self, control_plane: ControlPlane, namespace: str) -> None:
        with pytest.raises(ApiError) as refused:
            control_plane.client("stranger").list("pods", namespace=namespace)
        assert (refused.value.status, refused.value.reason) == (403, "Forbidden")

    def test_service_account_tokens_are_real(self, control_plane: ControlPlane, api: Client, namespace: str) -> None:
        token = api.token("default", namespace=namespace)
        mine = Client(control_plane.url, token=token, certificate_authority=control_plane.certificate_authority)
        review = mine.create({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}})
        assert review["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"

    def test_admits_restricted_pods_only_where_the_namespace_says_so(self, api: Client, namespace: str) -> None:
        api.patch("namespaces", namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
        with pytest.raises(ApiError, match="violates PodSecurity"):
            api.create(pod("loose"), namespace=namespace)

    def test_audit_log_counts_calls_by_user_verb_and_resource(self, api: Client, namespace: str, calls: AuditTrail) -> None:
        api.create(config_map("one"), namespace=namespace)
        api.patch("configmaps", "one", {"data": {"a": "b"}}, namespace=namespace)
        api.get("configmaps", "one", namespace=namespace)
        expected = {"create configmaps": 1, "patch configmaps": 1, "get configmaps": 1}
        wait_for(lambda: calls.count(user="admin", namespace=namespace) == expected, what="three calls in the audit log")

    def test_children_of_a_deleted_owner_are_collected(self, garbage_collector: ControlPlane, api: Client, namespace: str) -> None:
        owner = api.create(config_map("owner"), namespace=namespace)
        api.create(config_map("child", owner=owner), namespace=namespace)
        api.create(config_map("orphan"), namespace=namespace)
        api.delete("configmaps", "owner", namespace=namespace)
        api.wait_gone("configmaps", "child", namespace=namespace, deadline=30)
        assert api.find("configmaps", "orphan", namespace=namespace)

    def test_ends_with_the_process_that_started_it(self, tmp_path: Path) -> None:
        program = """
import sys, time
from testbed.control_plane import control_plane
with control_plane() as plane:
    print(plane.etcd.pid, plane.apiserver.pid, flush=True)
    time.sleep(600)
"""
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "TMPDIR": str(tmp_path)}
        parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(_alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        parent.stdout.close()
        wait_for(lambda: not any(_alive(pid) for pid in pids), what="etcd and kube-apiserver gone")

    def test_what_a_killed_process_left_is_swept(self, tmp_path: Path) -> None:
        program = """
import sys, time
from pathlib import Path
from testbed.scratch import scratch_directory
with scratch_directory("left-", parent=Path(sys.argv[1])) as directory:
    print(directory, flush=True)
    time.sleep(600)
"""
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment)
        assert parent.stdout is not None
        left = Path(parent.stdout.readline().strip())
        with scratch_directory("left-", parent=tmp_path) as mine:
            assert left.is_dir(), "the directory of a living process was swept"
            assert mine != left
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
        assert left.is_dir()
        with scratch_directory("left-", parent=tmp_path):
            assert not left.exists()


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet is dead all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


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


@pytest.fixture
def through(proxy: FaultProxy) -> Client:
    """The API server through the proxy."""
    return proxy.client()


class Watcher:
    """Collects a watch's events in a thread until it ends."""

    def __init__(self, events: Iterator[Object]) -> None:
        self.events: list[Object] = []
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self._source = events
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        try:
            for event in self._source:
                self.events.append(event)
        except (urllib3.exceptions.HTTPError, ApiError) as error:
            self.error = error
        finally:
            self.ended.set()

    def names(self) -> list[str]:
        return [event["object"]["metadata"].get("name", "") for event in self.events]


def watch_config_maps(client: Client, api: Client, namespace: str) -> Watcher:
    version = api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps")["metadata"]["resourceVersion"]
    return Watcher(client.watch("configmaps", namespace=namespace, since=version, seconds=20))


class TestFaultProxy:
    def test_passes_everything_on_when_nothing_is_injected(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        through.create(config_map("plain", key="value with ünïcode & %2F"), namespace=namespace)
        assert api.get("configmaps", "plain", namespace=namespace)["data"]["key"] == "value with ünïcode & %2F"
        assert [one["metadata"]["name"] for one in through.list("configmaps", namespace=namespace, fields="metadata.name=plain")] == [
            "plain"
        ]
        assert [(one.method, one.status) for one in proxy.requests(path=f"{namespace}/configmaps")] == [("POST", 201), ("GET", 200)]

    def test_passes_the_callers_identity_on(self, proxy: FaultProxy, namespace: str) -> None:
        with pytest.raises(ApiError) as refused:
            proxy.client("stranger").list("pods", namespace=namespace)
        assert 'User "stranger"' in refused.value.message

    def test_connection_dropped_before_the_server_had_the_request(
        self, through: Client, api: Client, namespace: str, proxy: FaultProxy
    ) -> None:
        rule = proxy.inject(DropBefore(), method="POST", path="/configmaps")
        with pytest.raises(urllib3.exceptions.ProtocolError):
            through.create(config_map("lost"), namespace=namespace)
        assert (rule.hits, api.find("configmaps", "lost", namespace=namespace)) == (1, None)
        through.create(config_map("lost"), namespace=namespace)

    def test_connection_dropped_after_the_server_did_it(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        proxy.inject(DropAfter(), method="POST", path="/configmaps")
        with pytest.raises(urllib3.exceptions.ProtocolError):
            through.create(config_map("done"), namespace=namespace)
        assert api.find("configmaps", "done", namespace=namespace)
        with pytest.raises(ApiError) as again:
            through.create(config_map("done"), namespace=namespace)
        assert again.value.status == 409

    @pytest.mark.parametrize("status", [409, 410, 429, 500, 503])
    def test_answers_that_the_server_did_not_give(
        self, status: int, through: Client, api: Client, namespace: str, proxy: FaultProxy
    ) -> None:
        proxy.inject(Answer(status, retry_after=2), method="POST", path="/configmaps")
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        answer = urllib3.request("POST", proxy.url + path, json=config_map("refused"), retries=False)
        assert (answer.status, answer.headers["Retry-After"], answer.json()["code"]) == (status, "2", status)
        assert api.find("configmaps", "refused", namespace=namespace) is None

    def test_rules_skip_count_and_repeat_by_seed(self, through: Client, namespace: str, proxy: FaultProxy) -> None:
        def outcome() -> int:
            return through.raw("GET", f"/api/v1/namespaces/{namespace}/configmaps")[0]

        proxy.inject(Answer(500), path="/configmaps", skip=1, times=2)
        assert [outcome() for _ in range(4)] == [200, 500, 500, 200]
        runs = []
        for _ in range(2):
            proxy.clear()
            proxy.inject(Answer(503), path="/configmaps", times=None, probability=0.5, seed=3)
            runs.append([outcome() for _ in range(12)])
        assert runs[0] == runs[1]
        assert set(runs[0]) == {200, 503}

    def test_delay_holds_a_request_back(self, api: Client, namespace: str, proxy: FaultProxy) -> None:
        proxy.inject(Delay(30.0), method="GET", path="/configmaps")
        impatient = Client(proxy.url, token="", timeout=0.3)
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            impatient.raw("GET", f"/api/v1/namespaces/{namespace}/configmaps")

    def test_watch_events_arrive_one_by_one(self, through: Client, api: Client, namespace: str) -> None:
        watcher = watch_config_maps(through, api, namespace)
        for name in ("a", "b"):
            api.create(config_map(name), namespace=namespace)
            wait_for(lambda name=name: name in watcher.names(), what=f"the event of {name}")

    def test_frozen_watch_stays_open_and_catches_up(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        watcher = watch_config_maps(through, api, namespace)
        wait_for(lambda: proxy.open_watches("/configmaps") == 1)
        with proxy.frozen("/configmaps"):
            api.create(config_map("late"), namespace=namespace)
            direct = watch_config_maps(api, api, namespace)
            api.create(config_map("later"), namespace=namespace)
            wait_for(lambda: direct.names() == ["later"], what="the event on a watch that is not frozen")
            assert (watcher.names(), watcher.ended.is_set()) == ([], False)
        wait_for(lambda: watcher.names() == ["late", "later"], what="what came meanwhile")

    def test_lossy_freeze_loses_events_for_good(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        watcher = watch_config_maps(through, api, namespace)
        wait_for(lambda: proxy.open_watches("/configmaps") == 1)
        with proxy.frozen("/configmaps", lose=True):
            before = proxy.lost_events
            api.create(config_map("unseen"), namespace=namespace)
            wait_for(lambda: proxy.lost_events > before, what="the lost event")
        api.create(config_map("seen"), namespace=namespace)
        wait_for(lambda: watcher.names() == ["seen"], what="only the event after the freeze")

    def test_open_watches_can_be_cut(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        watcher = watch_config_maps(through, api, namespace)
        wait_for(lambda: proxy.open_watches("/configmaps") == 1)
        assert proxy.close_watches("/configmaps") == 1
        assert watcher.ended.wait(5)
        assert watcher.error is None

    @pytest.mark.parametrize("torn", [False, True], ids=["cleanly", "inside an event"])
    def test_watch_ends_after_an_event(self, torn: bool, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        proxy.inject(CloseWatch(events=1, torn=torn), path="/configmaps")
        watcher = watch_config_maps(through, api, namespace)
        api.create(config_map("first"), namespace=namespace)
        assert watcher.ended.wait(10)
        assert watcher.names() == ["first"]
        assert (watcher.error is not None) == torn

    def test_watch_expires_with_410(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        proxy.inject(ExpireWatch(events=1), path="/configmaps")
        watcher = watch_config_maps(through, api, namespace)
        api.create(config_map("first"), namespace=namespace)
        assert watcher.ended.wait(10)
        assert [event["type"] for event in watcher.events] == ["ADDED", "ERROR"]
        assert watcher.events[1]["object"]["code"] == 410

    def test_watch_events_come_twice(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        proxy.inject(DuplicateEvents(), path="/configmaps")
        watcher = watch_config_maps(through, api, namespace)
        api.create(config_map("twice"), namespace=namespace)
        wait_for(lambda: watcher.names() == ["twice", "twice"], what="the event twice")
