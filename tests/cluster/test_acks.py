"""--min-acks, --ack-timeout, WAIT: a reply leaves when its promise is kept, or says it is not."""

import threading
import time

import pytest

from kvtest import eventually, free_ports


def timed(action):
    start = time.monotonic()
    value = action()
    return value, time.monotonic() - start


def test_a_write_is_ok_once_enough_peers_have_it(kv):
    cluster = kv.cluster(3, min_acks=2, ack_timeout="10s")
    for turn in range(20):
        for writer in cluster:
            assert writer.cmd("SET", f"k{turn}", writer.name) == "OK"
            assert {node.cmd("GET", f"k{turn}") for node in cluster} == {writer.name}
    assert cluster[0].cmd("DEL", "k1") == "1"
    assert {node.cmd("EXISTS", "k1") for node in cluster} == {"0"}


@pytest.mark.parametrize("line,reads", [
    ("SET k v", "v"), ("SETEX k 100 v", "v"), ("DEL old", None), ("EXPIRE old 100", None),
    ("PERSIST timed", None)])
def test_a_write_without_enough_peers_says_so_and_stands(kv, line, reads):
    node = kv.node(ack_timeout="300ms")
    node.cmd("SET", "old", "v"), node.cmd("SETEX", "timed", 100, "v")
    node.stop()
    node.options["min_acks"] = 1
    node.start()
    with node.connect() as conn:
        for seed in (b"SET old v", b"SETEX timed 100 v"):
            assert conn.ask(seed).startswith(b"ERROR ")
        reply, took = timed(lambda: conn.cmd(line))
    assert reply == "ERROR 0 of 1 peers confirmed within 300 ms; the write stands on this node"
    assert 0.25 <= took < 2
    if reads:
        assert node.cmd("GET", "k") == reads


def test_the_error_tells_how_many_have_confirmed(kv):
    cluster = kv.cluster(2, min_acks=2, ack_timeout="500ms")
    assert (cluster[0].cmd("SET", "k", "v")
            == "ERROR 1 of 2 peers confirmed within 500 ms; the write stands on this node")
    assert cluster[1].cmd("GET", "k") == "v"


def test_reads_and_writes_that_change_nothing_do_not_wait_for_peers(kv):
    node = kv.node(min_acks=1, ack_timeout="60s")
    for line, reply in (("GET k", "NOT_FOUND"), ("DEL k", "0"), ("PING", "+PONG"), ("COUNT", "0"),
                        ("EXPIRE k 10", "0"), ("PERSIST k", "0"), ("TTL k", "-2")):
        assert node.cmd(line) == reply


def test_answers_stay_in_order_while_one_waits(kv):
    cluster = kv.cluster(2, min_acks=1, ack_timeout="700ms")
    cluster[1].pause()
    with cluster[0].connect() as conn:
        conn.send(b"GET a\nSET a 1\nGET a\nPING\nSET b 2\nGET b\nEXISTS a b\n")
        replies = [conn.line() for _ in range(7)]
    cluster[1].resume()
    error = b"ERROR 0 of 1 peers confirmed within 700 ms; the write stands on this node"
    assert replies == [b"NOT_FOUND", error, b"1", b"+PONG", error, b"2", b"2"]


def test_a_waiting_answer_does_not_hold_up_other_clients(kv):
    node = kv.node(min_acks=1, ack_timeout="60s", shutdown_timeout="100ms")
    with node.connect() as waiting:
        waiting.send(b"SET k v\n")
        eventually(lambda: node.cmd("GET", "k") == "v", 5, "the write stands meanwhile")
        _, took = timed(lambda: [node.cmd("PING") for _ in range(100)])
        assert took < 2


def test_deep_pipelines_of_confirmed_writes_share_their_confirmations(kv):
    cluster = kv.cluster(2, min_acks=1, ack_timeout="20s")
    with cluster[0].connect(timeout_s=30) as conn:
        lines = [line for i in range(10_000) for line in (b"SET k%d %d" % (i, i), b"GET k%d" % i)]
        replies, took = timed(lambda: conn.pipeline(lines, window=4000))
    assert replies[0::2] == [b"OK"] * 10_000
    assert replies[1::2] == [b"%d" % i for i in range(10_000)]
    assert took < 10


def test_a_write_goes_on_waiting_until_the_peer_is_back(kv):
    cluster = kv.cluster(2, min_acks=1, ack_timeout="60s")
    cluster[1].pause()
    answers = []
    with cluster[0].connect(timeout_s=30) as conn:
        reader = threading.Thread(target=lambda: answers.append(conn.cmd("SET", "k", "v")))
        reader.start()
        eventually(lambda: cluster[0].cmd("GET", "k") == "v", 5, "the write stands meanwhile")
        assert answers == []
        cluster[1].resume()
        reader.join()
    assert answers == ["OK"]


def test_a_peer_that_comes_by_delta_confirms_too(kv):
    cluster = kv.cluster(2, min_acks=1, ack_timeout="60s")
    cluster[1].stop()
    answers = []
    with cluster[0].connect(timeout_s=30) as conn:
        reader = threading.Thread(target=lambda: answers.append(conn.cmd("SET", "k", "v")))
        reader.start()
        eventually(lambda: cluster[0].cmd("GET", "k") == "v", 5, "the write stands meanwhile")
        cluster[1].start()
        reader.join()
    assert answers == ["OK"]
    assert cluster[1].cmd("GET", "k") == "v"


def test_wait_answers_at_once_when_enough_have_confirmed(kv):
    cluster = kv.cluster(3)
    with cluster[0].connect() as conn:
        for i in range(20):
            assert conn.cmd("SET", "k", i) == "OK"
            reply, took = timed(lambda: conn.cmd("WAIT", 2, 10_000))
            assert reply == "2" and took < 3
            assert {node.cmd("GET", "k") for node in cluster} == {str(i)}
        assert conn.cmd("WAIT", 1, 0) == "2"
        assert conn.cmd("WAIT", 0, 0) == "2"


def test_wait_answers_what_it_has_when_the_time_is_over(kv):
    cluster = kv.cluster(2)
    with cluster[0].connect() as conn:
        conn.cmd("SET", "k", "v")
        reply, took = timed(lambda: conn.cmd("WAIT", 2, 300))
    assert reply == "1" and 0.28 <= took < 2
    with kv.node().connect() as conn:
        conn.cmd("SET", "k", "v")
        reply, took = timed(lambda: conn.cmd("WAIT", 1, 300))
    assert reply == "0" and 0.28 <= took < 2


def test_wait_of_a_connection_that_wrote_nothing_answers_at_once(kv):
    cluster = kv.cluster(2)
    cluster[0].cmd("SET", "other", "v")
    with cluster[0].connect() as conn:
        assert conn.cmd("WAIT", 0, 0) in ("0", "1")
        assert conn.cmd("WAIT", 1, 5000) in ("0", "1")


def test_wait_without_a_time_limit_waits_for_the_peer(kv):
    cluster = kv.cluster(2)
    cluster[1].pause()
    answers = []
    with cluster[0].connect(timeout_s=30) as conn:
        conn.cmd("SET", "k", "v")
        assert conn.cmd("WAIT", 0, 0) == "0"
        waiting = threading.Thread(target=lambda: answers.append(conn.cmd("WAIT", 1, 0)))
        waiting.start()
        assert cluster[0].cmd("GET", "k") == "v"
        assert answers == []
        cluster[1].resume()
        waiting.join()
    assert answers == ["1"]


def test_commands_after_a_wait_are_answered_after_it(kv):
    node = kv.node()
    with node.connect() as conn:
        conn.send(b"SET k v\nWAIT 1 300\nGET k\nSET k w\nGET k\n")
        assert [conn.line() for _ in range(5)] == [b"OK", b"0", b"v", b"OK", b"w"]


def test_a_client_that_vanishes_while_it_waits_harms_nobody(kv):
    node = kv.node(min_acks=1, ack_timeout="1s")
    for _ in range(20):
        conn = node.connect()
        conn.send(b"SET k v\nWAIT 1 0\n")
        conn.reset()
    eventually(lambda: node.number("clients") == 1, 10, "they are forgotten")
    with node.connect() as conn:
        assert conn.cmd("SET", "k", "v").startswith("ERROR 0 of 1")


def test_waitaof_counts_what_is_synced_here_and_at_peers(kv, tmp_path):
    ports = free_ports(3)
    peers = ",".join(f"127.0.0.1:{port}" for port in ports)
    disks = [tmp_path / "data1", tmp_path / "data2", None]  # the third is in memory only
    nodes = [kv.prepare(f"node{i + 1}", port=ports[i], peers=peers,
                        **({"data_dir": disks[i]} if disks[i] else {})) for i in range(3)]
    for node in nodes:
        node.start()
    for node in nodes:
        eventually(lambda node=node: node.number("peers_linked") == 2, 20, f"{node.name} is linked")
    with nodes[0].connect() as conn:
        assert conn.cmd("SET", "k", "v") == "OK"
        conn.send(b"WAITAOF 1 1 10000\n")
        assert [conn.line() for _ in range(3)] == [b"2", b"1", b"1"]
        # Nobody else has a disk: it answers what there is when the time is over.
        assert conn.cmd("SET", "k", "w") == "OK"
        conn.send(b"WAITAOF 1 2 3000\n")
        assert [conn.line() for _ in range(3)] == [b"2", b"1", b"1"]
    with nodes[2].connect() as conn:
        assert conn.cmd("WAITAOF", 1, 0, 100).startswith("ERROR ")
        assert conn.cmd("WAITAOF", 2, 0, 100).startswith("ERROR WAITAOF takes 0 or 1")
