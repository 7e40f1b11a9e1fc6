"""Members that stay away are forgotten, by time or by hand; and when they return, nothing comes back.

A node that was cut off still runs and has all its data: deleted keys, and writes that nobody else has
seen. Needs root for network namespaces."""

import pytest

import netns
from kvtest import always, eventually

FORGET_AFTER_S = 7  # a link is given up after 5 s, the count begins then
FORGOTTEN_WITHIN_S = 25
DROPPED_WITHIN_S = 30


@pytest.fixture
def net():
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    network = netns.Network(["a", "b", "c"])
    yield network
    network.close()


def cluster_of(kv, net, **options):
    cluster = kv.cluster(3, nets=[net["a"], net["b"], net["c"]], **options)
    cluster[0].write_many((f"k{i}", "v") for i in range(300))
    cluster.wait_equal()
    return cluster


def delete(node, numbers):
    with node.connect() as conn:
        assert set(conn.pipeline(b"DEL k%d" % i for i in numbers)) == {b"1"}


def is_forgotten(node, name):
    return lambda: node.peer(name=name)["state"] == "forgotten" and \
        node.number("members_forgotten") >= 1


def test_a_node_away_past_forget_after_keeps_its_new_writes_and_loses_what_was_deleted(net, kv):
    cluster = cluster_of(kv, net, forget_after=f"{FORGET_AFTER_S}s")
    a, b, c = cluster
    net.unplug("c")
    for node in (a, b, c):
        eventually(lambda node=node: node.number("peers_linked") == (0 if node is c else 1), 12,
                   "c is cut off")
    delete(a, range(100))  # gone on a and b, c still has them
    delete(c, range(100, 200))  # the other way round
    a.cmd("SET", "k250", "from a"), c.cmd("SET", "k251", "from c")
    c.write_many((f"new{i}", "from c") for i in range(50))
    for node, others in ((a, ["node3"]), (b, ["node3"]), (c, ["node1", "node2"])):
        for other in others:
            eventually(is_forgotten(node, other), FORGOTTEN_WITHIN_S, f"{node.name} forgets {other}")
        eventually(lambda node=node: node.number("tombstones") == 0, DROPPED_WITHIN_S,
                   f"{node.name} drops its tombstones")
        assert node.number("tombstones_dropped") == 100
    assert c.cmd("COUNT") == "250" and a.cmd("COUNT") == "200"
    net.plug("c")
    assert cluster.wait_equal(deadline_s=25) == 100 + 50
    cluster.wait_linked()
    for node in cluster:
        assert node.cmd("EXISTS", "k7", "k107") == "0", node.name
        assert (node.cmd("GET", "k250"), node.cmd("GET", "k251")) == ("from a", "from c")
        assert node.cmd("GET", "new49") == "from c"
        assert node.number("members_forgotten") == 0
        assert node.number("divergence_repaired") == 0
    assert sum(node.number("comparisons_received") for node in cluster) > 0
    a.cmd("SET", "k7", "new life")
    cluster.wait_everywhere("k7", "new life")


def test_forget_by_hand_spreads_frees_the_tombstones_and_bars_nobody_from_returning(net, kv):
    cluster = cluster_of(kv, net)
    a, b, c = cluster
    assert a.cmd("FORGET", "node3").startswith("ERROR member 'node3' is linked")
    assert a.cmd("FORGET", "nobody").startswith("ERROR no member 'nobody'")
    assert a.cmd("FORGET").startswith("ERROR wrong number of words")
    assert a.number("members_forgotten") == 0
    net.unplug("c")
    for node in (a, b):
        eventually(lambda node=node: node.number("peers_linked") == 1, 12, "c is cut off")
    delete(a, range(100))
    eventually(lambda: b.number("tombstones") == 100, 5, "b has heard of the deletes")
    always(lambda: [node.number("tombstones") for node in (a, b)] == [100, 100], 7,
           "c has not confirmed them")
    assert b.cmd("FORGET", "node3") == "OK"
    assert b.cmd("FORGET", "node3") == "OK"
    for node in (a, b):
        eventually(is_forgotten(node, "node3"), 5, f"{node.name} hears that node3 is forgotten")
        eventually(lambda node=node: node.number("tombstones") == 0, DROPPED_WITHIN_S,
                   f"{node.name} drops its tombstones")
        assert node.info()["peers_expected"] == "1"
    c.cmd("SET", "own", "of c")
    net.plug("c")
    cluster.wait_linked()
    assert cluster.wait_equal(deadline_s=25) == 201
    for node in cluster:
        assert node.cmd("GET", "own") == "of c" and node.cmd("EXISTS", "k7") == "0"
        assert node.number("members_forgotten") == 0
