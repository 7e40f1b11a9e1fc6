"""kill -9 of a node that writes: what it acknowledged is there after its restart, and nothing else.

KV_CRASH_ROUNDS   how often the random test kills, with --fsync always (and 2/5 of it with everysec)
KV_CRASH_SEED     the seed of its moments; printed, so that a run can be repeated

Small segments and snapshots, so that kills meet a journal that begins a new file, a snapshot, its
publishing, and the cleaning behind it. A kill leaves to the kernel what was written and not synced:
the loss of that is what tests/sim tries.
"""

import os
import random
import shutil
import signal
import threading
import time
from collections import Counter

import pytest

from disktest import CALLS, TINY, Faults, Ledger, Writer, file_number, names, ready, restarted
from kvtest import SLOWNESS, eventually, fields

ROUNDS = int(os.environ.get("KV_CRASH_ROUNDS", "40"))
SEED = int(os.environ.get("KV_CRASH_SEED", random.SystemRandom().randrange(1 << 32)))
SNAPSHOT_BY_HAND = {**TINY, "snapshot_size": "1GiB"}
WRITERS = 4
SHORTEST_S, LONGEST_S = 0.02, 0.25


def state_of(directory):
    """What the node was doing when it was killed, by its files."""
    files = names(directory)
    snapshots = [file_number(name) for name in files
                 if name.startswith("snapshot-") and not name.endswith(".tmp")]
    segments = [file_number(name) for name in files if name.startswith("journal-")]
    met = []
    if any(name.endswith(".tmp") for name in files):
        met.append("in a snapshot")
    if snapshots and (min(segments) < max(snapshots) or len(snapshots) > 1):
        met.append("between publishing and the end of cleaning")
    if any((directory / name).stat().st_size > 0 and not any((directory / name).read_bytes()[:64])
           for name in files if name.startswith("journal-")):
        met.append("with a segment created ahead")
    return met


def snapshot_again_and_again(node):
    """Until the node is gone. One that is under way already is an answer too."""
    try:
        with node.connect(timeout_s=30) as conn:
            while conn.cmd("SNAPSHOT"):
                pass
    except OSError:
        pass


@pytest.mark.parametrize("fsync, rounds", [("always", ROUNDS), ("everysec", ROUNDS * 2 // 5)])
def test_kill_at_random_moments_loses_nothing_acknowledged(kv, tmp_path, fsync, rounds):
    source = random.Random(SEED)
    directory = tmp_path / "data"
    node = kv.prepare(data_dir=directory, fsync=fsync, **TINY)
    ledgers = [Ledger() for _ in range(WRITERS)]
    everything = Ledger()
    met = Counter()
    print(f"seed {SEED}")
    for number in range(rounds):
        ready(node.start())
        if number > 0:
            everything.settle(node)
            for ledger in ledgers:
                ledger.possible = {key: everything.possible[key] for key in ledger.possible}
        writers = [Writer(i, node, ledgers[i], source.random()) for i in range(WRITERS)]
        threads = list(writers)
        if number % 2:  # else they begin by themselves, as the journal grows
            threads.append(threading.Thread(target=snapshot_again_and_again, args=(node,)))
        for thread in threads:
            thread.start()
        # The moment is drawn: no condition to wait for could be as unkind.
        time.sleep(source.uniform(SHORTEST_S, LONGEST_S) * SLOWNESS)
        node.kill()
        for thread in threads:
            thread.join()
        assert all(writer.failure is None for writer in writers), writers
        met.update(state_of(directory))
        everything.possible = {key: values for ledger in ledgers
                               for key, values in ledger.possible.items()}
    ready(node.start())
    everything.settle(node)
    log = node.log()
    met["with a torn tail"] = log.count("torn tail")
    acknowledged = sum(ledger.counts["acknowledged"] for ledger in ledgers)
    print(f"--fsync {fsync}: {rounds} kills, {acknowledged} writes acknowledged, none lost; "
          f"{log.count('disk: snapshot of')} snapshots; killed {dict(met)}")
    assert "is damaged" not in log, "a kill was taken for damage"
    assert log.count("disk: snapshot of") > 0 and met["with a segment created ahead"] > 0
    assert met["in a snapshot"] + met["between publishing and the end of cleaning"] > 0
    assert acknowledged > 100 * rounds / SLOWNESS


# --- every step ----------------------------------------------------------------------------------


def workload(node, ledger):
    """The same writes each time: they begin several segments, and a snapshot that covers them."""
    source = random.Random(1)
    with node.connect(timeout_s=30) as conn:
        for number in range(14):
            requests = []
            for i in range(12):
                key = b"k%d" % source.randrange(60)
                value = b"%s|%d-%d|%s" % (key, number, i, b"x" * 1500)
                delete = source.random() < 0.2
                requests.append((key, Ledger.ABSENT if delete else value,
                                 b"DEL " + key if delete else b"SET %s %s" % (key, value)))
            for key, value, _ in requests:
                ledger.issue(key, value)
            conn.send(b"".join(line + b"\n" for _, _, line in requests))
            for key, value, _ in requests:
                assert conn.line() in (b"OK", b"0", b"1")
                ledger.acknowledge(key, value)
            if number == 9:
                assert conn.cmd("SNAPSHOT") == "OK"
                eventually(lambda: snapshot_is_over(node, conn), 20, "the snapshot ends")


def snapshot_is_over(node, conn):
    if not node.running:
        raise RuntimeError(f"{node.name} was killed")
    info = fields(conn.lines("INFO"))
    return int(info["snapshots"]) > 0 and info["snapshot_running"] == "no"


def run_until_killed(node, ledger=None):
    """Whether it was killed, with a workload if there is a ledger for it; else it has ended cleanly."""
    try:
        ready(node.start())
        if ledger is not None:
            workload(node, ledger)
        node.send_signal(signal.SIGTERM)
    except (OSError, RuntimeError):
        pass  # as a kill is seen from outside; any other reason does not end the process
    status = node.wait()
    assert status in (0, -9), f"ended with {status}: {node.log()[-2000:]}"
    return status == -9


def kill_at_every_call(node, faults, when, ledger, begin):
    """begin() brings the directory into its first state, and runs the node until it ends; ledger() is
    what it may hold then. How often the node was killed at each call."""
    killed_at = Counter()
    for call in CALLS:
        for number in range(1, 1000):
            node.env = faults.killing(call, number, when)
            killed = begin()
            restarted(node)
            ledger().settle(node)
            node.kill()
            if not killed:
                break
            killed_at[call] += 1
    print(f"killed {when} each of {sum(killed_at.values())} calls: {dict(killed_at)}")
    return killed_at


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_at_every_call_of_a_run(kv, tmp_path, when):
    """Each creation, write, sync, rename and removal; "after" a write is halfway through it."""
    faults = Faults(tmp_path / "faults")
    directory = tmp_path / "data"
    node = kv.prepare(data_dir=directory, fsync="everysec", **SNAPSHOT_BY_HAND)
    ledger = None

    def begin():
        nonlocal ledger
        shutil.rmtree(directory, ignore_errors=True)
        ledger = Ledger()
        return run_until_killed(node, ledger)
    killed_at = kill_at_every_call(node, faults, when, lambda: ledger, begin)
    assert set(killed_at) == set(CALLS), killed_at
    assert killed_at["unlinkat"] >= 2 and killed_at["pwrite"] >= 20, killed_at
    assert "is damaged" not in node.log(), "a kill was taken for damage"


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_at_every_call_of_a_recovery(kv, tmp_path, when):
    """A start that has much to do: a torn tail, an unfinished snapshot, segments that are covered."""
    faults = Faults(tmp_path / "faults")
    original, directory = tmp_path / "original", tmp_path / "data"
    node = kv.prepare(data_dir=original, **SNAPSHOT_BY_HAND)
    ledger = Ledger()
    faults.set("unlinkat EIO")  # so that what the snapshot covers stays
    node.env = faults.environment()
    ready(node.start())
    workload(node, ledger)
    node.kill()
    faults.set()
    (original / "snapshot-00000000000000ff.tmp").write_bytes(b"SIMPLEKV, and then it ended")
    tear_tail(original)
    node.options["data_dir"] = directory

    def begin():
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(original, directory)
        return run_until_killed(node)
    killed_at = kill_at_every_call(node, faults, when, lambda: ledger, begin)
    assert set(killed_at) >= {"openat", "pwrite", "ftruncate", "fdatasync", "fsync", "unlinkat"}
    assert killed_at["unlinkat"] >= 3, killed_at
    assert "is damaged" not in node.log(), "a kill was taken for damage"


def tear_tail(directory):
    """Bytes behind the end of the journal, as a write leaves them that was cut short."""
    written = [directory / name for name in names(directory, "journal-")
               if any((directory / name).read_bytes()[:64])]
    end = len(written[-1].read_bytes().rstrip(b"\0"))
    with open(written[-1], "r+b") as file:
        file.seek(end + 12)
        file.write(b"\x99" * 5)
