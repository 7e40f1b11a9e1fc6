"""A disk that fails, below libc: writes are refused with the reason, reads go on, and when it is over the
node goes on by itself; only what a failed sync leaves behind nobody can know, and it ends the node."""

import fcntl
import os
import struct
import subprocess
import time
from contextlib import contextmanager

import pytest

from disktest import TINY, Faults, Ledger, Writer, names, ready, restarted
from kvtest import SLOWNESS, Closed, Cluster, eventually

SNAPSHOT_BY_HAND = {**TINY, "snapshot_size": "1GiB"}
RECOVERS_WITHIN_S = 5  # a failed write is tried again every second


@pytest.fixture
def faults(tmp_path):
    return Faults(tmp_path / "faults")


def faulty_node(kv, faults, tmp_path, **options):
    options = {"data_dir": tmp_path / "data", **SNAPSHOT_BY_HAND, **options}
    return ready(kv.prepare(env=faults.environment(), **options).start())


def refusal(node, key="refused"):
    """What a SET is told: an ERROR line, with or without the end of the connection."""
    with node.connect() as conn:
        return conn.cmd("SET", key, "value")


def writes(node, key="again"):
    with node.connect() as conn:
        return conn.cmd("SET", key, "value") == "OK"


def fill(node, count=300, prefix="k"):
    """Several segments of keys."""
    pairs = [(f"{prefix}{i}", f"{i}-" + "x" * 500) for i in range(count)]
    node.write_many(pairs, window=20)
    return dict(pairs)


def assert_holds(node, pairs):
    with node.connect() as conn:
        found = conn.pipeline(b"GET " + key.encode() for key in pairs)
    wrong = [key for key, value in zip(pairs, found) if value.decode() != pairs[key]]
    assert not wrong, f"{len(wrong)} of {len(pairs)} keys are wrong, such as {wrong[:3]}"


def snapshot(node, succeeds=True):
    """Makes one, to its end."""
    before = node.info()
    assert node.cmd("SNAPSHOT") == "OK"
    counter = "snapshots" if succeeds else "snapshots_failed"
    eventually(lambda: node.number(counter) > int(before[counter]), 20, f"{counter} grows")


# --- writes --------------------------------------------------------------------------------------


def test_short_writes_on_every_call_lose_nothing(kv, faults, tmp_path):
    faults.set("pwrite short")
    node = faulty_node(kv, faults, tmp_path)
    ledger = Ledger()
    writer = Writer(1, node, ledger, seed=1)
    writer.start()
    eventually(lambda: ledger.counts["acknowledged"] > 1000, 30, "1000 writes")
    writer.ended.set()
    writer.join()
    assert writer.failure is None
    pairs = fill(node)
    snapshot(node)
    pairs |= fill(node, prefix="after")
    node.kill()
    restarted(node)
    assert_holds(node, pairs)
    assert "torn" not in node.log()


@pytest.mark.parametrize("error, text", [("ENOSPC", "No space left"), ("EIO", "Input/output"),
                                         ("EROFS", "Read-only"), ("EDQUOT", "quota")])
@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_failing_writes_are_refused_and_reads_go_on(kv, faults, tmp_path, error, text, fsync):
    node = faulty_node(kv, faults, tmp_path, fsync=fsync)
    pairs = fill(node)
    faults.set(f"pwrite {error}", f"ftruncate {error}", f"openat {error}")
    first, second = refusal(node, "first"), refusal(node, "second")
    for reply in (first, second):
        assert reply.startswith("ERROR") and text in reply, reply
    assert "reads go on" in second
    assert_holds(node, pairs)
    assert text in node.info()["disk_error"]
    with node.connect() as conn:
        assert text in conn.cmd("DEL", "k1") and text in conn.cmd("EXPIRE", "k1", 10)
        assert text in conn.cmd("SNAPSHOT")
    node.wait_log("writing the journal failed: .*" + text)
    faults.set()
    eventually(lambda: writes(node), RECOVERS_WITHIN_S, "it writes again by itself")
    assert node.info()["disk_error"] == "none"
    node.wait_log("it can be written again")
    assert node.log().count("writing the journal failed") == 1, "one line for one trouble"
    node.kill()
    restarted(node)
    assert_holds(node, pairs | {"again": "value"})
    assert node.cmd("GET", "second") == "NOT_FOUND"


def test_writes_that_fail_under_load_lose_nothing_acknowledged(kv, faults, tmp_path):
    node = faulty_node(kv, faults, tmp_path, fsync="always", snapshot_size="64KiB")
    ledger = Ledger()
    for number in range(5):
        faults.set()
        eventually(lambda: writes(node), RECOVERS_WITHIN_S, "it writes")
        writer = Writer(1, node, ledger, seed=number, may_be_refused=True)
        before = ledger.counts["acknowledged"]
        writer.start()
        eventually(lambda: ledger.counts["acknowledged"] > before + 200, 30, "200 writes")
        faults.set("pwrite ENOSPC" if number % 2 else "pwrite:journal EIO")
        writer.join(timeout=20 * SLOWNESS)
        assert not writer.is_alive() and writer.was_refused and writer.failure is None
    faults.set()
    node.kill()
    restarted(node)
    node.cmd("DEL", "again")
    ledger.settle(node)


def test_peers_bring_what_came_while_the_disk_failed(kv, faults, tmp_path):
    cluster = kv.cluster(2)
    node = kv.prepare(env=faults.environment(), data_dir=tmp_path / "data",
                      peers=cluster[0].address, **TINY)
    ready(node.start())
    eventually(lambda: node.number("peers_linked") == 2, 20, "linked")
    faults.set("pwrite ENOSPC")
    pairs = fill(cluster[0])
    eventually(lambda: "No space" in node.info()["disk_error"], 20, "its disk is full")
    faults.set()
    cluster.wait_equal(nodes=[*cluster, node])
    eventually(lambda: node.info()["disk_error"] == "none", RECOVERS_WITHIN_S, "it is written")
    node.kill()
    node.options["peers"] = None
    restarted(node)
    assert_holds(node, pairs)


# --- syncs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_failing_sync_ends_the_node(kv, faults, tmp_path, fsync):
    node = faulty_node(kv, faults, tmp_path, fsync=fsync)
    pairs = fill(node)
    faults.set("fdatasync EIO")
    with node.connect() as conn:
        conn.send(b"SET last value\n")
        if fsync == "always":
            with pytest.raises((Closed, ConnectionError)):
                reply = conn.line()
                assert reply != b"OK", "acknowledged without a sync"
                raise Closed(reply)
    assert node.wait() == 1
    assert "a sync of the journal failed: Input/output error" in node.log()
    restarted(node)
    assert_holds(node, pairs)


def test_always_answers_when_the_sync_is_over_and_everysec_at_once(kv, faults, tmp_path):
    for fsync in ("always", "everysec"):
        node = faulty_node(kv, faults, tmp_path, fsync=fsync, data_dir=tmp_path / fsync)
        faults.set("fdatasync delay")
        with node.connect() as conn:
            begin = time.monotonic()
            assert conn.cmd("SET", "key", "value") == "OK"
            took_s = time.monotonic() - begin
            assert conn.cmd("GET", "key") == "value"
        assert (took_s >= 0.5) == (fsync == "always"), f"{fsync}: {took_s} s"
        faults.set()


def test_many_writers_wait_for_one_sync(kv, faults, tmp_path):
    node = faulty_node(kv, faults, tmp_path, fsync="always")
    faults.set("fdatasync delay")
    begin, before = time.monotonic(), node.number("disk_syncs")
    conns = [node.connect() for _ in range(20)]
    for i, conn in enumerate(conns):
        conn.send(b"SET key%d value\n" % i)
    assert {conn.line() for conn in conns} == {b"OK"}
    for conn in conns:
        conn.close()
    assert node.number("disk_syncs") - before <= 4
    assert time.monotonic() - begin < 4 * SLOWNESS
    faults.set()


# --- the directory, snapshots --------------------------------------------------------------------


SNAPSHOT_FAULTS = ["openat:snapshot ENOSPC", "openat:snapshot EMFILE", "pwrite:snapshot ENOSPC",
                   "pwrite:snapshot EIO", "fdatasync:snapshot EIO", "renameat:snapshot EIO"]


@pytest.mark.parametrize("fault", SNAPSHOT_FAULTS)
def test_a_failing_snapshot_is_abandoned_and_the_journal_goes_on(kv, faults, tmp_path, fault):
    node = faulty_node(kv, faults, tmp_path)
    pairs = fill(node)
    faults.set(fault)
    snapshot(node, succeeds=False)
    node.wait_log("the snapshot failed")
    eventually(lambda: not names(tmp_path / "data", "snapshot-"), 10, "nothing of it is left")
    pairs |= fill(node, prefix="after")
    faults.set()
    assert names(tmp_path / "data", "journal-0000000000000001"), "what it was to cover is there"
    # The next one is due in a minute; by hand it may be made at once.
    eventually(lambda: node.cmd("SNAPSHOT") == "OK", 10, "a snapshot may be asked for")
    eventually(lambda: node.number("snapshots") == 1, 20, "it succeeds")
    eventually(lambda: not names(tmp_path / "data", "journal-0000000000000001"), 10, "cleaned")
    node.kill()
    restarted(node)
    assert_holds(node, pairs)


def test_files_that_cannot_be_removed_are_at_the_next_start(kv, faults, tmp_path):
    node = faulty_node(kv, faults, tmp_path)
    pairs = fill(node)
    faults.set("unlinkat:journal EIO")
    snapshot(node)
    node.wait_log("cannot remove journal-.*Input/output error")
    assert names(tmp_path / "data", "journal-0000000000000001")
    faults.set()
    node.stop()
    restarted(node)
    eventually(lambda: not names(tmp_path / "data", "journal-0000000000000001"), 10, "cleaned")
    assert_holds(node, pairs)


@pytest.mark.parametrize("fault", ["openat:journal ENOSPC", "fallocate ENOSPC", "fsync EIO"])
def test_without_a_new_segment_the_old_one_goes_on(kv, faults, tmp_path, fault):
    node = faulty_node(kv, faults, tmp_path)
    faults.set(fault)
    pairs = fill(node, 600)
    node.wait_log("cannot create journal-.*; going on in the segment before it")
    faults.set()
    pairs |= fill(node, prefix="after")
    node.kill()
    restarted(node)
    assert_holds(node, pairs)


# --- real file systems: needs root ---------------------------------------------------------------


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"


@contextmanager
def mounted(path, *arguments):
    path.mkdir()
    run("mount", *arguments, str(path))
    try:
        yield path
    finally:
        run("umount", "--lazy", str(path))


def take_all_room(path):
    with open(path, "wb", buffering=0) as file:
        for size in 4096, 1:
            try:
                while True:
                    file.write(b"b" * size)
            except OSError:
                pass


def write_until_refused(node):
    pairs = {}
    with node.connect() as conn:
        for number in range(10_000):
            key, value = f"k{number}", f"{number}-" + "x" * 5000
            reply = conn.cmd("SET", key, value)
            if reply != "OK":
                assert "No space left" in reply
                return pairs
            pairs[key] = value
    raise AssertionError("the disk never was full")


def test_a_full_file_system_and_room_again(kv, tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=4m", "none") as small:
        node = ready(kv.node(data_dir=small / "data", fsync="always", **SNAPSHOT_BY_HAND))
        ballast = small / "ballast"
        ballast.write_bytes(b"b" * (2 << 20))
        pairs = write_until_refused(node)
        assert len(pairs) > 100
        assert_holds(node, pairs)
        assert "No space left" in refusal(node)
        ballast.unlink()
        eventually(lambda: writes(node), RECOVERS_WITHIN_S, "it writes again by itself")
        pairs["again"] = "value"
        node.kill()
        ready(node.start())
        assert_holds(node, pairs)
        assert "damaged" not in node.log()
        node.stop()


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_start_on_a_full_file_system_serves_reads_until_there_is_room(kv, tmp_path, fsync, end):
    """As a restart policy does it, too: again and again."""
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=4m", "none") as small:
        peer = ready(kv.node(data_dir=tmp_path / "peer"))
        node = ready(kv.node(data_dir=small / "data", fsync=fsync, peers=peer.address,
                             **SNAPSHOT_BY_HAND))
        cluster = Cluster([node, peer]).wait_linked()
        take_all_room(small / "ballast")
        pairs = write_until_refused(node)
        cluster.wait_equal()
        for start in range(2):
            getattr(node, end)()
            take_all_room(small / f"ballast{start}")  # what the end gave back
            ready(node.start())
            assert_holds(node, pairs)
            told = refusal(node)
            assert told == ("ERROR the disk takes no writes (No space left on device); reads go on, and "
                            "writes as soon as it does again")
            assert "No space left" in refusal(node)
            info = node.info()
            assert (info["ready"], info["disk_error"]) == ("no", "No space left on device")
        cluster.wait_linked()
        pairs |= fill(peer, 100, prefix="meanwhile")
        cluster.wait_equal()  # in memory, until the disk takes it
        starts = node.log().split("listening on")[-2:]
        for log in starts:
            assert log.count("make room, or mend it") == 1, "one line for one trouble"
        for ballast in small.glob("ballast*"):
            ballast.unlink()
        eventually(lambda: writes(node), RECOVERS_WITHIN_S, "it writes again by itself")
        pairs["again"] = "value"
        node.wait_log("it can be written again")
        assert node.info()["ready"] == "yes"
        eventually(lambda: node.number("disk_unsynced_bytes") == 0, 10, "all is synced")
        node.kill()
        peer.kill()
        ready(node.start())
        assert_holds(node, pairs)  # alone: from its disk
        assert node.cmd("GET", "refused") == "NOT_FOUND"
        ready(peer.start())
        cluster.wait_linked()
        cluster.wait_equal()
        assert_holds(peer, pairs)
        for log in (node.log(), peer.log()):
            assert "damaged" not in log and "torn" not in log
        node.stop()


def test_a_directory_that_another_process_has_taken_meanwhile(kv, faults, tmp_path):
    """The file system was read-only when the node came, and is not any more when it would write."""
    data, read_lock = tmp_path / "data", struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    start = ("--port", 0, "--data-dir", data)
    node = faulty_node(kv, faults, tmp_path)
    pairs = fill(node, 10)
    node.stop()
    files = {path.name: path.read_bytes() for path in data.iterdir()}
    faults.set("openat:lock EROFS")  # if it may be created; opening what is there succeeds
    with open(data / "lock", "rb") as lock:
        # As one has it that found the file system read-only, too. Beside that nobody may write.
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, read_lock)
        done = kv.run(*start, env=faults.environment())
    assert done.returncode == 1
    assert "another process has taken the data directory meanwhile" in done.stderr
    assert "trying again" not in done.stderr
    assert {path.name: path.read_bytes() for path in data.iterdir()} == files
    ready(node.start())
    assert_holds(node, pairs)
    assert writes(node)


def test_a_snapshot_for_which_there_is_no_room(kv, tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=4m", "none") as small:
        node = ready(kv.node(data_dir=small / "data", **SNAPSHOT_BY_HAND))
        pairs = fill(node, 4000)
        snapshot(node, succeeds=False)
        eventually(lambda: not names(small / "data", "snapshot-"), 10, "nothing of it is left")
        node.kill()
        ready(node.start())
        assert_holds(node, pairs)
        node.stop()


def test_a_file_system_that_becomes_read_only(kv, tmp_path):
    """As ext4 makes itself after an error, until it is mounted anew: nobody can by hand while a file is
    open for writing. One that can be written again meanwhile is the EROFS above."""
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    run("mkfs.ext4", "-q", str(image))
    options = ("-o", "loop,errors=remount-ro", str(image))
    with mounted(tmp_path / "ext4", *options) as mount:
        node = ready(kv.node(data_dir=mount / "data", **SNAPSHOT_BY_HAND))
        pairs = fill(node, 50)
        # A sync that fails ends the node, whatever the reason; here nothing waits for one.
        eventually(lambda: node.number("disk_unsynced_bytes") == 0, 10, "all is synced")
        device = subprocess.run(["findmnt", "-n", "-o", "SOURCE", str(mount)], text=True,
                                capture_output=True, check=True).stdout.strip().split("/")[-1]
        with open(f"/sys/fs/ext4/{device}/trigger_fs_error", "w", encoding="ascii") as trigger:
            trigger.write("a fault of the test")
        assert "Read-only" in refusal(node) and "Read-only" in refusal(node)
        assert_holds(node, pairs)
        node.stop()
    mount.rmdir()
    with mounted(tmp_path / "ext4", *options):
        ready(node.start())
        assert_holds(node, pairs)
        assert writes(node)
        node.stop()
