"""Jobs that cannot work, on real pods: each says what is wrong, and what to do, in its status. docs/failures.md has the table."""

from __future__ import annotations

from collections.abc import Callable

from driver.jobs import Job, apply, job
from driver.kubectl import Kubectl, wait_for

WAIT_SECONDS = 420.0


def _wait_reason(made: Job, *reasons: str) -> str:
    """The message of TrainersReady, once its reason is one of `reasons`."""
    wait_for(
        lambda: made.condition("TrainersReady")["reason"] in reasons,
        seconds=WAIT_SECONDS,
        what=f"TrainersReady says {' or '.join(reasons)}",
        shown=made.told,
    )
    return str(made.condition("TrainersReady")["message"])


def test_an_image_that_does_not_exist_is_named(namespace: Kubectl, removed: list[Job]) -> None:
    made = apply(namespace, job("no-image", claim=None, image="localhost/reasonrl/misspelt:1"))
    removed.append(made)
    message = _wait_reason(made, "ErrImagePull", "ImagePullBackOff")
    assert "localhost/reasonrl/misspelt:1" in message
    assert made.status()["summary"] in ("Pending", "Starting")
    assert any(reason == "TrainersBlocked" for reason, _ in made.events())


def test_a_claim_that_does_not_exist_is_named(namespace: Kubectl, removed: list[Job]) -> None:
    made = apply(namespace, job("no-claim", claim="nowhere"))
    removed.append(made)
    assert 'persistentvolumeclaim "nowhere" not found' in _wait_reason(made, "Unschedulable")


def test_a_model_path_that_does_not_exist_fails_at_once_and_is_named(namespace: Kubectl, removed: list[Job]) -> None:
    made = apply(namespace, job("no-model", claim=None, model={"scratch": None, "path": "/models/nowhere"}))
    removed.append(made)
    status = made.wait_summary("Failed", seconds=WAIT_SECONDS)
    assert "/models/nowhere" in status["message"]
    assert status["attempts"]["trainer"]["started"] == 1, "trying again is of no use"


def test_a_reward_function_that_raises_fails_with_its_own_words(
    namespace: Kubectl, claim: Callable[[str], str], removed: list[Job], runtime_image: str
) -> None:
    code = claim("code")
    namespace.apply(_writer(runtime_image, code))
    namespace.run("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/writer", "--timeout=120s", seconds=130)
    rewards = [{"type": "answer", "weight": 0.0}, {"type": "function", "path": "/code/reward.py"}]
    made = apply(namespace, job("bad-reward", claim=None, rewards=rewards, volumes=[{"claimName": code, "mountPath": "/code"}]))
    removed.append(made)
    status = made.wait_summary("Failed", seconds=WAIT_SECONDS)
    assert "the answer sheet is missing" in status["message"], made.told()
    assert status["attempts"]["trainer"]["started"] == 1, "trying again is of no use"


def _writer(image: str, claim: str) -> dict[str, object]:
    """A restricted pod that puts a reward function which raises into a volume."""
    source = "def score(*arguments, **named):\n    raise RuntimeError('the answer sheet is missing')\n"
    container = {
        "name": "main",
        "image": image,
        "command": ["/opt/reasonrl/bin/python", "-c", f"open('/code/reward.py', 'w').write({source!r})"],
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "code", "persistentVolumeClaim": {"claimName": claim}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "writer"}, "spec": spec}


def test_a_trainer_that_runs_out_of_memory_fails_and_names_the_limit(namespace: Kubectl, removed: list[Job]) -> None:
    limits = {"requests": {"memory": "300Mi"}, "limits": {"memory": "300Mi"}}
    made = apply(namespace, job("no-memory", claim=None, pods={"trainer": {"resources": limits}}))
    removed.append(made)
    status = made.wait_summary("Failed", seconds=WAIT_SECONDS)
    assert made.condition("Succeeded")["reason"] == "OutOfMemory", made.told()
    assert "300Mi" in status["message"]
