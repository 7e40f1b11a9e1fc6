"""A peer that falls silent without a word: no reset, no end of stream, only lost packets.

Needs root for network namespaces."""

import time

import pytest

import netns
from kvtest import eventually

NOTICED_WITHIN_S = 10


@pytest.fixture
def net():
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    network = netns.Network(["a", "b", "c"])
    yield network
    network.close()


def test_a_half_open_connection_is_noticed_within_10_s(net, kv):
    """a and b lose all packets between them; of b and c, only what c sends is lost."""
    cluster = kv.cluster(3, nets=[net[name] for name in "abc"])
    a, b, c = cluster
    net.deafen("a", "b")
    net.deafen("b", "a", "c")
    begin = time.monotonic()
    for node, linked in ((a, 1), (b, 0), (c, 1)):
        eventually(lambda node=node, linked=linked: node.number("peers_linked") == linked,
                   NOTICED_WITHIN_S, f"{node.name} notices that a link is dead")
        print(f"{node.name} noticed within {time.monotonic() - begin:.1f} s")
    for node, other in ((a, "node2"), (b, "node1"), (b, "node3"), (c, "node2")):
        node.wait_let_go(other, deadline_s=NOTICED_WITHIN_S)
        node.wait_log(rf"{other} at \S+ ended: nothing was heard", 1)
    assert time.monotonic() - begin < NOTICED_WITHIN_S
    assert a.peer(name="node3")["state"] == "live"
    net.restore()
    cluster.wait_linked()
