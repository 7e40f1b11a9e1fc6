"""Peers that speak garbage, stop in the middle, are strangers, or do not exist."""

import os
import random
import socket

import pytest

from kvtest import MIB, SANITIZED, Closed, eventually, free_ports

PREFIX = b"\x00KVP"
UNRESOLVABLE = "x" * 70  # longer than a label may be: fails without asking any name server
RSS_SLACK_BYTES = 100 * MIB if SANITIZED else 8 * MIB


class Listener:
    """A socket in a node's list of peers that is not a node."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.settimeout(15)
        self.address = "127.0.0.1:%d" % self.sock.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def accept(self):
        conn, _ = self.sock.accept()
        conn.settimeout(15)
        return conn


def first_words_of_a_node(kv):
    """What a node sends first to a peer that it dials: the prefix and its hello."""
    with Listener() as listener:
        node = kv.node("speaker", peers=listener.address)
        with listener.accept() as conn:
            data = conn.recv(65536)
            conn.settimeout(0.3)
            try:
                while chunk := conn.recv(65536):
                    data += chunk
            except TimeoutError:
                pass
        node.stop()
    assert data.startswith(PREFIX) and len(data) > len(PREFIX)
    return data


def say(node, data):
    """Send this to the node as a peer would, end the stream, and wait until it hangs up."""
    with node.connect() as conn:
        try:
            conn.send(data)
            conn.half_close()
            conn.rest()
        except ConnectionError:
            pass


def in_good_health(node, files, memory):
    assert node.cmd("SET", "health", "good") == "OK"
    assert node.cmd("GET", "health") == "good"
    eventually(lambda: node.open_files() <= files, 10, "every connection is closed again")
    assert node.rss_bytes() - memory < RSS_SLACK_BYTES


@pytest.fixture
def node(kv):
    node = kv.node()
    node.cmd("PING")
    return node


def short(data):
    return ascii(data[:16])


GARBAGE = [b"", b"\x00", b"\x00" * 100_000, b"\xff" * 100_000, b"\n", b"hello\r\n" * 100,
           b"\x00KVP" * 1000, b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff" * 4, b"\xff\xff\xff\x7f" * 4,
           b"\x00\x00\x00\x00\xff\xff\xff\xff", b"\xff" * 8 + b"\x00" * 8]


@pytest.mark.parametrize("garbage", GARBAGE, ids=short)
def test_garbage_after_the_prefix_ends_only_that_connection(node, garbage):
    files, memory = node.open_files(), node.rss_bytes()
    say(node, PREFIX + garbage)
    in_good_health(node, files, memory)
    assert node.peers() == []


def test_random_garbage_after_the_prefix_ends_only_that_connection(node):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    files, memory = node.open_files(), node.rss_bytes()
    for _ in range(300):
        say(node, PREFIX + source.randbytes(source.choice([1, 3, 7, 20, 100, 1000])))
    in_good_health(node, files, memory)
    assert node.peers() == []


@pytest.mark.parametrize("start", [b"\x00", b"\x00K", b"\x00KV", b"\x00X", b"\x00KVX",
                                   b"\x00\x00\x00\x00", b"\x00kvp", b"\x00SET k v\n"])
def test_a_prefix_that_is_cut_or_wrong_ends_only_that_connection(node, start):
    files, memory = node.open_files(), node.rss_bytes()
    say(node, start)
    in_good_health(node, files, memory)
    assert node.cmd("EXISTS", "k") == "0"


def test_a_hello_cut_at_any_byte_ends_only_that_connection(kv, node):
    hello = first_words_of_a_node(kv)
    files, memory = node.open_files(), node.rss_bytes()
    for length in range(len(PREFIX), len(hello)):
        say(node, hello[:length])
    in_good_health(node, files, memory)
    assert node.number("peers_linked") == 0


def test_a_hello_with_any_byte_changed_ends_only_that_connection(kv, node):
    hello = first_words_of_a_node(kv)
    files, memory = node.open_files(), node.rss_bytes()
    for position in range(len(PREFIX), len(hello)):
        for mask in (0xff, 0x01, 0x80):
            changed = bytearray(hello)
            changed[position] ^= mask
            say(node, bytes(changed))
    in_good_health(node, files, memory)
    assert node.number("peers_linked") == 0


def test_a_hello_may_come_byte_by_byte(kv, node):
    hello = first_words_of_a_node(kv)
    with node.connect() as conn:
        for byte in hello:
            conn.send(bytes([byte]))
            node.cmd("PING")
        assert conn.sock.recv(1)


def test_garbage_after_a_good_hello_ends_only_that_connection(kv, node):
    hello = first_words_of_a_node(kv)
    files, memory = node.open_files(), node.rss_bytes()
    for garbage in GARBAGE:
        say(node, hello + garbage)
    for _ in range(100):
        say(node, hello + os.urandom(100))
    in_good_health(node, files, memory)
    assert node.cmd("COUNT") == "1"


def test_a_peer_that_says_hello_and_then_nothing_is_let_go(kv, node):
    hello = first_words_of_a_node(kv)
    with node.connect(timeout_s=15) as conn:
        conn.send(hello)
        conn.rest()


def test_a_peer_that_says_only_the_prefix_is_let_go(node):
    with node.connect(timeout_s=15) as conn:
        conn.send(PREFIX)
        conn.rest()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 1000,
                                    b"\xff" * 1000, b"+PONG\r\n", b"ERROR unknown command\n",
                                    PREFIX + b"\xff" * 100], ids=short)
def test_a_dialled_peer_that_answers_garbage_is_given_a_reason(kv, answer):
    with Listener() as listener:
        node = kv.node(peers=listener.address)
        for _ in range(3):
            with listener.accept() as conn:
                conn.recv(65536)
                conn.sendall(answer)
        peer = eventually(lambda: node.peer(address=listener.address), 5, "the peer is listed")
        assert peer["name"] == "?" and peer["state"] != "live"
        eventually(lambda: node.peers()[0]["reason"] not in ("-", ""), 10, "the reason is told")
    assert node.cmd("SET", "k", "v") == "OK"


def test_a_dialled_peer_that_never_answers_is_given_up_and_dialled_again(kv):
    with Listener() as listener:
        node = kv.node(peers=listener.address)
        with listener.accept() as first:
            second = listener.accept()
            second.close()
            assert first.recv(65536).startswith(PREFIX)
        assert node.cmd("PING") == "+PONG"


def test_a_peer_that_is_not_there_is_dialled_until_it_comes(kv):
    port = free_ports(1)[0]
    first = kv.node(peers=f"127.0.0.1:{port}")
    first.cmd("SET", "k", "v")
    eventually(lambda: first.peers()[0]["reason"] not in ("-", ""), 5, "the reason is told")
    assert first.peers()[0]["state"] in ("connecting", "down")
    late = kv.node(port=port)
    eventually(lambda: late.cmd("GET", "k") == "v", 15, "the late peer has the data")


def test_a_peer_that_does_not_resolve_is_logged_once_and_tried_again(kv):
    port = free_ports(1)[0]
    node = kv.node(peers=f"{UNRESOLVABLE}:8080,127.0.0.1:{port}")
    node.wait_log(UNRESOLVABLE)
    peer = eventually(lambda: node.peer(address=f"{UNRESOLVABLE}:8080"), 5, "the peer is listed")
    assert peer["name"] == "?" and peer["state"] in ("connecting", "down")
    kv.node(port=port)
    eventually(lambda: node.number("peers_linked") == 1, 10, "the other peer is linked")
    lines = [line for line in node.log_lines() if UNRESOLVABLE in line and "listening" not in line]
    assert len(lines) == 1, lines


def test_a_peer_whose_name_resolves_later_is_found(kv, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give the node a hosts file of its own")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
    mounts = (f"mount --bind {tmp_path}/hosts /etc/hosts && "
              f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec \"$@\"")
    late = kv.node()
    node = kv.node(peers=f"late-peer:{late.port}",
                   prefix=["unshare", "-m", "sh", "-c", mounts, "sh"])
    node.wait_log("late-peer")
    assert node.number("peers_linked") == 0
    with open(tmp_path / "hosts", "a", encoding="ascii") as hosts:
        hosts.write("127.0.0.1 late-peer\n")
    eventually(lambda: node.number("peers_linked") == 1, 20, "the peer is found")
    node.cmd("SET", "k", "v")
    eventually(lambda: late.cmd("GET", "k") == "v", 5, "it gets the data")
    assert sum("resolve" in line for line in node.log_lines() if "late-peer" in line) <= 1


def test_a_node_in_its_own_list_of_peers_drops_itself_quietly(kv):
    port = free_ports(1)[0]
    node = kv.node(port=port, peers=f"127.0.0.1:{port},localhost:{port}")
    eventually(lambda: node.lines("PEERS") == [], 10, "it no longer lists itself")
    info = node.info()
    assert (info["members"], info["peers_expected"], info["peers_linked"]) == ("0", "0", "0")
    assert not [line for line in node.log_lines() if "WARN" in line or "ERROR" in line]
    assert node.cmd("SET", "k", "v") == "OK"


def test_another_cluster_is_refused_and_both_sides_say_so(kv):
    red = kv.node("rednode", cluster="redteam")
    blue = kv.node("bluenode", cluster="blueteam", peers=red.address)
    peer = eventually(lambda: blue.peer(state="refused"), 10, "the state is told")
    assert "cluster" in peer["reason"] and "redteam" in peer["reason"], peer
    for node in (red, blue):
        line = node.wait_log("WARN .*refused")
        assert "cluster" in line and "redteam" in line and "blueteam" in line, line
    blue.cmd("SET", "k", "v")
    assert blue.number("peers_linked") == red.number("peers_linked") == 0
    assert red.cmd("EXISTS", "k") == "0"
    red.stop()
    red.options["cluster"] = "blueteam"
    red.start()
    eventually(lambda: red.cmd("GET", "k") == "v", 15, "it links up once the name is right")


def test_a_name_in_use_is_refused_and_both_sides_say_so(kv):
    first = kv.node("first")
    owner = kv.node("twin", peers=first.address)
    eventually(lambda: owner.number("peers_linked") == 1, 10, "the owner of the name is linked")
    usurper = kv.prepare("usurper", peers=first.address)
    usurper.options["name"] = "twin"
    usurper.start()
    peer = eventually(lambda: usurper.peer(state="refused"), 10, "the state is told")
    assert "name" in peer["reason"] and "twin" in peer["reason"], peer
    for node in (first, usurper):
        assert "name 'twin'" in node.wait_log("WARN .*refused")
    usurper.cmd("SET", "k", "v")
    assert usurper.number("peers_linked") == 0
    assert first.cmd("EXISTS", "k") == "0"
    assert first.number("peers_linked") == 1
    owner.stop()
    eventually(lambda: first.cmd("GET", "k") == "v", 20, "the name is free once its owner ended")


def test_a_restarted_node_is_not_taken_for_another_of_its_name(kv):
    cluster = kv.cluster(2)
    for _ in range(3):
        cluster[1].kill().start()
        cluster.wait_linked()
    assert not [line for line in cluster[0].log_lines() if "in use" in line]


def test_a_refusal_that_lasts_does_not_fill_the_log(kv):
    red = kv.node(cluster="redteam")
    blue = kv.node(cluster="blueteam", peers=red.address)
    eventually(lambda: blue.peer(state="refused"), 10, "the state is told")
    eventually(lambda: int(blue.info()["uptime_seconds"]) >= 7, 12, "some attempts later")
    for node in (red, blue):
        assert len([line for line in node.log_lines() if "redteam" in line]) <= 12


def test_the_line_protocol_is_not_for_a_connection_that_began_as_a_peer(node):
    with node.connect() as conn:
        conn.send(PREFIX + b"SET k v\nPING\n")
        conn.half_close()
        try:
            answer = conn.rest()
        except (ConnectionError, Closed):
            answer = b""
    assert b"PONG" not in answer
    assert node.cmd("EXISTS", "k") == "0"
