"""PEERS and INFO tell, for every member and address, its state and why it is in it.

States delta and hold are looked at in test_slow_peer.py, a refused clock in test_clock.py. Needs root
for network namespaces."""

import re

import pytest

import netns
from kvtest import eventually

FIELDS = (r"name=\S+ address=\S+ state=\S+ origin=[0-9a-f]{16} lag_ms=\d+ lag_records=\d+\+? "
          r"queued_bytes=\d+ clock_ms=[+-]\d+ contact_ms=\d+ reason=.+")
UNMET_FIELDS = r"name=\? address=\S+ state=\S+ reason=.+"


@pytest.fixture
def net():
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    network = netns.Network(["a", "b", "c"])
    yield network
    network.close()


def state_is(node, name, *states):
    def found():
        peer = node.peer(name=name)
        return peer if peer and peer["state"] in states else None
    return found


def test_every_state_of_a_member_and_its_lag(net, kv):
    cluster = kv.cluster(3, nets=[net["a"], net["b"], net["c"]], journal_memory="1MiB")
    a, b, c = cluster
    for line in a.lines("PEERS"):
        assert re.fullmatch(FIELDS, line), line
    a.cmd("SET", "k", "v")
    for name in ("node2", "node3"):
        live = eventually(lambda name=name: (peer := a.peer(name=name))["lag_records"] == "0" and
                          peer, 5, "no lag")
        assert live["state"] == "live" and live["reason"] == "-", live
        assert int(live["lag_ms"]) < 2000 and int(live["contact_ms"]) < 3000, live
        assert abs(int(live["clock_ms"])) < 1000, live
        assert live["origin"] == {"node2": b, "node3": c}[name].info()["origin"]

    b.pause()
    a.write_many((f"few{i}", "x") for i in range(500))
    lagging = a.peer(name="node2")
    assert lagging["lag_records"] == "500", lagging
    seen = eventually(state_is(a, "node2", "down"), 12, "the one that hangs is let go")
    assert "nothing was heard" in seen["reason"], seen
    assert seen["lag_records"] == "500" and int(seen["lag_ms"]) >= 4000, seen
    assert int(seen["contact_ms"]) >= 4500, seen
    hello = eventually(state_is(a, "node2", "hello"), 12, "its kernel still accepts connections")
    assert hello["lag_records"] == "500", hello
    eventually(lambda: "no answer to the handshake" in a.peer(name="node2")["reason"], 12,
               "the reason becomes the newest")
    a.write_many((f"many{i}", "x" * 100) for i in range(20_000))
    lagging = a.peer(name="node2")
    assert re.fullmatch(r"\d+\+", lagging["lag_records"]), lagging
    assert 500 < int(lagging["lag_records"][:-1]) < 20_000, lagging
    b.resume()

    c.kill()
    refused_by_kernel = eventually(state_is(a, "node3", "down"), 5, "the killed one is gone")
    assert refused_by_kernel["reason"] != "-", refused_by_kernel
    assert a.cmd("FORGET", "node3") == "OK"
    for node in (a, b):
        forgotten = eventually(state_is(node, "node3", "forgotten"), 10, "it is forgotten")
        assert re.fullmatch(r"[0-9a-f]{16}", forgotten["origin"]), forgotten
        assert node.number("members_forgotten") == 1
    c.start()
    cluster.wait_linked()
    assert a.number("members_forgotten") == 0
    caught_up = eventually(lambda: (peer := a.peer(name="node2"))["lag_records"] == "0" and peer, 10,
                           "the one that hung has caught up")
    assert caught_up["state"] == "live" and caught_up["lag_ms"] == "0", caught_up
    cluster.wait_equal()


def test_addresses_where_nobody_was_identified(net, kv):
    """One that does not answer, one that is closed, and one of another cluster."""
    stranger = kv.node("stranger", host=net["b"].address, net=net["b"], cluster="another")
    silent, closed = f"{net['c'].address}:20000", f"{net['a'].address}:9"
    net.deafen("c", "a")
    node = kv.node("asking", host=net["a"].address, net=net["a"],
                   peers=f"{silent},{closed},{stranger.address}")

    def at(address, *states):
        return eventually(lambda: (peer := node.peer(address=address))["state"] in states and peer,
                          15, f"{address} is {states}")
    assert at(silent, "connecting")["name"] == "?"
    assert "refused" in at(closed, "down")["reason"]  # by the kernel there
    reason = at(stranger.address, "refused")["reason"]
    assert "cluster name 'another'" in reason or "cluster 'another'" in reason, reason
    for line in node.lines("PEERS"):
        assert re.fullmatch(UNMET_FIELDS, line), line
    assert node.number("peers_expected") == 3 and node.number("members") == 0
    assert node.cmd("FORGET", silent) == "OK"
    assert node.peer(address=silent)["state"] == "forgotten"
    assert node.number("peers_expected") == 2
