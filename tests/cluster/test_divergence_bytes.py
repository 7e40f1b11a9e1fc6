"""What a healed split costs on the wire, beside the size of the records that were missing.

Needs root for network namespaces."""

import pytest

import netns
from kvtest import PLAIN_BINARY, eventually, record_bytes

COMMON_KEYS = 100_000
OVERHEAD_BYTES = 64 * 1024


@pytest.fixture
def net():
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    network = netns.Network(["a", "b"])
    yield network
    network.close()


@pytest.mark.parametrize("keys", [1, 1_000_000])  # within the journal, and far beyond
def test_a_split_costs_the_missing_records_and_little_else(net, kv, keys):
    cluster = kv.cluster(2, nets=[net["a"], net["b"]], binary=PLAIN_BINARY)
    a, b = cluster
    a.write_many((f"common{i:07}", "x" * 50) for i in range(COMMON_KEYS))
    cluster.wait_equal()
    net.deafen("a", "b")
    net.deafen("b", "a")
    a.wait_let_go(b.name)
    b.wait_let_go(a.name)
    before = sum(node.number("peer_bytes_received") for node in cluster)
    missing = [(f"new{i:07}", "y" * 50) for i in range(keys)]
    a.write_many(missing)
    net.restore()
    assert cluster.wait_equal(deadline_s=60) == COMMON_KEYS + keys
    cluster.wait_linked()
    received = sum(node.number("peer_bytes_received") for node in cluster) - before
    size = record_bytes(missing)
    print(f"{keys} keys: {received} bytes both ways for {size} bytes of records: "
          f"{received / size:.4f}, {received - size} more")
    assert received <= 1.1 * size + OVERHEAD_BYTES
