"""kv-cli.sh up, status, logs and down with --docker, on a real engine; and what the README adds."""

import pytest

import compose_cluster as kv

SOMETHING_DOWN = 1


@pytest.fixture(scope="module", autouse=True)
def walk(image):
    kv.compose("down", "-v")
    yield
    kv.compose("down", "-v")


def published():
    """Where the engine listens for each node."""
    return {node: kv.docker("port", kv.container(node), "8080/tcp").split() for node in kv.NODES}


def test_up_starts_three_linked_containers():
    shown = kv.cli("up", "--docker", timeout_s=kv.BUILD_TIMEOUT_S)
    assert shown.endswith("\n3 of 3 up\n"), shown
    assert kv.linked()


def test_only_this_machine_reaches_the_ports():
    assert published() == {node: [f"127.0.0.1:{port}"] for node, port in kv.PORTS.items()}


def test_logs_are_those_of_the_node():
    shown = kv.cli("logs", "--docker", "node2")
    assert 'as "node2"' in shown and 'as "node1"' not in shown


def test_one_node_goes_down_and_up():
    kv.cli("set", "kept", "by the others")
    kv.cli("down", "--docker", "node2")
    assert "2 of 3 up" in kv.cli("status", expect=SOMETHING_DOWN)
    assert kv.cli("up", "--docker", "node2", timeout_s=kv.BUILD_TIMEOUT_S).endswith("1 of 1 up\n")
    kv.wait_value("node2", "kept", "by the others")


def test_a_server_that_crashes_is_started_again_and_catches_up():
    kv.cli("set", "crash", "survived")
    kv.wait_equal()
    template = "{{.State.Pid}}"
    pid = kv.docker("inspect", "-f", template, kv.container("node3")).strip()
    # from outside: nobody inside can kill process 1, and `docker kill` would count as a stop
    kv.docker("run", "--rm", "--pid=host", "--user=0", "--entrypoint=sh", "simple-kv", "-c",
              f"kill -KILL {pid}")
    kv.until("another process", lambda: kv.docker(
        "inspect", "-f", template, kv.container("node3")).strip() not in (pid, "0"))
    kv.wait_linked()
    kv.wait_value("node3", "crash", "survived")


def test_down_removes_the_containers():
    kv.cli("down", "--docker")
    assert not set(kv.docker("ps", "-a", "--format", "{{.Names}}").split()) & {
        kv.container(node) for node in kv.NODES}


def test_publish_opens_the_ports_to_others(monkeypatch):
    monkeypatch.setenv("KV_PUBLISH", "0.0.0.0")
    kv.compose("up", "-d")
    assert published() == {node: [f"0.0.0.0:{port}"] for node, port in kv.PORTS.items()}
