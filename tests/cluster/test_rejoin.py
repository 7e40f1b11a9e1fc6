"""Nodes that stop, crash, hang and come back: all end with the same data, at the cost of what
was missed."""

import random
import threading
import time

import pytest

from kvtest import RECORD_HEADER_BYTES, SLOWNESS, eventually

HANDSHAKE_AND_HEARTBEAT_BYTES = 64 * 1024


def pairs_of(prefix, count, value_bytes=50):
    return [(f"{prefix}{i:07}", f"{i}-".ljust(value_bytes, "x")) for i in range(count)]


def encoded_bytes(pairs):
    return sum(RECORD_HEADER_BYTES + len(key) + len(value) for key, value in pairs)


def test_100000_keys_written_while_a_node_is_down_reach_it_at_their_own_cost(kv):
    cluster = kv.cluster(3)
    one, two, three = cluster
    one.cmd("SET", "test_key", "test_value")
    cluster.wait_everywhere("test_key", "test_value")
    two.stop()
    assert one.cmd("GET", "test_key") == three.cmd("GET", "test_key") == "test_value"
    pairs = pairs_of("k", 100_000)
    one.write_many(pairs[:50_000])
    three.write_many(pairs[50_000:])
    cluster.wait_equal(nodes=[one, three])
    two.start()
    assert cluster.wait_equal(deadline_s=30) == 100_001
    received = two.number("peer_bytes_received")
    missed = encoded_bytes(pairs)
    print(f"{received} bytes received for {missed} bytes of records: {received / missed:.3f}")
    assert received <= 1.2 * missed + HANDSHAKE_AND_HEARTBEAT_BYTES
    assert two.cmd("GET", "test_key") == "test_value"
    assert two.cmd("GET", pairs[77_777][0]) == pairs[77_777][1]
    assert two.number("deltas_received") >= 1
    cluster.wait_linked()


@pytest.mark.parametrize("journal_memory", ["1MiB", "64MiB"])  # less than is missed, and more
def test_a_node_that_hung_gets_only_what_it_missed(kv, journal_memory):
    cluster = kv.cluster(3, journal_memory=journal_memory)
    old = pairs_of("old", 20_000)
    cluster[0].write_many(old)
    cluster.wait_equal()
    before = cluster[2].number("peer_bytes_received")
    cluster[2].pause()
    for node in cluster.nodes[:2]:
        node.wait_let_go("node3")
    missed = pairs_of("new", 40_000)
    cluster[0].write_many(missed[:20_000])
    cluster[1].write_many(missed[20_000:])
    cluster[2].resume()
    assert cluster.wait_equal(deadline_s=30) == 60_000
    received = cluster[2].number("peer_bytes_received") - before
    print(f"{received} bytes received for {encoded_bytes(missed)} bytes of records")
    assert received <= 1.2 * encoded_bytes(missed) + HANDSHAKE_AND_HEARTBEAT_BYTES


def test_deletes_while_a_node_is_down_do_not_come_back(kv):
    cluster = kv.cluster(3)
    cluster[0].write_many(pairs_of("k", 1000))
    cluster.wait_equal()
    cluster[1].stop()
    with cluster[2].connect() as conn:
        replies = conn.pipeline(b"DEL k%07d" % i for i in range(0, 1000, 2))
    assert set(replies) == {b"1"}
    cluster[1].start()
    cluster.wait_linked()
    assert cluster.wait_equal() == 500
    assert {node.cmd("GET", "k0000000") for node in cluster} == {"NOT_FOUND"}


def test_deletes_while_a_node_hangs_do_not_come_back(kv):
    cluster = kv.cluster(3, journal_memory="1MiB")
    cluster[0].write_many(pairs_of("k", 1000))
    cluster.wait_equal()
    cluster[1].pause()
    with cluster[2].connect() as conn:
        conn.pipeline(b"DEL k%07d" % i for i in range(1000))
    cluster[0].write_many(pairs_of("filler", 20_000))  # the deletes leave the journal
    eventually(lambda: cluster[0].cmd("COUNT") == "20000", 10, "the deletes are everywhere else")
    cluster[1].resume()
    assert cluster.wait_equal(deadline_s=30) == 20_000
    assert {node.cmd("EXISTS", "k0000007") for node in cluster} == {"0"}


def test_all_nodes_restarted_one_after_the_other_keep_the_data(kv):
    cluster = kv.cluster(3)
    cluster[0].write_many(pairs_of("k", 5000))
    cluster.wait_equal()
    for node in cluster:
        node.stop().start()
        cluster.wait_linked()
        assert cluster.wait_equal() == 5000


def test_the_links_are_made_again_after_a_restart_or_a_crash(kv):
    cluster = kv.cluster(3)
    for turn, node in enumerate([*cluster, *cluster]):
        (node.stop if turn < 3 else node.kill)()
        for other in cluster:
            if other is not node:
                eventually(lambda other=other: other.number("peers_linked") == 1, 10, "missed")
                other.wait_let_go(node.name)
        node.start()
        cluster.wait_linked()
        node.cmd("SET", f"turn{turn}", "v")
        cluster.wait_everywhere(f"turn{turn}", "v")


def test_what_a_peer_confirmed_survives_the_crash_of_its_writer(kv):
    cluster = kv.cluster(3, min_acks=1, ack_timeout="10s")
    confirmed = []

    def write():
        with cluster[0].connect() as conn:
            try:
                for i in range(1_000_000):
                    if conn.ask(b"SET k%d v%d" % (i, i)) == b"OK":
                        confirmed.append(i)
            except ConnectionError:
                pass
    writer = threading.Thread(target=write)
    writer.start()
    eventually(lambda: len(confirmed) >= 1000, 20, "some writes are confirmed")
    cluster[0].kill()
    writer.join()
    survivors = cluster.nodes[1:]
    cluster.wait_equal(nodes=survivors)
    for node in survivors:
        with node.connect() as conn:
            values = conn.pipeline(b"GET k%d" % i for i in confirmed)
        assert values == [b"v%d" % i for i in confirmed]
    cluster[0].start()
    cluster.wait_linked()
    assert cluster.wait_equal() >= len(confirmed)


class Writers:
    """One thread a node that sets and deletes keys as long as the node answers, and again after."""

    def __init__(self, nodes, seed):
        self.ended = threading.Event()
        self.counts = [0] * len(nodes)
        self.threads = [threading.Thread(target=self._write, args=(index, node, seed + index))
                        for index, node in enumerate(nodes)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def _write(self, index, node, seed):
        source = random.Random(seed)
        while not self.ended.is_set():
            try:
                with node.connect(timeout_s=5) as conn:
                    while not self.ended.is_set():
                        key = b"k%d" % source.randrange(2000)
                        line = (b"DEL " + key if source.random() < 0.3
                                else b"SET %s %d-%d" % (key, index, self.counts[index]))
                        conn.ask(line)
                        self.counts[index] += 1
                        self.ended.wait(0.0005)
            except OSError:
                self.ended.wait(0.02)


def test_kill_9_and_restart_in_any_order_ends_equal(kv):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    cluster = kv.cluster(3)
    with Writers(cluster.nodes, seed) as writers:
        for _ in range(24):
            node = source.choice(cluster.nodes)
            if node.running:
                node.kill()
            else:
                node.start()
            goal = sum(writers.counts) + source.randrange(20, 400)
            if any(other.running for other in cluster):
                eventually(lambda goal=goal: sum(writers.counts) >= goal, 20, "writes go on")
        for node in cluster:
            if not node.running:
                node.start()
    cluster.wait_linked()
    keys = cluster.wait_equal(deadline_s=30)
    print(f"{sum(writers.counts)} writes, {keys} keys")
    for key in ("k0", "k1000", "k1999"):
        assert len({node.cmd("GET", key) for node in cluster}) == 1


def test_a_node_that_hangs_for_10_s_delays_nobody_and_catches_up(kv):
    cluster = kv.cluster(3)
    cluster[2].pause()
    slowest, writes = 0.0, 0
    memory = [node.rss_bytes() for node in cluster]
    end = time.monotonic() + 10
    value = "x" * 2000
    with cluster[0].connect() as one, cluster[1].connect() as two:
        while time.monotonic() < end:
            for conn in (one, two):
                key = f"k{writes % 1000}"
                start = time.monotonic()
                assert conn.cmd("SET", key, f"{writes}-{value}") == "OK"
                assert conn.cmd("GET", key).endswith(value)
                slowest = max(slowest, time.monotonic() - start)
                writes += 1
    print(f"slowest answer {slowest * 1000:.1f} ms in {writes} writes")
    assert slowest < 0.5 * SLOWNESS
    peer = cluster[0].peer(name="node3")
    assert peer["state"] != "live", peer
    growth = [node.rss_bytes() - before for node, before in zip(cluster, memory)]
    assert max(growth[:2]) < 160 * 1024 * 1024 * SLOWNESS  # data, journal, one socket's worth
    cluster[2].resume()
    cluster.wait_equal(deadline_s=15)
    cluster.wait_linked()


def test_a_first_time_node_gets_each_record_once_and_no_deleted_one(kv):
    """What one wrote and the other deleted is in the writer's ring still, when nobody holds the
    tombstones any more: the newcomer must not take it from there."""
    cluster = kv.cluster(2)
    deleter, writer = cluster
    writer.write_many(pairs_of("deleted", 10_000))
    writer.write_many(pairs_of("kept", 30_000))
    cluster.wait_equal()
    with deleter.connect() as conn:
        conn.pipeline(f"DEL deleted{i:07}".encode() for i in range(10_000))
    cluster.wait_equal()
    eventually(lambda: not any(node.number("tombstones") for node in cluster), 60,
               "every tombstone is dropped")
    newcomer = kv.node("newcomer", peers=f"{deleter.address},{writer.address}")
    eventually(lambda: newcomer.number("peers_linked") == 2, 20, "the newcomer is linked")
    eventually(lambda: newcomer.info()["digest"] == writer.info()["digest"], 20,
               "the newcomer holds what the others hold")
    assert newcomer.number("keys") == 30_000
    assert newcomer.number("records_received") <= 1.05 * 30_000
