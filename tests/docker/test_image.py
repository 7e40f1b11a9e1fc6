"""What the image and the containers are like: process 1, user, signals, health, log noise."""

import json
import time

import pytest

import compose_cluster as kv

pytestmark = pytest.mark.usefixtures("cluster")

USER = 10001
STOP_TIMEOUT_S = 5


def inside(*command):
    return kv.docker("exec", kv.container("node1"), *command)


def state(name):
    return json.loads(kv.docker("inspect", name))[0]["State"]


@pytest.fixture
def lone_node():
    """A node of its own, probed every second; its container's name."""
    name = "simple-kv-test-lone"
    kv.run("docker", "rm", "-f", name, expect=None)
    kv.docker("run", "-d", "--name", name, "--health-interval=1s", "--health-timeout=1s",
              "--health-retries=1", "simple-kv")
    kv.until("the node to be healthy", lambda: state(name)["Health"]["Status"] == "healthy")
    yield name
    kv.docker("rm", "-f", "-v", name)


def test_process_1_is_the_server():
    assert inside("cat", "/proc/1/comm").strip() == "simple-kv"


def test_the_server_is_not_root_and_cannot_become_it():
    status = dict(line.split(":", 1) for line in inside("cat", "/proc/1/status").splitlines())
    assert status["Uid"].split() == [str(USER)] * 4
    assert status["Gid"].split() == [str(USER)] * 4
    assert int(status["CapBnd"], 16) == 0
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


def test_the_user_is_a_number():
    # an orchestrator's "not as root" check cannot look names up
    config = json.loads(kv.docker("image", "inspect", "simple-kv"))[0]["Config"]
    assert config["User"] == f"{USER}:{USER}"


def test_data_belongs_to_the_server_and_all_else_is_read_only():
    assert inside("stat", "-c", "%u:%g", "/data").strip() == f"{USER}:{USER}"
    inside("sh", "-c", "echo x > /data/probe && rm /data/probe")
    for place in ("/probe", "/tmp/probe", "/usr/local/bin/probe"):
        kv.run("docker", "exec", kv.container("node1"), "touch", place, expect=1)


def test_labels_and_metadata():
    config = json.loads(kv.docker("image", "inspect", "simple-kv"))[0]["Config"]
    for label in ("title", "description", "licenses", "revision"):
        assert config["Labels"][f"org.opencontainers.image.{label}"]
    version = kv.docker("run", "--rm", "simple-kv", "--version").split()[1]
    assert config["Labels"]["org.opencontainers.image.version"] == version
    assert "/data" in config["Volumes"]
    assert "8080/tcp" in config["ExposedPorts"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["simple-kv"]


def test_the_image_holds_a_shell_and_nc_but_no_compiler():
    script = "for tool in nc sh gcc cc cmake ninja; do command -v $tool; done; true"
    assert inside("sh", "-c", script).split() == ["/usr/bin/nc", "/usr/bin/sh"]


def test_options_can_be_given_to_docker_run():
    assert kv.docker("run", "--rm", "simple-kv", "--version").startswith("simple-kv ")
    assert "--peers" in kv.docker("run", "--rm", "simple-kv", "--help")


def test_the_health_check_is_the_documented_one():
    config = json.loads(kv.docker("inspect", kv.container("node1")))[0]["Config"]["Healthcheck"]
    second = 1_000_000_000
    assert config["Interval"] == 10 * second
    assert config["Timeout"] == 5 * second
    assert config["Retries"] == 3
    assert config["Test"] == ["CMD", "simple-kv", "--healthcheck"]


def test_the_health_check_fails_where_no_server_runs():
    kv.run("docker", "run", "--rm", "simple-kv", "--healthcheck", expect=1)


def test_a_server_that_hangs_becomes_unhealthy(lone_node):
    kv.docker("kill", "-s", "STOP", lone_node)
    kv.until("unhealthy", lambda: state(lone_node)["Health"]["Status"] == "unhealthy")
    kv.docker("kill", "-s", "CONT", lone_node)
    kv.until("healthy again", lambda: state(lone_node)["Health"]["Status"] == "healthy")


@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_a_signal_stops_the_server_soon_and_with_exit_code_0(lone_node, signal):
    begin = time.monotonic()
    kv.docker("kill", "-s", signal, lone_node)
    kv.docker("wait", lone_node, timeout_s=STOP_TIMEOUT_S)
    assert time.monotonic() - begin < STOP_TIMEOUT_S
    assert state(lone_node)["ExitCode"] == 0


def test_stop_is_soon_with_clients_connected():
    with kv.Client("node3") as idle, kv.Client("node3") as asking:
        assert asking.ask("PING") == "+PONG"
        begin = time.monotonic()
        kv.compose("stop", "kv-node3")
        assert time.monotonic() - begin < STOP_TIMEOUT_S + 1  # compose itself takes a moment
        assert idle.socket.recv(1) == b""
    assert state(kv.container("node3"))["ExitCode"] == 0
    kv.compose("start", "kv-node3")
    kv.wait_linked()


def test_port_probes_and_health_checks_are_not_logged():
    kv.wait_linked()
    before = logs()
    probed = last_probe()
    for port in kv.PORTS.values():
        for _ in range(10):
            kv.run("nc", "-z", "localhost", str(port))
    for peer in ("simple-kv-node2", "simple-kv-node3"):
        kv.docker("exec", kv.container("node1"), "nc", "-z", peer, "8080")
    kv.until("another health check", lambda: last_probe() != probed, kv.HEALTHY_TIMEOUT_S)
    assert logs() == before


def logs():
    return {node: kv.run("sh", "-c", f"docker logs {kv.container(node)} 2>&1") for node in kv.NODES}


def last_probe():
    return state(kv.container("node1"))["Health"]["Log"][-1]["End"]
