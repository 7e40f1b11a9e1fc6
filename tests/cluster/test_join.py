"""What it costs to let a node in that has nothing: a new one, one killed halfway, one restarted.

KV_JOIN_KEYS   keys before the join [1,000,000]; tests/run.sh --long takes 5,000,000"""

import os
import time

from kvtest import MIB, PLAIN_BINARY, SLOWNESS, Cluster, eventually, record_bytes
from load import Load, Probe

KEYS = int(os.environ.get("KV_JOIN_KEYS") or 1_000_000)
JOINED_WITHIN_S = 30 + KEYS / 50_000
OTHER_BYTES = 64 * 1024


def spread(count):
    """Pairs of 13 + 16 bytes."""
    return ((b"k%012d" % i, b"v%015d" % i) for i in range(count))


def test_a_fresh_node_joins_under_load_is_killed_halfway_and_joins_again(kv):
    cluster = kv.cluster(2, binary=PLAIN_BINARY)
    one, two = cluster
    begin = time.monotonic()
    one.write_many(spread(KEYS))
    cluster.wait_equal(deadline_s=JOINED_WITHIN_S)
    print(f"{KEYS} keys written and replicated in {time.monotonic() - begin:.1f} s")
    newcomer = kv.prepare("newcomer", binary=PLAIN_BINARY, peers=f"{one.address},{two.address}")
    with Load(cluster.nodes, rate=2000, strict=True) as load, Probe(cluster.nodes) as probe:
        newcomer.start()
        eventually(lambda: newcomer.number("keys") >= KEYS // 4, JOINED_WITHIN_S, "a part is there")
        part = newcomer.number("keys")
        newcomer.kill()
        assert part < KEYS, "it was to be killed halfway"
        print(f"killed with {part} keys")
        begin = time.monotonic()
        newcomer.start()
        eventually(lambda: newcomer.number("keys") >= KEYS, JOINED_WITHIN_S, "all keys are there")
        took_s = time.monotonic() - begin
    assert not load.failures + probe.failures
    Cluster([*cluster, newcomer]).wait_linked().wait_equal(deadline_s=30)
    info = newcomer.info()
    received = int(info["records_received"])
    # A write made while the delta is scanned may come twice: live, and by the delta.
    expected = KEYS + 2 * (load.writes + probe.asked)
    size = record_bytes(spread(KEYS)) + sum(load.sent_bytes)
    print(f"joined in {took_s:.1f} s under {load.writes} writes: {received} records for {expected} "
          f"at most, {int(info['peer_bytes_received']) / size:.3f} of their bytes; slowest answer "
          f"meanwhile {probe.slowest_s * 1000:.1f} ms; memory {newcomer.rss_bytes(True) / MIB:.0f} "
          f"MiB beside {one.rss_bytes(True) / MIB:.0f} MiB")
    assert KEYS <= received <= expected
    assert int(info["deltas_received"]) <= 3  # all the data once; the rest are differences
    assert int(info["peer_bytes_received"]) <= 1.1 * size + OTHER_BYTES
    assert probe.slowest_s < 0.5 * SLOWNESS
    assert newcomer.rss_bytes(True) < 1.3 * one.rss_bytes(True) + 32 * MIB


def test_a_rolling_restart_under_load_transfers_the_data_once_to_each_restarted_node(kv):
    cluster = kv.cluster(3)
    common = [(f"common{i:05}", "x" * 500) for i in range(20_000)]
    cluster[0].write_many(common)
    cluster.wait_equal()
    with Load(cluster.nodes, rate=2000) as load:
        for node in cluster:
            others = [other for other in cluster if other is not node]
            eventually(lambda: max(other.number("lag_ms") for other in cluster) < 2000, 20,
                       "nobody is far behind")
            before = {other.name: other.number("peer_bytes_received") for other in others}
            sent_before = sum(load.sent_bytes)
            node.stop().start()
            cluster.wait_linked()
            eventually(lambda node=node: node.number("keys") >= len(common) + load.writes // 2, 20,
                       "it has fetched the data")
            begun_with = record_bytes(common) + sent_before
            meanwhile = sum(load.sent_bytes) - sent_before
            check_transfer(node, others, before, begun_with, meanwhile)
    cluster.wait_linked()
    assert cluster.wait_equal() >= len(common) + load.writes


def check_transfer(node, others, before, data_bytes, meanwhile_bytes):
    """The restarted one received the data once, and the others next to nothing but new writes."""
    received = node.number("peer_bytes_received")
    print(f"{node.name}: {received} bytes for {data_bytes} of data and {meanwhile_bytes} meanwhile, "
          f"{node.number('deltas_received')} deltas")
    assert 0.9 * data_bytes <= received <= 1.1 * (data_bytes + meanwhile_bytes) + OTHER_BYTES
    for other in others:
        received = other.number("peer_bytes_received") - before[other.name]
        print(f"  {other.name} meanwhile: {received} bytes")
        assert received <= 1.1 * meanwhile_bytes + OTHER_BYTES
