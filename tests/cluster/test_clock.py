"""Nodes whose clock is wrong: kept out, told why, and let in again once it is right.

Their wall clock is replaced by libfaketime."""

import re

import pytest

from kvtest import Clock, Cluster, eventually

LINKED_WITHIN_S = 20
NOTICED_WITHIN_S = 15  # two peers have to have refused, and been refused, since


def refused(node, other):
    """Why the node refuses the other or is refused by it, as PEERS shows it. Who was refused at once
    was never identified, and is shown by address alone."""
    def found():
        peer = node.peer(name=other.name) or node.peer(address=other.address)
        return peer and peer["state"] == "refused" and peer["reason"]
    return eventually(found, NOTICED_WITHIN_S, f"{node.name} shows {other.name} as refused")


def check_reason(reason, offset_s):
    assert "clock" in reason and "max-clock-drift" in reason, reason
    difference_s = int(re.search(r"about (\d+) s ahead", reason).group(1))
    assert abs(difference_s - abs(offset_s)) < 60, reason


@pytest.mark.parametrize("offset_s", [3600, -3600])
def test_a_node_an_hour_off_is_refused_both_ways_and_refuses_writes(kv, tmp_path, offset_s):
    clock = Clock(tmp_path / "clock", offset_s)
    one, two = kv.prepare("one"), kv.prepare("two")
    wrong = kv.prepare("wrong", clock=clock)
    for node in (one, two, wrong):
        node.options["peers"] = ",".join(other.address for other in (one, two, wrong))
    one.start(), two.start()
    cluster = Cluster([one, two]).wait_linked()
    one.cmd("SET", "k", "of the right clocks")
    cluster.wait_equal()
    wrong.start()
    eventually(lambda: wrong.info()["ready"] == "no", NOTICED_WITHIN_S, "it knows that it is wrong")
    refusal = wrong.cmd("SET", "own", "v")
    assert refusal.startswith("ERROR") and "clock" in refusal, refusal
    assert wrong.cmd("DEL", "own").startswith("ERROR") and wrong.cmd("GET", "k") == "NOT_FOUND"
    for node in cluster:
        check_reason(refused(wrong, node), offset_s)
        check_reason(refused(node, wrong), offset_s)
        node.wait_log(r"WARN .*clock.* s ahead", 5)
        assert node.info()["ready"] == "yes" and node.cmd("SET", f"of-{node.name}", "v") == "OK"
        assert node.cmd("GET", "own") == "NOT_FOUND"
    wrong.wait_log(r"WARN .*clock differs from 2 of 2 peers", 5)
    cluster.wait_equal()
    assert two.number("peers_linked") == 1 and wrong.number("peers_linked") == 0
    assert wrong.number("keys") == 0

    wrong.stop()
    clock.set(0)
    wrong.start()
    assert Cluster([one, two, wrong]).wait_linked().wait_equal() == 3
    assert wrong.info()["ready"] == "yes" and wrong.cmd("SET", "own", "v") == "OK"


def test_a_member_whose_clock_falls_back_serves_reads_only_until_it_is_right_again(kv, tmp_path):
    clock = Clock(tmp_path / "clock")
    nodes = kv.cluster(2).nodes
    nodes.append(kv.node("node3", clock=clock, peers=",".join(node.address for node in nodes)))
    cluster = Cluster(nodes).wait_linked()
    one, two, three = cluster
    one.cmd("SET", "k", "v")
    cluster.wait_everywhere("k", "v")
    clock.set(-3600)
    eventually(lambda: three.info()["ready"] == "no", NOTICED_WITHIN_S, "it knows that it is wrong")
    assert three.cmd("GET", "k") == "v"
    assert three.cmd("SET", "k", "late").startswith("ERROR")
    assert int(three.peer(name="node1")["clock_ms"]) > 3_500_000
    check_reason(refused(three, one), 3600)
    check_reason(refused(one, three), 3600)
    assert [node.info()["ready"] for node in (one, two)] == ["yes", "yes"]
    one.cmd("SET", "k", "newer")
    clock.set(0)
    cluster.wait_linked(LINKED_WITHIN_S)
    eventually(lambda: three.info()["ready"] == "yes", NOTICED_WITHIN_S, "it is ready again")
    cluster.wait_everywhere("k", "newer")
    assert three.cmd("SET", "k", "newest") == "OK"
    cluster.wait_everywhere("k", "newest")


def test_of_two_nodes_that_disagree_both_go_on_taking_writes(kv, tmp_path):
    clock = Clock(tmp_path / "clock", 3600)
    one = kv.node("one")
    other = kv.node("other", clock=clock, peers=one.address)
    check_reason(refused(other, one), 3600)
    for node in (one, other):
        assert node.cmd("SET", "k", node.name) == "OK" and node.info()["ready"] == "yes"
    assert (one.cmd("GET", "k"), other.cmd("GET", "k")) == ("one", "other")


def test_clocks_within_the_limit_are_no_obstacle(kv, tmp_path):
    limits = {"max_clock_drift": "60s"}
    early = kv.node("early", clock=Clock(tmp_path / "early", 30), **limits)
    late = kv.node("late", clock=Clock(tmp_path / "late", -20), peers=early.address, **limits)
    cluster = Cluster([early, late]).wait_linked()
    early.cmd("SET", "k", "first")
    cluster.wait_everywhere("k", "first")
    assert late.cmd("SET", "k", "second") == "OK"  # by the order of things, not of the clocks
    cluster.wait_everywhere("k", "second")
    eventually(lambda: 45_000 < int(late.peer(name="early")["clock_ms"]) < 55_000, 5,
               "the difference is shown")
