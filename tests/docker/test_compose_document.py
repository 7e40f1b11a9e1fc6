"""Every command of the Docker documentation, in its order, as a person types it, on one cluster.

The tests of this file build on each other: they are one walk through the document, a section at a
time.
"""

import json
import re

import pytest

import compose_cluster as kv

EXIT_KEY_MISSING = 1
EXIT_CANNOT_CONNECT = 3
KEPT_IMAGE = "simple-kv-tests/kept"


@pytest.fixture(scope="module", autouse=True)
def walk():
    yield
    kv.compose("down", "-v")
    kv.run("docker", "rmi", KEPT_IMAGE, expect=None)


def containers():
    """State of the cluster's containers: name -> what `docker inspect` says."""
    found = kv.docker("ps", "-a", "--format", "{{.Names}}").split()
    ours = [name for name in map(kv.container, kv.NODES) if name in found]
    inspected = json.loads(kv.docker("inspect", *ours)) if ours else []
    return {c["Name"].lstrip("/"): c for c in inspected}


def keys(node):
    with kv.Client(node) as client:
        return client.ask_lines("KEYS *")


def start_times():
    return {name: c["State"]["StartedAt"] for name, c in containers().items()}


# ---- Quick start


def test_up_builds_the_image_and_starts_three_nodes():
    # an engine that never saw the image; its layers stay cached under another name
    if kv.docker("images", "-q", "simple-kv").strip():
        kv.docker("tag", "simple-kv", KEPT_IMAGE)
        kv.docker("rmi", "simple-kv")
    kv.compose("up", "-d", timeout_s=kv.BUILD_TIMEOUT_S)
    assert kv.docker("images", "-q", "simple-kv").strip()
    assert {name: c["State"]["Status"] for name, c in containers().items()} == {
        kv.container(node): "running" for node in kv.NODES
    }


def test_network_and_volumes_have_the_documented_names():
    network = json.loads(kv.docker("network", "inspect", kv.NETWORK))[0]
    assert network["Driver"] == "bridge"
    assert [c["Subnet"] for c in network["IPAM"]["Config"]] == ["172.20.0.0/16"]
    for node, c in zip(kv.NODES, containers().values()):
        mounts = {m["Destination"]: m for m in c["Mounts"]}
        assert mounts["/data"]["Type"] == "volume"
        assert mounts["/data"]["Name"].endswith(f"{node}-data")
        assert c["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"] == str(kv.PORTS[node])


def test_status_shows_three_linked_nodes():
    kv.wait_linked()
    shown = kv.cli("status")
    for node in kv.NODES:
        assert re.search(rf"\b{node}\b", shown), shown


def test_cli_test_passes_and_cleans_up():
    shown = kv.cli("test")
    assert re.search(r"\b[1-9]\d* passed", shown), shown
    assert {node: keys(node) for node in kv.NODES} == {node: [] for node in kv.NODES}


# ---- Using the CLI tool


def test_basic_operations():
    kv.cli("set", "mykey", "myvalue")
    assert kv.cli("get", "mykey") == "myvalue\n"
    kv.wait_value("node2", "mykey", "myvalue")
    assert kv.cli("-n", "node2", "get", "mykey") == "myvalue\n"
    kv.cli("del", "mykey")
    assert kv.cli("get", "mykey", expect=EXIT_KEY_MISSING) == ""
    kv.wait_value("node2", "mykey", "NOT_FOUND")
    assert kv.cli("-n", "node2", "get", "mykey", expect=EXIT_KEY_MISSING) == ""


def test_target_specific_nodes():
    kv.cli("-n", "node2", "set", "key2", "value2")
    kv.wait_value("node3", "key2", "value2")
    assert kv.cli("-n", "node3", "get", "key2") == "value2\n"


# ---- Docker commands: cluster management


def test_up_again_changes_nothing():
    before = start_times()
    kv.compose("up", "-d")
    assert start_times() == before
    assert kv.ask("node1", "GET key2") == "value2"


def test_down_removes_the_containers_and_keeps_the_volumes():
    kv.cli("set", "through_down", "kept")
    kv.cli("set", "deleted", "before")
    kv.cli("del", "deleted")
    kv.wait_equal()
    kv.compose("down")
    assert containers() == {}
    assert kv.NETWORK not in kv.docker("network", "ls", "--format", "{{.Name}}").split()
    assert set(kv.VOLUMES) <= set(kv.docker("volume", "ls", "--format", "{{.Name}}").split())
    kv.compose("up", "-d")
    kv.wait_linked()


def test_down_and_up_keep_the_data():
    for node in kv.NODES:
        assert kv.ask(node, "GET through_down") == "kept"
        assert kv.ask(node, "GET deleted") == "NOT_FOUND"


def test_logs_follow_all_nodes():
    def all_listen(output):
        return all(re.search(rf"{kv.container(node)}.*listening on", output) for node in kv.NODES)
    kv.watch_until([*kv.compose_command(), "logs", "-f"], all_listen)


def test_logs_follow_one_node():
    command = [*kv.compose_command(), "logs", "-f", "kv-node1"]
    output = kv.watch_until(command, lambda output: "listening on" in output)
    assert "simple-kv-node2" not in output.split("listening on")[0]


def test_restart_the_cluster():
    before = start_times()
    kv.compose("restart")
    for node in kv.NODES:
        kv.wait_value(node, "through_down", "kept")
    after = start_times()
    assert all(before[name] != after[name] for name in before)
    kv.wait_linked()
    kv.cli("set", "after_restart", "yes")
    for node in kv.NODES:
        kv.wait_value(node, "after_restart", "yes")


def test_down_v_removes_everything():
    kv.compose("down", "-v")
    assert containers() == {}
    assert not set(kv.VOLUMES) & set(kv.docker("volume", "ls", "--format", "{{.Name}}").split())
    kv.compose("up", "-d")
    kv.wait_linked()
    assert {kv.ask(node, "COUNT") for node in kv.NODES} == {"0"}


# ---- Docker commands: individual nodes


def test_stop_and_start_one_node():
    kv.cli("set", "kept", "by the others")
    kv.compose("stop", "kv-node2")
    assert containers()["simple-kv-node2"]["State"]["Status"] == "exited"
    assert containers()["simple-kv-node2"]["State"]["ExitCode"] == 0
    kv.cli("-n", "node2", "get", "kept", expect=EXIT_CANNOT_CONNECT)
    kv.compose("start", "kv-node2")
    kv.wait_linked()
    kv.wait_value("node2", "kept", "by the others")


def test_restart_one_node():
    kv.compose("restart", "kv-node1")
    kv.wait_linked()
    kv.wait_value("node1", "kept", "by the others")


# ---- Debugging


def test_shell_in_a_container():
    typed = "echo $((40 + 2)) $KV_NAME\nexit 7\n"
    code, screen = kv.in_terminal(*kv.compose_command(), "exec", "kv-node1", "sh", typed=typed)
    assert code == 7
    assert "42 node1" in screen


def test_ps_shows_healthy_containers():
    kv.wait_healthy()
    shown = kv.compose("ps")
    for node in kv.NODES:
        assert re.search(rf"{kv.container(node)}\b.*\(healthy\)", shown), shown


def test_stats_shows_all_nodes():
    def all_shown(output):
        return all(kv.container(node) in output for node in kv.NODES)
    kv.watch_until(["docker", "stats"], all_shown)


# ---- Testing scenarios. The first is `./kv-cli.sh test` once more.


def test_scenario_node_failure():
    kv.cli("set", "test_key", "test_value")
    kv.wait_equal()
    kv.compose("stop", "kv-node2")
    assert kv.cli("-n", "node1", "get", "test_key") == "test_value\n"
    assert kv.cli("-n", "node3", "get", "test_key") == "test_value\n"
    kv.cli("-n", "node3", "set", "while_away", "written")
    kv.compose("start", "kv-node2")
    kv.wait_linked()
    kv.wait_equal()
    assert kv.cli("-n", "node2", "get", "test_key") == "test_value\n"
    assert kv.cli("-n", "node2", "get", "while_away") == "written\n"
    kv.cli("status")


def test_scenario_network_partition():
    # more of it in test_compose_partition.py
    kv.docker("network", "disconnect", kv.NETWORK, "simple-kv-node3")
    kv.cli("set", "split", "brain")
    assert kv.ask_inside("node3", "GET split") == ["NOT_FOUND"]
    kv.docker("network", "connect", kv.NETWORK, "simple-kv-node3")
    kv.wait_linked()
    kv.wait_value("node3", "split", "brain")
    kv.wait_equal()


# ---- Troubleshooting


def test_lsof_shows_who_uses_the_ports():
    for port in kv.PORTS.values():
        assert "LISTEN" in kv.run("lsof", "-i", f":{port}")


def test_build_without_cache():
    # what it leaves is removed, so that the engine does not grow with every run
    before = set(kv.docker("images", "-q", "--no-trunc", "-f", "dangling=true").split())
    kept = kv.docker("images", "-q", "--no-trunc", "simple-kv").strip()
    kv.compose("build", "--no-cache", timeout_s=kv.BUILD_TIMEOUT_S)
    fresh = kv.docker("images", "-q", "--no-trunc", "simple-kv").strip()
    assert fresh != kept
    kv.docker("run", "--rm", "simple-kv", "--version")
    kv.docker("tag", kept, "simple-kv")
    left = set(kv.docker("images", "-q", "--no-trunc", "-f", "dangling=true").split()) - before
    kv.docker("rmi", *left)


def test_logs():
    shown = kv.compose("logs")
    for node in kv.NODES:
        assert re.search(rf"{kv.container(node)}.*listening on", shown)


def test_nodes_reach_each_other_by_service_name():
    for peer in ("kv-node2", "simple-kv-node2", "simple-kv-node3"):
        code, screen = kv.in_terminal(*kv.compose_command(), "exec", "kv-node1", "nc", "-z", peer, "8080")
        assert code == 0, screen


# ---- Manual testing


def netcat(line, port):
    """echo LINE | nc localhost PORT: it may stay connected, but the answer must come at once."""
    shell = f"echo '{line}' | nc localhost {port}"
    return kv.watch_until(["sh", "-c", shell], lambda output: output.endswith("\n"), timeout_s=5)


def test_netcat():
    assert netcat("SET manual_key manual_value", 8081) == "OK\n"
    kv.wait_value("node2", "manual_key", "manual_value")
    assert netcat("GET manual_key", 8082) == "manual_value\n"


def test_netcat_that_ends_its_input_is_ended():
    command = "printf 'GET manual_key\\nPING\\n' | nc -N localhost 8082"
    shown = kv.run("sh", "-c", command, timeout_s=kv.ASK_TIMEOUT_S)
    assert shown == "manual_value\n+PONG\n"
