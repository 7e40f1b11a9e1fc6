"""Clusters of nodes with data directories: whatever disk a node returns with, nothing deleted comes
back, and nothing that was acknowledged is gone."""

import shutil
import threading

import pytest

from disktest import TINY, Ledger, Writer, names, ready, restarted
from kvtest import SLOWNESS, Cluster, eventually, free_ports

OPTIONS = {**TINY, "max_clock_drift": "200ms", "fsync": "everysec"}
DROPPED_WITHIN_S = 30


class Watch:
    """Asks nodes for keys that are deleted, again and again, for the length of the block, and once in any
    case."""

    def __init__(self, nodes, keys):
        self.nodes, self.keys = nodes, keys
        self.seen, self.rounds = [], []
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(node,), daemon=True)
                        for node in nodes]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        assert not self.seen, self.seen[:5]
        assert len(self.rounds) >= len(self.nodes)

    def run(self, node):
        with node.connect(timeout_s=30) as conn:
            while True:
                for key, reply in zip(self.keys, conn.pipeline(b"GET " + key for key in self.keys)):
                    if reply != b"NOT_FOUND":
                        self.seen.append(f"{key} on {node.name}: {reply[:50]}")
                self.rounds.append(node)
                if self.ended.wait(0.002):
                    return


def cluster_of(kv, tmp_path, **options):
    ports = free_ports(3)
    peers = ",".join(f"127.0.0.1:{port}" for port in ports)
    nodes = [kv.prepare(f"node{i + 1}", port=port, peers=peers, data_dir=tmp_path / f"data{i + 1}",
                        **OPTIONS, **options) for i, port in enumerate(ports)]
    for node in nodes:
        ready(node.start())
    return Cluster(nodes).wait_linked()


def delete(node, keys):
    with node.connect() as conn:
        assert set(conn.pipeline(b"DEL " + key for key in keys)) == {b"1"}


def drop_tombstones(nodes):
    for node in nodes:
        eventually(lambda node=node: node.number("tombstones") == 0, DROPPED_WITHIN_S,
                   f"{node.name} drops its tombstones")


def save(node):
    before = node.number("snapshots")
    assert node.cmd("SNAPSHOT") == "OK"
    eventually(lambda: node.number("snapshots") > before, 20, "a snapshot")


@pytest.mark.parametrize("how", ["by hand", "by time"])
@pytest.mark.parametrize("saved", [False, True])
def test_deleted_keys_on_the_disk_of_a_returning_node_do_not_come_back(kv, tmp_path, how, saved):
    """KeyDB brings them back. Nobody here has the deletes any more; nor, if saved, on disk."""
    forget_after = {"forget_after": "7s"} if how == "by time" else {}
    a, b, c = cluster = cluster_of(kv, tmp_path, **forget_after)
    keys = [b"k%d" % i for i in range(50)]
    c.write_many((key.decode(), "old") for key in keys)
    c.write_many((f"stays{i}", "there") for i in range(50))
    cluster.wait_equal()
    save(c)
    c.kill()
    delete(a, keys)
    eventually(lambda: b.cmd("COUNT") == "50", 10, "b has heard of the deletes")
    if how == "by hand":
        eventually(lambda: a.peer(name="node3")["state"] != "linked", 10, "a sees that c is gone")
        assert a.cmd("FORGET", "node3") == "OK"
    drop_tombstones([a, b])
    if saved:
        save(a), save(b)
        for node in (a, b):
            node.kill()
            ready(node.start())
        drop_tombstones([a, b])
    with Watch([a, b], keys):
        ready(c.start())
        cluster.wait_linked()
        assert cluster.wait_equal(deadline_s=30) == 50
        with Watch([c], keys):
            c.cmd("SET", "own", "of c")
            cluster.wait_everywhere("own", "of c")
    # By the rules for who returns, not by a scrub that found it later.
    assert sum(node.number("divergence_repaired") for node in cluster) == 0
    # Nor from anybody's disk.
    for node in cluster:
        node.kill()
    for node in cluster:
        ready(node.start())
    with Watch(cluster, keys):
        cluster.wait_linked()
        assert cluster.wait_equal() == 51
    assert sum(node.number("divergence_repaired") for node in cluster) == 0


@pytest.mark.parametrize("dropped", [False, True])
def test_an_old_image_of_a_disk_converges_and_brings_nothing_back(kv, tmp_path, dropped):
    a, b, c = cluster = cluster_of(kv, tmp_path)
    image = tmp_path / "image"
    keys = [b"k%d" % i for i in range(50)]
    for number, node in enumerate(cluster):
        node.write_many((f"k{i}", f"old-{number}") for i in range(50))
        node.write_many((f"of{number}-{i}", "v" * 300) for i in range(300))
    cluster.wait_equal()
    eventually(lambda: c.number("disk_unsynced_bytes") == 0, 20, "nothing is on its way")
    c.pause()  # so that no file goes while it is copied
    shutil.copytree(c.options["data_dir"], image)
    c.resume()
    delete(c, keys[:25])
    cluster.wait_equal()
    delete(a, keys[25:])
    c.write_many((f"later{i}", "v" * 300) for i in range(300))
    c.write_many((f"of0-{i}", "changed on c") for i in range(50))
    cluster.wait_equal()
    if dropped:
        drop_tombstones(cluster)
    save(c)
    c.stop()
    shutil.rmtree(c.options["data_dir"])
    shutil.copytree(image, c.options["data_dir"])
    with Watch([a, b], keys):
        ready(c.start())
        cluster.wait_linked()
        assert cluster.wait_equal(deadline_s=30) == 3 * 300 + 300
        assert c.cmd("GET", "of0-7") == "changed on c" and c.cmd("GET", "later299") == "v" * 300
        assert sum(node.number("divergence_repaired") for node in cluster) == 0
        with Watch([c], keys):
            c.write_many((f"anew{i}", "v") for i in range(100))
            assert cluster.wait_equal() == 3 * 300 + 300 + 100


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_cluster_whose_nodes_were_all_down_has_its_data(kv, tmp_path, end):
    cluster = cluster_of(kv, tmp_path)
    ledger = Ledger()
    for number, node in enumerate(cluster):
        writer = Writer(number, node, ledger, seed=number)
        writer.start()
        goal = ledger.counts["acknowledged"] + 500
        eventually(lambda: ledger.counts["acknowledged"] > goal, 30, "500 writes")
        writer.ended.set()
        writer.join()
        assert writer.failure is None
    cluster.wait_equal()
    for node in cluster:
        getattr(node, end)()
    for node in cluster:
        ready(node.start())
    cluster.wait_linked().wait_equal()
    for node in cluster:
        ledger.settle(node)
        eventually(lambda node=node: names(node.options["data_dir"], "snapshot-"), 20 * SLOWNESS,
                   "small options make snapshots")


def test_a_clean_rolling_restart_under_load_loses_nothing(kv, tmp_path):
    """Each node is written to all the time: what it acknowledges before it stops is everywhere."""
    cluster = cluster_of(kv, tmp_path)
    ledgers, number = [], 0
    for node in [*cluster, *cluster]:
        writers = []
        for target in cluster:
            ledgers.append(Ledger())
            writers.append(Writer(number, target, ledgers[-1], seed=number))
            number += 1
        for writer in writers:
            writer.start()
        eventually(lambda: all(ledger.counts["acknowledged"] > 300 for ledger in ledgers[-3:]), 30,
                   "all write")
        node.stop()
        restarted(node)
        for writer in writers:
            writer.ended.set()
            writer.join(timeout=30 * SLOWNESS)
            assert not writer.is_alive() and writer.failure is None
        cluster.wait_linked()
    cluster.wait_equal(deadline_s=30)
    everything = Ledger()
    for ledger in ledgers:
        everything.possible |= ledger.possible
    for node in cluster:
        everything.settle(node)
        assert node.number("divergence_repaired") == 0
