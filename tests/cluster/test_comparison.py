"""What happens when tombstones are dropped that a member has not seen: it compares lists.

Needs root for network namespaces."""

import pytest

import netns
from kvtest import eventually

LIMIT_BYTES = 64 * 1024
KEYS = 5000
DROPPED_WITHIN_S = 30


@pytest.fixture
def net():
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    network = netns.Network(["a", "b", "c"])
    yield network
    network.close()


def test_tombstones_beyond_their_memory_are_dropped_and_the_cut_off_node_brings_nothing_back(net,
                                                                                             kv):
    cluster = kv.cluster(3, nets=[net["a"], net["b"], net["c"]], tombstone_memory=LIMIT_BYTES)
    a, b, c = cluster
    a.write_many((f"k{i:06}", "v") for i in range(2 * KEYS))
    cluster.wait_equal()
    net.unplug("c")
    for node in (a, b):
        eventually(lambda node=node: node.number("peers_linked") == 1, 12, "c is cut off")
    with a.connect() as conn:
        assert set(conn.pipeline(b"DEL k%06d" % i for i in range(KEYS))) == {b"1"}
    c.write_many((f"own{i}", "v") for i in range(10))
    for node in (a, b):
        eventually(lambda node=node: node.number("tombstones_dropped_by_force") > 0,
                   DROPPED_WITHIN_S, f"{node.name} drops tombstones by force")
        eventually(lambda node=node: node.number("tombstone_bytes") <= LIMIT_BYTES,
                   DROPPED_WITHIN_S, f"{node.name} keeps to the limit")
        print(f"{node.name} {node.number('tombstones_dropped_by_force')} dropped by force, "
              f"{node.number('tombstones')} in {node.number('tombstone_bytes')} bytes are left")
        assert 0 < node.number("tombstones") < KEYS  # no more than has to
    net.plug("c")
    cluster.wait_linked()
    assert cluster.wait_equal(deadline_s=25) == KEYS + 10
    assert c.number("comparisons_received") > 0
    for node in cluster:
        assert node.cmd("EXISTS", "k000000", f"k{KEYS - 1:06}") == "0", node.name
        assert node.cmd("EXISTS", f"k{KEYS:06}", "own9") == "2", node.name
        assert node.number("divergence_repaired") == 0
        eventually(lambda node=node: node.number("tombstones") == 0, DROPPED_WITHIN_S,
                   f"{node.name} drops the rest")
    assert cluster.wait_equal() == KEYS + 10


def await_digests(cluster):
    """Until each node has been told digests once more: every 10 s, more bytes than ten heartbeats."""
    for node, had in [(node, node.number("peer_bytes_received")) for node in cluster]:
        eventually(lambda node=node, had=had: node.number("peer_bytes_received") > had + 2 * 500, 30,
                   "digests come")


def test_idle_nodes_compare_digests_and_exchange_no_records(kv):
    def counts():
        return [[node.number(name) for name in ("records_received", "deltas_received", "scrubs")]
                for node in cluster]

    cluster = kv.cluster(2)
    cluster[0].write_many((f"k{i}", "v") for i in range(1000))
    cluster.wait_equal()
    await_digests(cluster)  # those before may have found records on their way
    before = counts()
    await_digests(cluster)
    assert counts() == before
