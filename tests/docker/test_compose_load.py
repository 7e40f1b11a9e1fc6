"""Containers are stopped, started and restarted while clients go on writing to the others.

What any node has acknowledged must be on all nodes at the end, also on the one that came back.
"""

import contextlib

import pytest

import compose_cluster as kv

pytestmark = pytest.mark.usefixtures("cluster")


@contextlib.contextmanager
def writers_beside(node, name):
    """One writer on each node but this one."""
    survivors = [n for n in kv.NODES if n != node]
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(kv.Writer(n, f"{name}:{node}:{n}")) for n in survivors]


def assert_all_kept(writers):
    for writer in writers:
        assert writer.failure is None, f"writer on {writer.node}: {writer.failure!r}"
        assert writer.acknowledged
    kv.wait_linked()
    kv.wait_equal()
    for writer in writers:
        for node in kv.NODES:
            missing = kv.missing_on(node, writer.acknowledged)
            assert missing == {}, f"written to {writer.node}, looked for on {node}"


def more(writers):
    for writer in writers:
        writer.wait_for_more()


@pytest.mark.parametrize("node", kv.NODES)
def test_stop_and_start_of_a_node_under_load(node):
    with writers_beside(node, "stop") as writers:
        more(writers)
        kv.compose("stop", kv.service(node))
        more(writers)
        kv.compose("start", kv.service(node))
        kv.wait_linked()
        more(writers)
    assert_all_kept(writers)


@pytest.mark.parametrize("node", kv.NODES)
def test_restart_of_a_node_under_load(node):
    with writers_beside(node, "restart") as writers:
        more(writers)
        kv.compose("restart", kv.service(node))
        kv.wait_linked()
        more(writers)
    assert_all_kept(writers)


def test_kill_and_start_of_a_node_under_load():
    with writers_beside("node2", "kill") as writers:
        more(writers)
        kv.docker("kill", "-s", "KILL", kv.container("node2"))
        more(writers)
        kv.compose("start", "kv-node2")
        kv.wait_linked()
        more(writers)
    assert_all_kept(writers)


def test_restart_of_the_whole_cluster_under_load():
    # all of them are down at a time: what was acknowledged before can only come from the volumes
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(kv.Writer(n, f"all:{n}", lives=False)) for n in kv.NODES]
        more(writers)
        kv.compose("restart")
        kv.wait_linked()
        more(writers)
    assert_all_kept(writers)
