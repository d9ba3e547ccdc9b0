"""The pool against code that hangs, dies, leaks, forks and prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reasonrl.sandbox.calls import Call, CallOutcome, CallResult, FunctionReference, Limits
from reasonrl.sandbox.errors import SandboxError
from reasonrl.sandbox.pool import WorkerPool

MakeCall = Callable[..., Call]
Eventually = Callable[[Callable[[], bool]], bool]


def processes_with(marker: str) -> list[int]:
    """Running processes of this machine whose command line holds `marker`."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdigit() and marker in (each / "cmdline").read_text() and "State:\tZ" not in (each / "status").read_text():
                found.append(int(each.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def descendants(pid: int) -> list[int]:
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return children + [each for child in children for each in descendants(child)]


def kill_what_ignores_signals(supervisor: int) -> None:
    """Waits up to 20 s for a call of `ignores_signals` under that supervisor, and kills its process."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for pid in descendants(supervisor):
            ignored = int(re.search(r"SigIgn:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())[1], 16)  # type: ignore[index]
            if ignored >> (signal.SIGUSR1 - 1) & 1:
                os.kill(pid, signal.SIGKILL)
                return
        time.sleep(0.05)


def test_results_come_in_the_order_of_the_calls(call: MakeCall) -> None:
    with WorkerPool(workers=3) as pool:
        results = pool.run([call("double", number=number) for number in range(200)])
    assert [result.value for result in results] == [2 * number for number in range(200)]


def test_an_importable_function_runs(pool: WorkerPool) -> None:
    call = Call(function=FunctionReference(module="math", name="gcd"), arguments={}, timeout_seconds=30)
    assert pool.run([call])[0] == CallResult(outcome=CallOutcome.VALUE, value=0)


def test_an_exception_is_an_error_with_its_last_line_and_place(pool: WorkerPool, call: MakeCall) -> None:
    result = pool.run([call("raises", message="no such luck")])[0]
    assert result.outcome is CallOutcome.ERROR
    assert result.value is None
    assert result.detail.startswith("ValueError: no such luck (untrusted.py, line ")


@pytest.mark.parametrize("name", ["exits", "not_json", "no_such_function"])
def test_what_cannot_give_a_value_is_an_error(pool: WorkerPool, call: MakeCall, name: str) -> None:
    result, after = pool.run([call(name), call("double", number=4)])
    assert result.outcome is CallOutcome.ERROR
    assert result.detail
    assert after.value == 8


@pytest.mark.parametrize("name", ["hangs", "hangs_in_c", "ignores_signals"])
def test_a_call_that_hangs_is_ended_and_the_next_one_runs(pool: WorkerPool, call: MakeCall, name: str) -> None:
    result, after = pool.run([call(name, timeout=0.5), call("double", number=4)])
    assert result.outcome is CallOutcome.TIMEOUT
    assert after.value == 8


def test_a_call_that_hangs_does_not_hold_up_the_others(call: MakeCall) -> None:
    with WorkerPool(workers=2) as pool:
        ended = [index for index, _ in pool.run_each([call("hangs", timeout=3), *[call("double", number=1)] * 20])]
    assert ended[-1] == 0
    assert sorted(ended) == list(range(21))


def test_a_leak_ends_at_the_memory_limit(pool: WorkerPool, call: MakeCall) -> None:
    result, after = pool.run([call("leaks"), call("double", number=4)])
    assert result.outcome is CallOutcome.ERROR
    assert "MemoryError" in result.detail
    assert after.value == 8


def test_a_worker_that_dies_is_replaced(pool: WorkerPool, call: MakeCall) -> None:
    result, after = pool.run([call("segfaults"), call("double", number=4)])
    assert result.outcome is CallOutcome.CRASH
    assert "signal 11" in result.detail
    assert after.value == 8


def test_killing_a_worker_in_the_middle_of_a_call_is_a_crash(call: MakeCall) -> None:
    with WorkerPool(workers=2) as pool:
        victim = pool.process_ids[0]
        stream = pool.run_each([*[call("ignores_signals", timeout=60)] * 2, call("double", number=4)])
        # The generator starts at the first `next`, which ends when the call does: it is killed from a thread, once it is seen to run.
        killer = threading.Thread(target=kill_what_ignores_signals, args=(victim,))
        killer.start()
        index, result = next(stream)
        following, value = next(stream)
        stream.close()
        killer.join(30)
    assert (index in (0, 1), result.outcome) == (True, CallOutcome.CRASH)
    assert "signal 9" in result.detail
    assert (following, value.value) == (2, 8)


def test_killing_the_supervisor_is_a_crash_too_and_takes_the_worker_along(pool: WorkerPool, call: MakeCall, eventually: Eventually) -> None:
    supervisor = pool.process_ids[0]
    workers = descendants(supervisor)
    os.kill(supervisor, signal.SIGKILL)
    results = pool.run([call("double", number=4), call("double", number=5)])
    assert [result.outcome for result in results] == [CallOutcome.CRASH, CallOutcome.VALUE]
    assert eventually(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


def test_printing_does_not_disturb_the_answers(pool: WorkerPool, call: MakeCall) -> None:
    results = pool.run([call("prints", text="\x00\x00\x00\x02{}" * 1000), call("double", number=4)])
    assert [result.value for result in results] == [0, 8]


def test_printing_for_ever_never_reaches_the_limit_of_a_file(call: MakeCall) -> None:
    with WorkerPool(workers=1, limits=Limits(file_bytes=200_000)) as pool:
        results = pool.run([call("prints", text="x" * 50_000)] * 20)
    assert {result.outcome for result in results} == {CallOutcome.VALUE}


def test_arguments_larger_than_the_pipe_arrive(pool: WorkerPool, call: MakeCall) -> None:
    assert pool.run([call("length", text="x" * 5_000_000)])[0].value == 5_000_000


def test_a_result_that_is_too_large_is_an_error(call: MakeCall) -> None:
    with WorkerPool(workers=1) as pool:
        result, after = pool.run([call("fills_the_pipe"), call("double", number=4)])
    assert result.outcome is CallOutcome.ERROR
    assert "too large" in result.detail
    assert after.value == 8


def test_optional_arguments_go_to_functions_that_take_them(pool: WorkerPool, call: MakeCall) -> None:
    optional: dict[str, object] = {"answer": "b", "level": 3}
    some = call("takes_some", response="a", optional=optional)
    every = call("takes_all", response="a", optional=optional)
    assert [result.value for result in pool.run([some, every])] == ["ab", ["answer", "level"]]


def test_arguments_that_json_cannot_hold_arrive_as_text(pool: WorkerPool, call: MakeCall) -> None:
    assert pool.run([call("length", text=Path("/a/b"))])[0].value == 4


def test_a_call_that_forks_and_returns_twice_has_one_result(pool: WorkerPool, call: MakeCall) -> None:
    results = pool.run([call("forks_and_both_return", value=1), call("forks_and_both_return", value=2), call("double", number=4)])
    assert [result.value for result in results] == [1, 2, 8]


def test_a_child_does_not_outlive_the_call(pool: WorkerPool, call: MakeCall, eventually: Eventually) -> None:
    if not pool.isolation.processes:
        pytest.skip("this machine does not permit process-id namespaces")
    marker = f"left-behind-{os.getpid()}"
    assert pool.run([call("leaves_a_child", marker=marker)])[0].value is True
    assert processes_with(marker) == []


def test_a_child_does_not_outlive_a_call_that_is_ended(pool: WorkerPool, call: MakeCall, eventually: Eventually) -> None:
    marker = f"left-hanging-{os.getpid()}"
    assert pool.run([call("hangs_with_a_child", marker=marker, timeout=2)])[0].outcome is CallOutcome.TIMEOUT
    assert eventually(lambda: processes_with(marker) == [])


def test_stopping_early_ends_what_is_still_running(call: MakeCall, eventually: Eventually) -> None:
    marker = f"stopped-early-{os.getpid()}"
    with WorkerPool(workers=2) as pool:
        stream = pool.run_each([call("double", number=1), call("hangs_with_a_child", marker=marker, timeout=600), call("double", number=2)])
        next(stream)
        stream.close()
        assert pool.run([call("double", number=3)])[0].value == 6
        assert eventually(lambda: processes_with(marker) == [])


def test_calls_are_taken_no_faster_than_workers_are_free(pool: WorkerPool, call: MakeCall) -> None:
    taken = []

    def calls() -> object:
        for number in range(10):
            taken.append(number)
            yield call("double", number=number)

    stream = pool.run_each(calls())  # type: ignore[arg-type]
    next(stream)
    assert len(taken) <= 2
    stream.close()


def test_a_closed_pool_has_left_nothing(call: MakeCall) -> None:
    with WorkerPool(workers=2) as pool:
        pool.run([call("double", number=1)])
        pids = list(pool.process_ids)
        everything = pids + [each for pid in pids for each in descendants(pid)]
    assert not any(Path(f"/proc/{pid}").exists() for pid in everything)
    with pytest.raises(SandboxError, match="closed"):
        pool.run([call("double", number=1)])


def test_what_cannot_be_loaded_is_said_at_the_start(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module_anywhere\n")
    with (
        pytest.raises(SandboxError, match=r"broken.py: ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        WorkerPool(workers=2, preload=[FunctionReference(name="score", file=broken)]),
    ):
        pass


def test_a_worker_that_dies_while_it_loads_ends_the_start(tmp_path: Path) -> None:
    deadly = tmp_path / "deadly.py"
    deadly.write_text("import os\nos._exit(7)\n")
    with (
        pytest.raises(SandboxError, match="3 workers in a row could not start"),
        WorkerPool(workers=1, preload=[FunctionReference(name="score", file=deadly)]),
    ):
        pass


PARENT = """
import sys
from reasonrl.sandbox.calls import Call, FunctionReference
from reasonrl.sandbox.pool import WorkerPool
call = Call(function=FunctionReference(name=sys.argv[2], file=__import__("pathlib").Path(sys.argv[1])), arguments={"marker": sys.argv[3]},
            timeout_seconds=600)
with WorkerPool(workers=2) as pool:
    print(*pool.process_ids, flush=True)
    pool.run([call, call])
"""


def test_a_killed_parent_leaves_no_orphan(code: Path, eventually: Eventually) -> None:
    marker = f"orphan-{os.getpid()}"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(code), "hangs_with_a_child", marker], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    supervisors = [int(each) for each in parent.stdout.readline().split()]
    assert eventually(lambda: len(processes_with(marker)) >= 2 + 1)
    everything = [*supervisors, *[each for pid in supervisors for each in descendants(pid)]]
    assert len(everything) >= 4
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    assert eventually(lambda: not any(_alive(pid) for pid in everything))
    assert processes_with(marker) == []


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
