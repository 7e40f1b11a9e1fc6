"""kv-cli.sh up, down, restart and logs, in a tree of its own around the program under test."""

import os
import select
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from clitest import CLI, MISSING, USAGE, Cli, fails, nodes_list, rows
from kvtest import BINARY, REPOSITORY, SLOWNESS, eventually, free_ports

NOBODY = 65534
FAKE_TOOLS = {
    "cmake": 'echo "cmake $*" >>"$CALLS"',
    "dpkg-query": '[ "${*##* }" = "$LACKING" ] || printf installed',
    "apt-get": 'echo "apt-get $*" >>"$CALLS"',
    "sudo": 'echo sudo >>"$CALLS"; exec "$@"',
    "id": 'echo "$FAKE_UID"',
    "docker": 'exit 1',
    "docker-compose": '[ -z "$NO_ENGINE" ] || { echo "a page"; echo "$NO_ENGINE"; exit 1; } >&2; '
                      '[ "$1" = ps ] || echo "docker-compose $*" >>"$CALLS"',
}


class Tree(Cli):
    """A source tree with tools that only note how they were called."""

    def __init__(self, directory):
        self.root = directory / "tree"
        (self.root / "build").mkdir(parents=True)
        (self.root / "build" / "simple-kv").symlink_to(BINARY)
        shutil.copy(CLI, self.root)
        for part in "src/cli", "docker":
            shutil.copytree(REPOSITORY / part, self.root / part)
        self.tools = directory / "tools"
        self.tools.mkdir()
        for name, body in FAKE_TOOLS.items():
            tool = self.tools / name
            tool.write_text(f"#!/bin/sh\n{body}\n")
            tool.chmod(0o755)
        self.calls_path = directory / "calls"
        self.calls_path.touch()
        self.ports = free_ports(3)
        super().__init__(
            ",".join(f"node{i + 1}=localhost:{port}" for i, port in enumerate(self.ports)),
            script=self.root / "kv-cli.sh", PATH=f"{self.tools}:{os.environ['PATH']}", FAKE_UID="0",
            CALLS=str(self.calls_path))

    def calls(self):
        return self.calls_path.read_text().splitlines()

    def pids(self):
        return {path.stem: int(path.read_text()) for path in (self.root / ".run").glob("*.pid")}


@pytest.fixture
def tree(kv, tmp_path):
    tree = Tree(tmp_path)
    yield tree
    down = tree("down")
    assert (down.returncode, tree.pids()) == (0, {}), down
    for log in (tree.root / ".run").glob("*.log"):
        assert "Sanitizer" not in log.read_text("utf-8", "replace")


def up(tree, *arguments, status=0, **options):
    done = tree("up", *arguments, **options)
    assert done.returncode == status, done.stderr.decode() + done.stdout.decode()
    return done


def alive(pid):
    """It runs: a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def test_up_starts_three_linked_nodes_and_down_stops_them(tree):
    done = up(tree)
    table, summary = rows(done.stdout)
    assert summary == "3 of 3 up"
    assert [table[f"node{i}"][3] for i in (1, 2, 3)] == ["2/2"] * 3
    for word in b"Building", b"Starting node1", b"Waiting":
        assert word in done.stderr
    assert any("--build" in call for call in tree.calls())
    tree.out("set", "mykey", "myvalue")
    eventually(lambda: tree("-n", "node3", "get", "mykey").stdout == b"myvalue\n", 10,
               "it replicates")
    pids = tree.pids()
    assert sorted(pids) == ["node1", "node2", "node3"]
    assert tree("down").returncode == 0
    assert not any(alive(pid) for pid in pids.values())
    assert b"not running" in tree("down").stderr


def test_up_leaves_running_nodes_alone_and_replaces_dead_ones(tree):
    up(tree)
    before = tree.pids()
    os.kill(before["node2"], signal.SIGKILL)
    eventually(lambda: not alive(before["node2"]), 10, "node2 has ended")
    done = up(tree)
    after = tree.pids()
    assert b"node2 left a pid file" in done.stderr and b"node1 runs already" in done.stderr
    assert after["node2"] != before["node2"]
    assert [after[name] == before[name] for name in ("node1", "node3")] == [True, True]


def test_single_nodes_go_down_up_and_restart(tree):
    up(tree)
    before = tree.pids()
    assert tree("down", "node2").returncode == 0
    assert tree("status").returncode == 1 and sorted(tree.pids()) == ["node1", "node3"]
    assert list(rows(up(tree, "node2").stdout)[0]) == ["node2"]
    assert tree("restart", "node3").returncode == 0
    after = tree.pids()
    assert [after[f"node{i}"] == before[f"node{i}"] for i in (1, 2, 3)] == [True, False, False]
    assert rows(tree.out("status"))[1] == "3 of 3 up"


def data_of(tree):
    return sorted(path.name for path in (tree.root / ".run").glob("*.data"))


def test_data_stays_through_down_and_up(tree):
    up(tree)
    tree.out("set", "mykey", "myvalue")
    tree.out("set", "gone", "soon")
    tree.out("del", "gone")
    assert tree("down").returncode == 0
    assert data_of(tree) == ["node1.data", "node2.data", "node3.data"]
    up(tree, "node1")  # whose data nobody else can bring back
    assert tree.out("get", "mykey") == b"myvalue\n"
    fails(tree("get", "gone"), MISSING, "not found")


@pytest.mark.parametrize("flag", ["-v", "--volumes"])
def test_down_removes_the_data_only_when_asked_to(tree, flag):
    up(tree)
    tree.out("set", "mykey", "myvalue")
    assert tree("down", flag, "node2").returncode == 0
    assert data_of(tree) == ["node1.data", "node3.data"]
    done = tree("down", flag)
    assert done.returncode == 0 and b"Removed the data of node1" in done.stderr
    assert data_of(tree) == []
    up(tree)
    fails(tree("get", "mykey"), MISSING, "not found")


def test_only_down_removes_data(tree):
    for command in "up", "restart", "logs":
        fails(tree(command, "-v"), USAGE, f"{command} does not know -v")


def test_up_reports_a_port_that_another_program_uses(tree):
    with socket.create_server(("127.0.0.1", tree.ports[0])):
        fails(up(tree, status=1), 1, "node1 cannot start", "another program", f"{tree.ports[0]}")
    assert tree.pids() == {}


def test_up_reports_a_port_on_which_a_foreign_node_runs(kv, tree):
    node = kv.node(port=tree.ports[0])
    fails(up(tree, status=1), 1, "node1 cannot start", "simple-kv that this script did not start")
    assert node.running


def test_up_starts_nothing_when_one_port_is_taken(tree):
    with socket.create_server(("127.0.0.1", tree.ports[2])):
        fails(up(tree, status=1), 1, "node3 cannot start", f"{tree.ports[2]}")
    assert tree.pids() == {}


def test_up_shows_why_a_node_ended(tree):
    done = fails(up(tree, status=1, env={"KV_MAX_VALUE": "nonsense"}), 1, "ended at once")
    assert b"nonsense" in done.stderr


def test_down_never_ends_a_process_that_is_not_a_node(tree):
    other = subprocess.Popen(["sleep", "60"])
    try:
        (tree.root / ".run").mkdir()
        (tree.root / ".run" / "node1.pid").write_text(f"{other.pid}\n")
        assert b"node1 is not running" in tree("down").stderr
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the part of another user")
def test_nodes_of_another_user_are_left_alone_and_named(tree):
    run = tree.root / ".run"
    run.mkdir()
    os.chown(run, NOBODY, NOBODY)
    # root, but without the right to write to and to end what is another's
    mere_user = ["setpriv", "--bounding-set=-kill,-dac_override", tree.script]
    done = subprocess.run([*mere_user, "up"], capture_output=True, env=tree.environment())
    fails(done, 1, "may not write to", "KV_RUN_DIR")
    assert tree.pids() == {}
    theirs = subprocess.Popen(
        ["/usr/bin/python3", "-c", "import time; time.sleep(60)", "simple-kv", "--name", "node1", ""],
        user=NOBODY)
    try:
        (run / "node1.pid").write_text(f"{theirs.pid}\n")
        done = subprocess.run([*mere_user, "down"], capture_output=True, env=tree.environment())
        fails(done, 1, f"may not stop node1 (process {theirs.pid}) of user nobody")
        assert theirs.poll() is None and tree.pids() == {"node1": theirs.pid}
    finally:
        theirs.kill()
        theirs.wait()


def test_up_starts_nodes_on_this_machine_only(tree):
    fails(tree("up", env={"KV_NODES": "node1=192.0.2.1:8080"}), USAGE, "this machine only",
          "192.0.2.1")


def test_up_installs_exactly_what_is_missing(tree):
    def installed():
        return [call.split()[-1] for call in tree.calls() if "apt-get install" in call]
    up(tree)
    assert installed() == []
    up(tree, env={"LACKING": "libinih-dev"})
    assert installed() == ["libinih-dev"]
    assert "sudo" not in tree.calls()


def test_up_installs_through_sudo_or_says_what_root_has_to_do(tree):
    user = {"LACKING": "uthash-dev", "FAKE_UID": "1000"}
    up(tree, env=user)
    assert "sudo" in tree.calls()
    bare = tree.root / "bin"
    bare.mkdir()
    for path in "/usr/bin", "/bin":
        for tool in Path(path).iterdir():
            if tool.name != "sudo" and not (bare / tool.name).exists():
                (bare / tool.name).symlink_to(tool)
    (tree.tools / "sudo").unlink()
    fails(tree("up", env={**user, "PATH": f"{tree.tools}:{bare}"}), 1, "needs root",
          "apt-get install -y uthash-dev")


def test_logs_of_all_nodes_of_one_and_as_they_grow(tree):
    fails(tree("logs"), 1, "no log")
    up(tree)
    assert tree.out("logs").count(b"listening on") == 3
    assert tree.out("logs", "node2").count(b"listening on") == 1
    follow = tree.start("logs", "-f", "node2")
    try:
        tree("restart", "node2")
        seen = b""
        while seen.count(b"listening on") < 2:
            assert select.select([follow.stdout], [], [], 10 * SLOWNESS)[0], seen
            seen += os.read(follow.stdout.fileno(), 65536)
    finally:
        os.killpg(follow.pid, signal.SIGTERM)
        follow.communicate()


def test_docker_means_compose(kv, tree):
    cluster = kv.cluster(3)
    tree.env["KV_NODES"] = nodes_list(cluster)
    assert rows(up(tree, "--docker").stdout)[1] == "3 of 3 up"
    for arguments in ["up", "--docker", "node2"], ["logs", "--docker", "-f", "node1"], \
            ["down", "--docker", "node3"], ["down", "--docker"], ["down", "--docker", "-v"]:
        assert tree(*arguments).returncode == 0
    fails(tree("down", "--docker", "-v", "node3"), USAGE, "it takes no node")
    assert tree.calls() == [
        "docker-compose " + call for call in (
            "build", "up -d", "build", "up -d kv-node2", "logs --no-color -f kv-node1",
            "stop kv-node3", "down", "down -v")]
    assert tree.pids() == {}


def test_docker_without_an_engine_is_one_line(tree):
    for command in "up", "down", "logs":
        done = fails(tree(command, "--docker", env={"NO_ENGINE": "no engine there"}), 1,
                     "docker-compose cannot work here: no engine there")
        assert done.stderr.count(b"\n") == 1


def test_docker_refuses_while_the_nodes_run_without_it(tree):
    up(tree)
    fails(tree("up", "--docker"), 1, "node1 runs without a container")
