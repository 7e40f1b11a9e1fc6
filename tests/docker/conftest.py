"""The engine and the cluster for the tests in this directory.

    /usr/bin/python3 -m pytest tests/docker

An engine is started if none is usable (engine.sh), and ended afterwards if these tests started it.
The names, ports and the subnet of docker-compose.yml are fixed, so a cluster that is there already
would be destroyed: on an engine that is not ours, the tests refuse to begin.
"""

import os
import pathlib
import re
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import compose_cluster as kv  # noqa: E402

ENGINE_START_TIMEOUT_S = 900


def engine_script(command):
    """Run engine.sh with its progress on the terminal; return its stdout."""
    script = pathlib.Path(__file__).with_name("engine.sh")
    return subprocess.run(
        [script, command], stdout=subprocess.PIPE, text=True, check=True,
        timeout=ENGINE_START_TIMEOUT_S,
    ).stdout


def leftovers():
    names = kv.docker("ps", "-a", "--format", "{{.Names}}").split()
    names += kv.docker("volume", "ls", "--format", "{{.Name}}").split()
    names += kv.docker("network", "ls", "--format", "{{.Name}}").split()
    ours = {*map(kv.container, kv.NODES), *kv.VOLUMES, kv.NETWORK}
    return sorted(ours.intersection(names))


@pytest.fixture(scope="session", autouse=True)
def engine():
    for name in ("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "KV_PUBLISH",
                 "KV_NODES"):
        os.environ.pop(name, None)
    try:
        exports = engine_script("start")
    except subprocess.CalledProcessError:
        pytest.exit("no Docker engine for these tests (see above)", returncode=1)
    os.environ.update(re.findall(r"^export (\w+)=(.*)$", exports, re.MULTILINE))
    kind = os.environ["KV_TEST_ENGINE"]
    if kind == "shared" and leftovers():
        pytest.exit(f"these tests would destroy: {', '.join(leftovers())}", returncode=1)
    remove_cluster()
    for port in kv.PORTS.values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                pytest.exit(f"port {port} is in use, but the cluster needs it", returncode=1)
    yield
    remove_cluster()
    if kind == "started":
        engine_script("stop")


def remove_cluster():
    kv.compose("down", "-v", "--remove-orphans")


@pytest.fixture(scope="session")
def image():
    """The image, built from this tree."""
    kv.compose("build", timeout_s=kv.BUILD_TIMEOUT_S)


@pytest.fixture(scope="module")
def cluster(image):
    """A running cluster, all nodes linked, from the image of this tree."""
    remove_cluster()
    kv.compose("up", "-d")
    kv.wait_linked()
    yield
    remove_cluster()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the last log lines of the nodes: they are gone when the cluster is."""
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        logs = subprocess.run(
            [*kv.compose_command(), "logs", "--no-color", "--tail=40"], cwd=kv.REPOSITORY, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=kv.COMMAND_TIMEOUT_S,
        ).stdout
        report.sections.append(("logs of the nodes", logs))
