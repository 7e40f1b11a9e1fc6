"""A network that splits: every side goes on, and all nodes are equal once it is whole again.

Needs root for network namespaces; each node is a host of its own there."""

import time

import pytest

import netns
from kvtest import RECORD_HEADER_BYTES, eventually

LINK_SILENCE_S = 12  # a silent link is given up after 5 s, a dial that nobody answers later


@pytest.fixture
def net():
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    network = netns.Network(["a", "b", "c"])
    yield network
    network.close()


@pytest.fixture
def cluster(net, kv):  # kv after net: the nodes end before their network does
    return kv.cluster(3, nets=[net["a"], net["b"], net["c"]])


def let_the_clock_move():
    """Past what two nodes that do not hear each other may give the same stamp's milliseconds."""
    start = time.time()
    eventually(lambda: time.time() > start + 0.02, 1, "the clock moves")


def wait_links(node, count, deadline_s=LINK_SILENCE_S):
    eventually(lambda: node.number("peers_linked") == count, deadline_s,
               f"{node.name} has {count} live links")


def test_conflicting_writes_on_both_sides_of_a_split_end_equal(net, cluster):
    a, b, c = cluster
    for key in ("x", "y", "z", "w"):
        a.cmd("SET", key, "before")
        cluster.wait_everywhere(key, "before")
    net.unplug("a")
    # x: SET and SET, y: SET then DEL, z: DEL then SET, w: DEL and DEL; the later one on either side
    a.cmd("SET", "x", "from a"), a.cmd("SET", "y", "from a"), a.cmd("DEL", "z"), a.cmd("DEL", "w")
    wait_links(a, 0)
    wait_links(b, 1)
    wait_links(c, 1)
    b.cmd("SET", "x", "from b"), b.cmd("DEL", "y"), c.cmd("SET", "z", "from c"), c.cmd("DEL", "w")
    b.cmd("SET", "late", "from b")
    let_the_clock_move()
    a.cmd("SET", "late", "from a")
    for i in range(100):
        a.cmd("SET", f"a{i}", i), b.cmd("SET", f"b{i}", i), c.cmd("SET", f"c{i}", i)
    cluster.wait_equal(nodes=[b, c])
    assert (a.cmd("GET", "x"), b.cmd("GET", "x")) == ("from a", "from b")
    assert a.number("keys") == 1 + 1 + 1 + 100 and a.number("peers_expected") == 2
    net.plug("a")
    assert cluster.wait_equal(deadline_s=25) == 303
    cluster.wait_linked()
    for key, value in (("x", "from b"), ("y", "NOT_FOUND"), ("z", "from c"), ("w", "NOT_FOUND"),
                       ("late", "from a")):
        assert {node.cmd("GET", key) for node in cluster} == {value}, key


def test_after_a_split_only_what_was_missed_crosses_the_wire(net, cluster):
    a, b, c = cluster
    a.write_many((f"old{i:06}", "x" * 50) for i in range(50_000))
    cluster.wait_equal()
    net.unplug("a")
    wait_links(a, 0)
    before = a.number("peer_bytes_received")
    b.write_many((f"new{i:06}", "x" * 50) for i in range(10_000))
    c.write_many((f"nwe{i:06}", "x" * 50) for i in range(10_000))
    for i in range(500):
        b.cmd("DEL", f"old{i:06}")
    net.plug("a")
    assert cluster.wait_equal(deadline_s=25) == 69_500
    missed = 20_000 * (RECORD_HEADER_BYTES + 59) + 500 * (RECORD_HEADER_BYTES + 9)
    received = a.number("peer_bytes_received") - before
    print(f"{received} bytes received for {missed} bytes of records: {received / missed:.3f}")
    assert received <= 1.2 * missed + 64 * 1024


def test_two_that_cannot_reach_each_other_hear_of_each_other_through_a_third(net, cluster):
    a, b, c = cluster
    net.part("a", "b")
    a.cmd("SET", "early-a", "1")
    b.cmd("SET", "early-b", "2")
    eventually(lambda: b.cmd("GET", "early-a") == "1", 10, "b hears of a's write through c")
    eventually(lambda: a.cmd("GET", "early-b") == "2", 10, "a hears of b's write through c")
    wait_links(a, 1)
    wait_links(b, 1)
    assert c.number("peers_linked") == 2
    for turn in range(2):
        a.cmd("SET", f"a{turn}", "v"), b.cmd("DEL", f"a{turn - 1}")
        eventually(lambda turn=turn: b.cmd("GET", f"a{turn}") == "v", 10, "a's writes go on to b")
        b.cmd("SET", f"b{turn}", "v")
        eventually(lambda turn=turn: a.cmd("GET", f"b{turn}") == "v", 10, "b's writes go on to a")
    cluster.wait_equal(deadline_s=10)
    net.rejoin("a", "b")
    cluster.wait_linked()
    a.cmd("SET", "direct", "again")
    eventually(lambda: b.cmd("GET", "direct") == "again", 1.5, "a and b are linked directly again")
    cluster.wait_equal()


def test_a_delete_during_a_split_is_not_undone_by_the_side_that_missed_it(net, cluster):
    a, b, c = cluster
    a.write_many((f"k{i}", "v") for i in range(200))
    cluster.wait_equal()
    net.unplug("c")
    wait_links(c, 0)
    with a.connect() as conn:
        assert set(conn.pipeline(b"DEL k%d" % i for i in range(200))) == {b"1"}
    cluster.wait_equal(nodes=[a, b])
    assert a.number("tombstones") == b.number("tombstones") == 200
    assert c.cmd("COUNT") == "200"
    net.plug("c")
    assert cluster.wait_equal(deadline_s=25) == 0
    for node in cluster:
        eventually(lambda node=node: node.number("tombstones") == 0, 40, "tombstones are dropped")
    assert {node.cmd("COUNT") for node in cluster} == {"0"}


def test_a_node_that_starts_while_cut_off_joins_when_the_cable_is_in(net, kv):
    net.unplug("a")
    cluster = kv.cluster(3, nets=[net["a"], net["b"], net["c"]], linked=False)
    a, b, c = cluster
    wait_links(b, 1)
    b.cmd("SET", "k", "v")
    a.cmd("SET", "own", "w")
    net.plug("a")
    cluster.wait_linked()
    cluster.wait_everywhere("k", "v")
    cluster.wait_everywhere("own", "w")
    cluster.wait_equal()
