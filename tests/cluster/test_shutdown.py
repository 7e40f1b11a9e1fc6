"""The end of a node: polite, complete, bounded; and at once when told twice."""

import signal
import time

import pytest

from kvtest import SLOWNESS, eventually


def refuses_connections(node):
    def refused():
        try:
            node.connect().close()
        except ConnectionRefusedError:
            return True
        return False
    return refused


VALUE_BYTES = 1_000_000
VALUES_OWED = 20  # far more than the kernel takes off the node's hands
BIG_OUTPUT = "64MiB"


def owe_replies(node, conn):
    """Make the node owe this client values that it does not read yet."""
    node.cmd("SET", "big", "x" * VALUE_BYTES)
    before = node.number("commands")
    conn.send(b"GET big\n" * VALUES_OWED)
    eventually(lambda: node.number("commands") >= before + VALUES_OWED, 5, "all are executed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_with_status_0(kv, number):
    node = kv.node()
    node.cmd("SET", "k", "v")
    node.stop(number)
    assert any("stop" in line.lower() or "shut" in line.lower() for line in node.log_lines()[1:])


def test_idle_clients_and_peers_do_not_delay_the_end(kv):
    cluster = kv.cluster(3)
    conns = [cluster[0].connect() for _ in range(20)]
    assert {conn.cmd("PING") for conn in conns} == {"+PONG"}
    start = time.monotonic()
    cluster[0].stop()
    assert time.monotonic() - start < 2 * SLOWNESS
    for conn in conns:
        assert conn.rest() == b""
        conn.close()


def test_replies_owed_are_delivered_before_the_end(kv):
    node = kv.node(max_output=BIG_OUTPUT)
    with node.connect(receive_bytes=4096) as conn:
        owe_replies(node, conn)
        node.send_signal(signal.SIGTERM)
        eventually(refuses_connections(node), 5, "no new client is accepted")
        assert node.running
        answer = conn.rest()
    whole = answer == (b"x" * VALUE_BYTES + b"\n") * VALUES_OWED
    assert whole, len(answer)
    assert node.wait() == 0


def test_a_client_that_does_not_read_delays_the_end_by_the_shutdown_timeout_only(kv):
    node = kv.node(shutdown_timeout="1s", max_output=BIG_OUTPUT)
    with node.connect(receive_bytes=4096) as conn:
        owe_replies(node, conn)
        start = time.monotonic()
        node.stop()
        assert 0.9 <= time.monotonic() - start < 3 * SLOWNESS


def test_a_reply_that_waits_for_peers_delays_the_end_by_the_shutdown_timeout_only(kv):
    node = kv.node(min_acks=1, ack_timeout="10m", shutdown_timeout="1s")
    with node.connect() as conn:
        conn.send(b"SET k v\n")
        eventually(lambda: node.cmd("GET", "k") == "v", 5, "the write is executed")
        start = time.monotonic()
        node.stop()
        assert time.monotonic() - start < 3 * SLOWNESS


def test_a_second_signal_ends_the_node_at_once(kv):
    node = kv.node(shutdown_timeout="1h", max_output=BIG_OUTPUT)
    with node.connect(receive_bytes=4096) as conn:
        owe_replies(node, conn)
        node.send_signal(signal.SIGTERM)
        eventually(refuses_connections(node), 5, "no new client is accepted")
        assert node.running
        start = time.monotonic()
        node.send_signal(signal.SIGTERM)
        node.wait()
        assert time.monotonic() - start < 1 * SLOWNESS


def test_writes_accepted_before_the_end_reach_a_peer_that_is_slow(kv):
    cluster = kv.cluster(2)
    cluster[1].pause()
    cluster[0].write_many((f"k{i}", "x" * 1000) for i in range(20_000))
    cluster[0].send_signal(signal.SIGTERM)
    eventually(refuses_connections(cluster[0]), 5, "the end has begun")
    assert cluster[0].running
    cluster[1].resume()
    assert cluster[0].wait() == 0
    eventually(lambda: cluster[1].cmd("COUNT") == "20000", 10, "nothing that was OK is missing")


def test_a_peer_that_hangs_delays_the_end_by_the_shutdown_timeout_only(kv):
    cluster = kv.cluster(2, shutdown_timeout="1s")
    cluster[1].pause()
    cluster[0].cmd("SET", "k", "v")
    start = time.monotonic()
    cluster[0].stop()
    assert 0.9 <= time.monotonic() - start < 3 * SLOWNESS


def test_a_node_ends_while_it_dials_peers_that_are_not_there(kv):
    node = kv.node(peers="127.0.0.1:1,127.0.0.1:2," + "x" * 70 + ":8080")
    start = time.monotonic()
    node.stop()
    assert time.monotonic() - start < 3 * SLOWNESS


def test_a_node_ends_under_load(kv):
    cluster = kv.cluster(3)
    conns = [node.connect() for node in cluster for _ in range(5)]
    for conn in conns:
        conn.sock.setblocking(False)
        try:
            conn.sock.send(b"SET k value\nGET k\n" * 20_000)
        except BlockingIOError:
            pass
    for node in cluster:
        node.stop()
    for conn in conns:
        conn.close()


def test_the_port_is_free_again_at_once(kv):
    node = kv.node()
    for _ in range(5):
        with node.connect() as conn:
            assert conn.cmd("PING") == "+PONG"
            node.stop().start()
