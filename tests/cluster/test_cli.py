"""kv-cli.sh against real nodes: what it prints where, and its exit statuses."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest

from clitest import CLI, CONNECT, MISSING, SERVER, USAGE, Cli, answering, fails, rows
from kvtest import REPOSITORY, SLOWNESS, eventually, free_ports


@pytest.fixture
def cli(kv):
    """The script with one node behind it, which is `cli.node`."""
    node = kv.node()
    cli = Cli([node])
    cli.node = node
    return cli


# -- data


def test_set_get_exists_ttl_del(cli):
    assert cli.out("set", "mykey", "myvalue") == b"OK\n"
    assert cli.out("get", "mykey") == b"myvalue\n"
    assert cli.out("exists", "mykey") == b"1\n"
    assert cli.out("ttl", "mykey") == b"-1\n"
    assert cli.out("del", "mykey") == b"1\n"
    fails(cli("get", "mykey"), MISSING, "not found: mykey")


def test_a_missing_key_is_status_1_and_named_on_stderr(cli):
    for command in "get", "ttl", "del":
        assert fails(cli(command, "nokey"), MISSING).stderr == b"not found: nokey\n"
    assert cli("exists", "nokey").stdout == b"0\n"
    assert cli("exists", "nokey").returncode == MISSING


def test_several_keys_are_deleted_and_the_missing_ones_named(cli):
    cli.out("set", "a", "1")
    cli.out("set", "b c", "2")
    done = cli("del", "a", "gone", "b c")
    assert (done.returncode, done.stdout, done.stderr) == (MISSING, b"2\n", b"not found: gone\n")


def test_ttl_counts_seconds(cli):
    assert cli.node.cmd("SETEX", "key", 100, "value") == "OK"
    assert 90 <= int(cli.out("ttl", "key")) <= 100


def test_n_chooses_the_node_in_every_spelling(kv):
    cluster = kv.cluster(2)
    cli = Cli(cluster)
    cli.out("set", "mykey", "myvalue")
    cluster.wait_everywhere("mykey", "myvalue")
    cluster[0].stop()
    for option in ["-n", "node2"], ["-nnode2"], ["--node", "node2"], ["--node=node2"]:
        assert cli.out(*option, "get", "mykey") == b"myvalue\n"
    assert cli("get", "mykey").returncode == CONNECT


def test_words_are_joined_and_spaces_inside_a_word_kept(cli):
    cli.out("set", "key", "several", "words  with", " spaces ")
    assert cli.out("get", "key") == b"several words  with  spaces \n"
    cli.out("set", "key", "")
    assert cli.out("get", "key") == b"\n"
    cli.out("SET", "key", "-", "is a word among others")
    assert cli.out("GET", "key") == b"- is a word among others\n"


@pytest.mark.parametrize("key", [
    "with spaces", ' "quoted" ', '"', "back\\slash", 'both \\" of them',
    "tab\tand\nnewline\x01\x7f", "caf\u00e9 \u65e5\u672c", b"\xff\x80 bytes",
    "$(exit 9)`;*", "-n", "%s%n"])
def test_any_key_works(cli, key):
    cli.out("set", key, "value")
    assert cli.out("get", key) == b"value\n"
    assert cli.out("exists", key, key) == b"2\n"
    assert cli.node.cmd("COUNT") == "1"
    assert cli.out("del", key) == b"1\n"


def test_the_key_of_the_cli_is_the_key_of_the_protocol(cli):
    cli.out("set", "a key", "value")
    assert cli.node.cmd("GET", r'"a key"') == "value"
    assert cli.node.lines("KEYS", "*") == ['"a key"']


def test_a_value_that_reads_like_an_answer_is_a_value(cli):
    for value in "NOT_FOUND", "ERROR no", "0", "+OK", "OK":
        cli.out("set", "key", value)
        assert cli.out("get", "key") == value.encode() + b"\n"


@pytest.mark.parametrize("given,stored", [
    (b"plain", b"plain"), (b"one newline\n", b"one newline"), (b"", b""), (b"\n", b""),
    (b" spaces \n", b" spaces "), (b"nul \0 and \xff\xfe", b"nul \0 and \xff\xfe"),
    (b"return \r inside", b"return \r inside"), (b"\0\n", b"\0")])
def test_a_value_from_stdin(cli, given, stored):
    assert cli.out("set", "key", "-", stdin=given) == b"OK\n"
    assert cli.out("get", "key") == stored + b"\n"


@pytest.mark.parametrize("value", [b"two\nlines", b"two newlines\n\n", b"\nfirst", b"x\nDEL key\n"])
def test_a_newline_inside_a_value_is_refused_and_never_run_as_a_command(cli, value):
    cli.out("set", "key", "before")
    fails(cli("set", "key", "-", stdin=value), USAGE, "newline")
    fails(cli("set", "key", value), USAGE, "newline")
    assert cli.out("get", "key") == b"before\n"


def test_a_carriage_return_at_the_end_is_refused(cli):
    fails(cli("set", "key", "-", stdin=b"from windows\r\n"), USAGE, "carriage return")
    fails(cli("set", "key", "value\r"), USAGE, "carriage return")


def test_large_values_are_quick_and_whole(cli):
    value = os.urandom(8 * 1024 * 1024).replace(b"\n", b"-").replace(b"\r", b"+")
    began = time.monotonic()
    assert cli.out("set", "big", "-", stdin=value) == b"OK\n"
    assert cli.out("get", "big") == value + b"\n"
    assert time.monotonic() - began < 15 * SLOWNESS


def test_what_the_server_refuses_is_status_4_with_its_reason(kv):
    node = kv.node(max_value="1KiB")
    cli = Cli([node])
    for size in 1025, 5_000_000:
        fails(cli("set", "key", "-", stdin=b"v" * size), SERVER, "node1", "ERROR")
    fails(cli("set", "k" * 70_000, "value"), SERVER, "ERROR")


def test_a_write_that_no_peer_confirms_is_status_4_though_it_stands(kv):
    cli = Cli([kv.node(min_acks=1, ack_timeout="50ms")])
    fails(cli("set", "key", "value"), SERVER, "0 of 1 peers confirmed")
    assert cli.out("get", "key") == b"value\n"
    fails(cli("del", "key"), SERVER, "0 of 1 peers confirmed")


@pytest.mark.parametrize("command", ["get", "exists", "ttl", "del"])
def test_an_error_is_never_taken_for_data(command):
    with answering(b"ERROR out of memory\nERROR out of memory\n+OK\n") as nodes:
        fails(Cli(nodes)(command, "key"), SERVER, "ERROR out of memory")
    with answering(b"ERROR too many clients\n") as nodes:
        fails(Cli(nodes)(command, "key"), SERVER, "ERROR too many clients")


# -- usage


def test_help_is_on_stdout_when_asked_for_and_on_stderr_when_not():
    cli = Cli("")
    for word in "help", "--help", "-h":
        assert b"set KEY VALUE" in cli.out(word)
    assert b"set KEY VALUE" in fails(cli(), USAGE).stderr


@pytest.mark.parametrize("command", ["set", "status", "test", "watch", "up", "down", "logs"])
def test_a_command_explains_itself_where_no_key_can_be_meant(command):
    assert b"set KEY VALUE" in Cli("").out(command, "--help")


def test_a_key_may_be_called_help(cli):
    cli.out("set", "--help", "value")
    assert cli.out("get", "--help") == b"value\n"


def test_the_version_is_that_of_the_source_tree(kv):
    version = re.search(r"project\([^)]*VERSION\s+([\d.]+)",
                        (REPOSITORY / "CMakeLists.txt").read_text())
    assert Cli("").out("--version") == f"kv-cli.sh {version.group(1)}\n".encode()
    assert version.group(1) in kv.run("--version").stdout


@pytest.mark.parametrize("word,meant", [
    ("gte", "get"), ("statsu", "status"), ("sett", "set"), ("delete", "del"), ("rm", "del"),
    ("stop", "down"), ("log", "logs"), ("stat", "status"), ("--docker", None),
    ("frobnicate", None)])
def test_an_unknown_command_gets_the_nearest_one_suggested(word, meant):
    done = fails(Cli("")(word), USAGE, "unknown", word)
    hint = re.search(r'did you mean "(\w+)"', done.stderr.decode())
    assert (hint and hint.group(1)) == meant


@pytest.mark.parametrize("arguments,words", [
    (["get"], "one key"), (["get", "a", "-n", "node2"], "-n first"), (["get", ""], "empty"),
    (["set"], "key and a value"), (["set", "key"], "value"), (["set", "", "value"], "empty"),
    (["del"], "one key or more"), (["exists", "a", ""], "empty"), (["ttl", "a", "b"], "one key"),
    (["-n"], "name of a node"), (["-n", "node9", "get", "a"], "node1 node2 node3"),
    (["status", "nodeX"], "node1 node2 node3"), (["watch", "soon"], "whole number"),
    (["watch", "0"], "whole number"), (["test", "node1"], "no argument"),
    (["up", "--dokcer"], "--dokcer"), (["down", "-f"], "-f"), (["-x", "get", "a"], "-x")])
def test_wrong_usage_says_what_would_be_right(arguments, words):
    fails(Cli("")(*arguments), USAGE, words)


@pytest.mark.parametrize("variable,value,words", [
    ("KV_NODES", "nonsense", "nonsense"), ("KV_NODES", "a=b", "a=b"),
    ("KV_NODES", "x=h:80,x=h:81", "x twice"), ("KV_NODES", ",", "no node"),
    ("KV_TIMEOUT", "soon", "KV_TIMEOUT"), ("KV_TIMEOUT", "0", "KV_TIMEOUT")])
def test_bad_environment_is_usage(variable, value, words):
    fails(Cli("")("get", "a", env={variable: value}), USAGE, words)


def test_bare_addresses_are_named_in_their_order(kv):
    cluster = kv.cluster(2)
    cli = Cli(",".join(node.address for node in cluster))
    cli.out("-n", "node2", "set", "key", "value")
    assert cluster[1].cmd("GET", "key") == "value"


# -- what it runs on


def test_it_needs_neither_nc_nor_an_environment(cli, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("base64 bash cat cmp dirname env grep head mktemp od readlink rm sed sleep tail "
                 "timeout tr truncate wc").split():
        (tools / name).symlink_to(shutil.which(name))
    env = {"PATH": str(tools), "KV_NODES": cli.env["KV_NODES"]}

    def run(*arguments, stdin=b""):
        done = subprocess.run([CLI, *arguments], env=env, input=stdin, capture_output=True,
                              timeout=60 * SLOWNESS)
        assert (done.returncode, done.stderr) == (0, b""), done
        return done.stdout

    assert run("set", "key", "-", stdin=b"value") == b"OK\n"
    assert run("get", "key") == b"value\n"
    assert b"1 of 1 up" in run("status")
    assert b" 0 failed" in run("test")


def test_localhost_works_whether_or_not_it_is_ipv6_first(cli):
    assert cli.out("set", "key", "value", env={"KV_NODES": f"localhost:{cli.node.port}"}) == b"OK\n"


def test_it_leaves_no_temporary_files(cli, tmp_path):
    cli.out("set", "key", "value", env={"TMPDIR": str(tmp_path)})
    cli("get", "nokey", env={"TMPDIR": str(tmp_path)})
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


# -- nodes that do not answer


def test_a_refused_connection_is_status_3():
    port = free_ports(1)[0]
    cli = Cli(f"node1=127.0.0.1:{port}")
    for command in ["get", "key"], ["set", "key", "value"], ["del", "key"], ["ttl", "key"]:
        fails(cli(*command), CONNECT, f"node1 at 127.0.0.1:{port}", "refused")
    fails(cli("get", "key", env={"KV_NODES": "no-such-host.invalid:80"}), CONNECT,
          "node1 at no-such-host")


def test_a_node_that_hangs_costs_the_timeout_and_no_more(cli):
    cli.node.pause()
    try:
        for stdin in b"value", b"v" * 20_000_000:
            began = time.monotonic()
            fails(cli("set", "key", "-", stdin=stdin, env={"KV_TIMEOUT": "1"}), CONNECT,
                  "no answer within 1 s")
            assert 1 <= time.monotonic() - began < 4 * SLOWNESS
    finally:
        cli.node.resume()


def test_a_server_that_dies_within_its_answer_is_not_taken_for_a_short_value():
    with answering(b"1\nhalf of the val") as nodes:
        fails(Cli(nodes)("get", "key"), CONNECT, "before the answer was complete")


# -- status, watch


def test_status_shows_every_node(kv):
    cluster = kv.cluster(3)
    cluster[0].cmd("SET", "key", "value")
    cluster.wait_equal()
    table, summary = rows(Cli(cluster).out("status"))
    assert summary == "3 of 3 up"
    for node in cluster:
        address, state, keys, peers, lag, unit, version = table[node.name]
        assert (address, state, keys, peers, unit) == (node.address, "up", "1", "2/2", "ms")
        assert lag.isdigit() and version == node.info()["version"]
    assert list(rows(Cli(cluster).out("status", "node2"))[0]) == ["node2"]
    assert list(rows(Cli(cluster).out("-n", "node3", "status"))[0]) == ["node3"]


def test_status_is_1_when_a_node_is_down(kv):
    cluster = kv.cluster(3)
    cli = Cli(cluster)
    cluster[1].kill()
    eventually(lambda: cluster[0].number("peers_linked") == 1, 10, "node1 notices")
    done = cli("status")
    table, summary = rows(done.stdout)
    assert done.returncode == 1
    assert summary.startswith("2 of 3 up")
    assert table["node2"][1:3] == ["down", "-"] and "refused" in table["node2"]
    assert table["node1"][3] == "1/2"


def test_status_waits_once_for_all_nodes_that_hang(kv):
    cluster = kv.cluster(3)
    for node in cluster:
        node.pause()
    try:
        began = time.monotonic()
        done = Cli(cluster)("status", env={"KV_TIMEOUT": "1"})
        assert done.returncode == 1 and done.stdout.count(b"no answer within 1 s") == 3
        assert time.monotonic() - began < 3 * SLOWNESS
    finally:
        for node in cluster:
            node.resume()


def test_status_tells_another_program_from_a_node():
    with answering(b"hello\n+OK\n") as nodes:
        done = Cli(nodes)("status")
    assert done.returncode == 1
    assert b"not simple-kv" in done.stdout


@pytest.mark.parametrize("state, field", [("loading", b"loading:1"),
                                          ("refilling", b"loading:1\nrefilling:yes")])
def test_status_is_1_when_a_node_does_not_serve_yet(state, field):
    info = [b"version:0.1.0", b"keys:7", b"peers_linked:0", b"peers_expected:2", b"lag_ms:0",
            b"digest:00", *field.split()]
    with answering(b"%d\n%s\n+OK\n" % (len(info), b"\n".join(info))) as nodes:
        done = Cli(nodes)("status")
    table, summary = rows(done.stdout)
    assert done.returncode == 1
    assert summary == "0 of 1 up, 1 not ready yet"
    assert list(table.values())[0][1:3] == [state, "7"]


def test_watch_repeats_the_status_until_interrupted(cli):
    watch = cli.start("watch", "1")
    seen = b""
    while seen.count(b"1 of 1 up") < 2:
        assert select.select([watch.stdout], [], [], 10 * SLOWNESS)[0], seen
        seen += os.read(watch.stdout.fileno(), 4096)
    os.killpg(watch.pid, signal.SIGINT)
    assert watch.wait(10 * SLOWNESS) == 0
    assert b"\x1b" not in seen


def on_terminal(cli, *arguments, **env):
    """What it shows on a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(cli.script, [str(cli.script), *arguments],
                  cli.environment({"TERM": "xterm", **env}))
    seen = b""
    while True:
        try:
            seen += os.read(terminal, 4096)
        except OSError:  # the kernel's end of file of a terminal
            break
    os.close(terminal)
    os.waitpid(pid, 0)
    return seen


def test_colours_are_for_terminals_and_for_those_who_want_them(cli):
    assert b"\x1b[32mup" in on_terminal(cli, "status")
    assert b"\x1b" not in on_terminal(cli, "status", NO_COLOR="1")
    assert b"\x1b" not in on_terminal(cli, "status", TERM="dumb")
    assert b"\x1b" not in cli.out("status")


# -- test


def test_test_passes_on_a_good_cluster_and_leaves_no_key(kv):
    cluster = kv.cluster(3)
    cluster[0].cmd("SET", "mine", "stays")
    done = Cli(cluster)("test", deadline_s=120)
    assert (done.returncode, done.stderr) == (0, b""), done.stdout.decode()
    passed, failed = re.search(rb"^(\d+) passed, (\d+) failed$", done.stdout, re.MULTILINE).groups()
    assert (int(passed), int(failed)) == (done.stdout.count(b"  ok  "), 0)
    assert cluster.wait_equal() == 1


def test_test_fails_where_nodes_do_not_replicate_and_still_cleans_up(kv):
    nodes = [kv.node(), kv.node()]
    done = Cli(nodes)("test", deadline_s=180)
    passed, failed = re.search(rb"^(\d+) passed, (\d+) failed$", done.stdout, re.MULTILINE).groups()
    assert done.returncode == 1
    assert int(failed) == done.stdout.count(b"  FAIL  ") > 3
    assert b"FAIL  it reaches node2" in done.stdout
    assert [node.cmd("COUNT") for node in nodes] == ["0", "0"]


def test_test_says_which_node_is_down(kv):
    cluster = kv.cluster(2)
    cli = Cli(cluster)
    cluster[1].stop()
    done = cli("test")
    assert done.returncode == 1
    assert b"FAIL  node2" in done.stdout and b"1 passed, 1 failed" in done.stdout


@pytest.mark.parametrize("number,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_test_cleans_up_when_interrupted(kv, number, status):
    cluster = kv.cluster(2)
    test = Cli(cluster).start("test")
    eventually(lambda: cluster[1].number("keys") >= 3, 60, "the test has written")
    os.killpg(test.pid, number)
    test.communicate(timeout=30 * SLOWNESS)
    assert test.returncode == status
    eventually(lambda: [node.cmd("COUNT") for node in cluster] == ["0", "0"], 10, "no key is left")
