"""Tombstones: kept as long as somebody needs the message, and not longer."""

import struct
import time

import peerwire as wire
from kvtest import always, eventually

DROPPED_WITHIN_S = 30  # 5 s of allowed clock drift, confirmations, one rotation over the store


def count_is(node, count):
    return lambda: node.number("tombstones") == count


def test_tombstones_are_dropped_once_all_members_have_confirmed_them(kv):
    cluster = kv.cluster(3)
    cluster[0].write_many((f"k{i}", "v") for i in range(1000))
    cluster.wait_equal()
    start = time.monotonic()
    with cluster[1].connect() as conn:
        assert set(conn.pipeline(b"DEL k%d" % i for i in range(1000))) == {b"1"}
    for node in cluster:
        eventually(count_is(node, 1000), 4, f"{node.name} keeps the tombstones")
        eventually(lambda node=node: node.cmd("COUNT") == "0", 5, "the keys are gone")
    for node in cluster:
        eventually(count_is(node, 0), DROPPED_WITHIN_S, f"{node.name} drops the tombstones")
    assert time.monotonic() - start >= 4.5
    assert {node.cmd("COUNT") for node in cluster} == {"0"}
    # The writes are still in the journal of their writer, and nobody has the deletes any more.
    late = kv.node("late", peers=",".join(node.address for node in cluster))
    for _ in range(3):
        eventually(lambda: late.number("peers_linked") == 3, 15, "the late node is linked")
        cluster.wait_equal(nodes=[*cluster, late])
        assert late.cmd("COUNT") == "0"
        late.kill().start()
    cluster[2].cmd("SET", "k1", "new life")
    cluster.wait_everywhere("k1", "new life")
    assert cluster.wait_equal() == 1


def test_a_single_node_drops_its_tombstones(kv):
    node = kv.node()
    node.write_many((f"k{i}", "v") for i in range(100))
    empty_memory = None
    with node.connect() as conn:
        conn.pipeline(b"DEL k%d" % i for i in range(100))
    eventually(count_is(node, 0), DROPPED_WITHIN_S, "the tombstones are dropped")
    empty_memory = node.number("memory_bytes")
    assert empty_memory < 1_000_000
    assert node.cmd("COUNT") == "0"


def test_tombstones_stay_while_a_member_is_down_and_go_when_it_is_back(kv):
    cluster = kv.cluster(3)
    cluster[0].write_many((f"k{i}", "v") for i in range(100))
    cluster.wait_equal()
    cluster[2].stop()
    with cluster[0].connect() as conn:
        conn.pipeline(b"DEL k%d" % i for i in range(100))
    up = cluster.nodes[:2]
    for node in up:
        eventually(count_is(node, 100), 5, f"{node.name} has the tombstones")
    always(lambda: [node.number("tombstones") for node in up] == [100, 100], 15,
           "a member that is down has not confirmed them")
    cluster[2].start()
    for node in cluster:
        eventually(count_is(node, 0), DROPPED_WITHIN_S, f"{node.name} drops the tombstones")
    assert cluster.wait_equal() == 0


def test_tombstones_stay_while_a_member_hangs_and_its_old_data_does_not_come_back(kv):
    cluster = kv.cluster(3)
    cluster[0].write_many((f"k{i}", "v") for i in range(100))
    cluster.wait_equal()
    cluster[2].pause()
    with cluster[0].connect() as conn:
        conn.pipeline(b"DEL k%d" % i for i in range(100))
    up = cluster.nodes[:2]
    for node in up:
        eventually(count_is(node, 100), 5, f"{node.name} has the tombstones")
    always(lambda: [node.number("tombstones") for node in up] == [100, 100], 12,
           "a member that hangs has not confirmed them")
    cluster[2].resume()
    assert cluster.wait_equal(deadline_s=15) == 0
    for node in cluster:
        eventually(count_is(node, 0), DROPPED_WITHIN_S, f"{node.name} drops the tombstones")
    assert {node.cmd("COUNT") for node in cluster} == {"0"}


def test_expired_keys_leave_nothing_behind(kv):
    cluster = kv.cluster(2)
    with cluster[0].connect() as conn:
        conn.pipeline(b"SETEX k%d 1 v" % i for i in range(500))
    for node in cluster:
        eventually(lambda node=node: node.number("keys") == node.number("tombstones") == 0,
                   DROPPED_WITHIN_S, f"{node.name} holds nothing any more")
    assert cluster.wait_equal() == 0


def test_a_tombstone_waits_for_its_confirmation_and_an_old_write_that_comes_after_it_is_lost(kv):
    node = kv.node()
    deleter = int(node.info()["origin"], 16)
    with wire.Peer(node.connect()) as peer:
        written = wire.stamp_now()
        peer.send(wire.MAGIC + wire.hello())
        start = struct.unpack("<Q", peer.receive(wire.STREAM)[1])[0]
        write = wire.records(start, written, wire.record(b"k", b"old", written))
        sent = written
        peer.send(write)
        eventually(lambda: node.cmd("DEL", "k") == "1", 5, "the write comes and is deleted")

        def tombstones(known, *records):
            """Their number, after the peer has said that it lives and what it has."""
            nonlocal sent
            now = max(wire.stamp_now(), sent + 2)
            peer.send(wire.records(sent, now, *records) + wire.heartbeat(known))
            sent = now
            return node.number("tombstones")
        always(lambda: tombstones([]) == 1, 8, "nobody has confirmed the delete")
        eventually(lambda: tombstones(sorted([(deleter, wire.stamp_now()), (0x1234, sent)])) == 0,
                   DROPPED_WITHIN_S, "the confirmed tombstone is dropped")
        peer.send(write)
        tombstones([], wire.record(b"mark", b"", sent + 1))
        eventually(lambda: node.cmd("EXISTS", "mark") == "1", 5, "the peer's stream was read")
        assert node.cmd("GET", "k") == "NOT_FOUND"
