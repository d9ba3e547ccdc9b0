"""The window of a pod, looked through as the operator, Prometheus and the kubelet do."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from reasonrl.run.status import server as server_module
from reasonrl.run.status.board import CurrentStage, RunStatusBoard
from reasonrl.run.status.server import MOST_CONNECTIONS, StatusServer, StatusServerError, any_address, status_application
from reasonrl.run.status.vital_signs import ailments, vital_signs
from reasonrl.run.telemetry.prometheus_metrics import RunMetrics

Answer = tuple[int, dict[str, str], bytes]


def ask(port: int, path: str, *, host: str = "127.0.0.1", method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.fixture
def ills() -> list[str]:
    return []


@pytest.fixture
def metrics() -> RunMetrics:
    return RunMetrics()


@pytest.fixture
def server(job: Callable[..., object], metrics: RunMetrics, ills: list[str]) -> Iterator[StatusServer]:
    board = RunStatusBoard(job())  # type: ignore[arg-type]
    application = status_application(ailments=lambda: ills, status=board.body, metrics=metrics)
    server = StatusServer(application, address="127.0.0.1", port=0)
    yield server
    server.close()


def test_status_is_json_for_the_operator(server: StatusServer) -> None:
    code, headers, body = ask(server.port, "/status")
    assert (code, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["stage"] == "loading"
    assert int(headers["content-length"]) == len(body)


def test_metrics_are_served_in_the_format_that_the_scraper_accepts(server: StatusServer, metrics: RunMetrics, step) -> None:
    metrics.record(step(7))
    _, headers, body = ask(server.port, "/metrics", headers={"Accept": "text/plain;version=0.0.4"})
    assert headers["content-type"].startswith("text/plain")
    assert "reasonrl_step" in {family.name for family in text_string_to_metric_families(body.decode())}
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    _, headers, body = ask(server.port, "/metrics", headers={"Accept": accept, "Accept-Encoding": "gzip"})
    assert headers["content-type"].startswith("application/openmetrics-text")
    text = gzip.decompress(body).decode() if headers.get("content-encoding") == "gzip" else body.decode()
    assert "reasonrl_step" in {family.name for family in open_metrics(text)}


def test_healthz_says_why_it_is_not_well(server: StatusServer, ills: list[str]) -> None:
    assert ask(server.port, "/healthz")[::2] == (200, b"ok\n")
    ills[:] = ["the loop's thread has ended", "and more"]
    assert ask(server.port, "/healthz")[::2] == (503, b"the loop's thread has ended\nand more\n")


@pytest.mark.parametrize("path", ["/", "/other", "/status/", "/../status"])
def test_there_is_nothing_else(server: StatusServer, path: str) -> None:
    code, _, body = ask(server.port, path)
    assert code == 404
    assert b"/healthz, /metrics, /status" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed_through_it(server: StatusServer, method: str) -> None:
    assert ask(server.port, "/status", method=method)[0] == 405


def test_a_pod_without_a_run_serves_only_its_health() -> None:
    server = StatusServer(status_application(ailments=list), address="127.0.0.1", port=0)
    try:
        assert [ask(server.port, path)[0] for path in ("/healthz", "/status", "/metrics")] == [200, 404, 404]
    finally:
        server.close()


def test_a_page_that_fails_is_an_error_of_that_request_alone(job) -> None:
    def broken() -> bytes:
        raise RuntimeError("no status")

    server = StatusServer(status_application(ailments=list, status=broken), address="127.0.0.1", port=0)
    try:
        assert ask(server.port, "/status")[0] == 500
        assert ask(server.port, "/healthz")[0] == 200
    finally:
        server.close()


def test_peers_that_say_nothing_do_not_keep_others_out_for_long(server: StatusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module._Handler, "timeout", 0.5)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(MOST_CONNECTIONS + 8)]
    try:
        for peer in silent:
            peer.settimeout(60)
            assert peer.recv(1) == b"", "each is let go, some at once and some after their time"
        assert ask(server.port, "/healthz")[0] == 200
    finally:
        for peer in silent:
            peer.close()


def test_garbage_harms_nobody(server: StatusServer) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01", b"GET " + b"/" * 100_000 + b"\r\n\r\n", b"GET /status HTTP/9.9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as peer:
            # The server may have turned away before all was said.
            with contextlib.suppress(OSError):
                peer.sendall(garbage)
                peer.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while peer.recv(4096):
                    pass
    assert ask(server.port, "/status")[0] == 200


def test_a_taken_port_names_the_setting() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StatusServerError, match=rf"REASONRL_STATUS_PORT: port {port} of 127\.0\.0\.1 is taken"):
            StatusServer(status_application(ailments=list), address="127.0.0.1", port=port)


def test_the_port_is_free_again_after_close() -> None:
    server = StatusServer(status_application(ailments=list), address="127.0.0.1", port=0)
    port = server.port
    server.close()
    StatusServer(status_application(ailments=list), address="127.0.0.1", port=port).close()


def test_every_interface_of_both_families_is_listened_on() -> None:
    server = StatusServer(status_application(ailments=list), address=any_address(), port=0)
    try:
        hosts = ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]
        assert [ask(server.port, "/healthz", host=host)[0] for host in hosts] == [200] * len(hosts)
    finally:
        server.close()


def test_no_name_server_is_asked_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str = "") -> str:
        raise AssertionError("a name server was asked")

    monkeypatch.setattr(socket, "getfqdn", refuse)
    StatusServer(status_application(ailments=list), address="127.0.0.1", port=0).close()


def stage(seconds: float) -> CurrentStage:
    return CurrentStage(stage="rollout", step=3, seconds=seconds, deadline_seconds=100.0, mark=1)


def test_a_stage_may_take_twice_its_deadline_before_the_pod_is_unwell() -> None:
    assert ailments(stage(200.0), loop_alive=True) == []
    assert ailments(stage(201.0), loop_alive=True) == ["stage rollout of step 3 has not got on for 201 s; its deadline is 100 s"]


def test_a_process_whose_loop_has_ended_is_unwell() -> None:
    loop = threading.Thread(target=lambda: None)
    loop.start()
    loop.join()
    assert vital_signs(lambda: stage(0.0), loop=loop)() == ["the loop's thread has ended"]
    assert vital_signs(lambda: stage(0.0), loop=threading.current_thread())() == []
