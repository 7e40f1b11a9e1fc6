"""Nodes with a data directory: what stays, what is told of a full, damaged or taken disk."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from kvtest import BINARY, MIB, SLOWNESS, Closed, clean_environment, eventually, free_ports

SMALL = {"segment_size": "64KiB", "snapshot_size": "64KiB", "snapshot_percent": 100}


def loaded(node):
    """Waits until the node serves what it has read from its disk."""
    eventually(lambda: node.info()["ready"] == "yes", 20, f"{node.name} has read its data")
    return node


def stored(kv, directory, **options):
    return loaded(kv.node(data_dir=directory, **options))


def again(node):
    return loaded(node.start())


def content(node, count):
    with node.connect() as conn:
        return conn.pipeline(b"GET k%d" % i for i in range(count))


def values(count, size=100):
    return [(f"k{i}", f"{i}-" + "x" * size) for i in range(count)]


def check(kv, *arguments):
    return kv.run("--check", *arguments)


# --- what stays -----------------------------------------------------------------------------------

@pytest.mark.parametrize("fsync", ["always", "everysec", "no"])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restart_keeps_writes_deletes_and_expiry(kv, tmp_path, fsync, end):
    node = stored(kv, tmp_path / "data", fsync=fsync)
    node.write_many(values(500))
    assert node.cmd("DEL", "k7", "k8") == "2"
    assert node.cmd("SETEX", "short", 1, "v") == "OK"
    assert node.cmd("EXPIRE", "k9", 1000) == "1"
    before = content(node, 500)
    getattr(node, end)()
    again(node)
    assert content(node, 500) == before
    assert node.cmd("GET", "k7") == "NOT_FOUND" and 900 < int(node.cmd("TTL", "k9")) <= 1000
    eventually(lambda: node.cmd("GET", "short") == "NOT_FOUND", 5, "it expires all the same")


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_killed_node_has_all_that_it_acknowledged(kv, tmp_path, fsync):
    """Killed in the middle of writes, again and again; each run goes on where the last ended."""
    node, acknowledged = stored(kv, tmp_path / "data", fsync=fsync, **SMALL), 0
    for _ in range(5):
        with node.connect() as conn:
            wanted = acknowledged + 2000
            conn.send(b"".join(b"SET k%d v%d\n" % (i, i) for i in range(acknowledged, wanted)))
            for _ in range(1000):
                assert conn.line() == b"OK"
                acknowledged += 1
            node.kill()
            try:
                while conn.line() == b"OK":
                    acknowledged += 1
            except (Closed, OSError):
                pass
        again(node)
        found = content(node, acknowledged)
        assert found == [b"v%d" % i for i in range(acknowledged)]


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_node_that_is_stopped_under_load_ends_soon_and_keeps_what_it_acknowledged(
        kv, tmp_path, fsync):
    node = stored(kv, tmp_path / "data", fsync=fsync, **SMALL)
    conns = [node.connect() for _ in range(5)]
    for number, conn in enumerate(conns):
        conn.send(b"".join(b"SET c%d-%d v\n" % (number, i) for i in range(3000)))
    assert conns[0].line() == b"OK"
    start = time.monotonic()
    node.stop()
    assert time.monotonic() - start < 4 * SLOWNESS
    acknowledged = [1 if conn is conns[0] else 0 for conn in conns]
    for number, conn in enumerate(conns):
        try:
            while conn.line() == b"OK":
                acknowledged[number] += 1
        except OSError:
            pass
        conn.close()
    assert check(kv, tmp_path / "data").returncode == 0
    again(node)
    with node.connect() as conn:
        for number, count in enumerate(acknowledged):
            found = conn.pipeline(b"GET c%d-%d" % (number, i) for i in range(count))
            assert found == [b"v"] * count


def test_a_binary_value_and_an_empty_one_stay(kv, tmp_path):
    node = stored(kv, tmp_path / "data")
    value = bytes(set(range(256)) - {10, 13})
    with node.connect() as conn:
        assert conn.ask(b"SET binary " + value) == b"OK"
        assert conn.ask(b'SET empty ') == b"OK"
        assert conn.ask(b"SET big " + b"y" * MIB) == b"OK"
    again(node.kill())
    with node.connect() as conn:
        assert conn.ask(b"GET binary") == value
        assert conn.ask(b"GET empty") == b""
        assert conn.ask(b"GET big") == b"y" * MIB


def test_data_survives_a_rolling_restart_of_three_nodes(kv, tmp_path):
    ports = free_ports(3)
    peers = ",".join(f"127.0.0.1:{port}" for port in ports)
    nodes = [kv.prepare(f"node{i + 1}", port=ports[i], peers=peers, data_dir=tmp_path / f"data{i}")
             for i in range(3)]
    for node in nodes:
        node.start()
    for node in nodes:
        loaded(node)
    for turn, node in enumerate(nodes):
        others = [other for other in nodes if other is not node]
        others[0].write_many((f"k{turn}-{i}", "v") for i in range(500))
        node.stop()
        others[1].write_many((f"k{turn}+{i}", "w") for i in range(500))
        again(node)
        eventually(lambda node=node: node.number("peers_linked") == 2, 20, "it is linked again")
        eventually(lambda: len({other.info()["digest"] for other in nodes}) == 1, 20,
                   "all hold the same")
    assert {node.cmd("COUNT") for node in nodes} == {"3000"}


def test_data_survives_when_all_nodes_stop_at_once(kv, tmp_path):
    ports = free_ports(3)
    peers = ",".join(f"127.0.0.1:{port}" for port in ports)
    nodes = [kv.prepare(f"node{i + 1}", port=ports[i], peers=peers, data_dir=tmp_path / f"data{i}")
             for i in range(3)]
    for node in nodes:
        node.start()
    for node in nodes:
        loaded(node)
    eventually(lambda: nodes[0].number("peers_linked") == 2, 20, "they are linked")
    nodes[0].write_many(values(1000))
    assert nodes[0].cmd("DEL", "k3") == "1"
    eventually(lambda: {node.cmd("COUNT") for node in nodes} == {"999"}, 20, "all have it")
    for node in nodes:
        node.kill()
    for node in nodes:
        node.start()
    for node in nodes:
        loaded(node)
        assert (node.cmd("COUNT"), node.cmd("GET", "k3")) == ("999", "NOT_FOUND")


# --- snapshots ------------------------------------------------------------------------------------

def test_snapshot_replaces_the_journal_before_it(kv, tmp_path):
    node = stored(kv, tmp_path / "data")
    assert node.cmd("LASTSAVE") == "0"
    node.write_many(values(2000))
    assert node.cmd("SNAPSHOT") == "OK"
    eventually(lambda: node.number("snapshots") == 1, 20, "it is made")
    eventually(lambda: len(list((tmp_path / "data").glob("journal-*"))) == 1, 20,
               "the segments that it covers are gone")
    assert abs(int(node.cmd("LASTSAVE")) - time.time()) < 60
    assert node.number("snapshot_bytes") > 2000 * 100
    assert node.cmd("BGSAVE") == "OK"
    eventually(lambda: node.number("snapshots") == 2, 20, "and another one")
    again(node.kill())
    assert node.cmd("COUNT") == "2000"


def test_the_journal_does_not_grow_for_ever(kv, tmp_path):
    node = stored(kv, tmp_path / "data", **SMALL)
    for _ in range(40):
        node.write_many(values(200, size=1000))
    eventually(lambda: node.number("snapshots") >= 1, 20, "snapshots are made by themselves")
    eventually(lambda: node.info()["snapshot_running"] == "no", 20, "the last one is made")
    eventually(lambda: sum(file.stat().st_size for file in (tmp_path / "data").iterdir()) < 2 * MIB,
               20, "the directory is much smaller than the 8 MB written")
    again(node.kill())
    assert node.cmd("COUNT") == "200"


def test_starts_leave_little_behind(kv, tmp_path):
    node = stored(kv, tmp_path / "data")
    for _ in range(5):
        again(node.kill())
    sizes = sorted(file.stat().st_size for file in (tmp_path / "data").glob("journal-*"))
    assert all(size < 4096 for size in sizes[:-1]), sizes


def test_a_node_in_memory_has_no_snapshots(kv):
    node = kv.node()
    assert "no --data-dir" in node.cmd("SNAPSHOT") and node.cmd("LASTSAVE") == "0"
    assert (node.info()["data_dir"], node.info()["loading"]) == ("no", "0")


# --- the directory --------------------------------------------------------------------------------

def refused(done, *words, status=1):
    assert done.returncode == status, done
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_second_node_on_the_same_directory_is_refused(kv, tmp_path):
    node = stored(kv, tmp_path / "data")
    refused(kv.run("--port", 0, "--data-dir", tmp_path / "data"), "in use by another process",
            str(tmp_path / "data"))
    assert node.cmd("SET", "k", "v") == "OK"
    node.kill()
    again(node)


def test_the_directory_is_made_for_its_owner_and_their_group(kv, tmp_path):
    stored(kv, tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "data" / "lock").stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_a_data_directory_is_named(kv, tmp_path):
    (tmp_path / "file").write_text("")
    refused(kv.run("--port", 0, "--data-dir", tmp_path / "file"), "expected a directory",
            str(tmp_path / "file"))
    refused(kv.run("--port", 0, "--data-dir", tmp_path / "no" / "such"), "has to exist")


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the part of another user")
def test_a_directory_of_another_user_is_named_with_who_needs_it(tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    os.chown(tmp_path / "data", 12345, 12345)
    # root, but without the right to write to what is another's
    done = subprocess.run(
        ["setpriv", "--bounding-set=-dac_override", BINARY, "--port", "0", "--data-dir",
         tmp_path / "data"], capture_output=True, text=True, env=clean_environment(),
        timeout=20 * SLOWNESS)
    refused(done, "Permission denied", "uid 0")


@pytest.mark.parametrize("arguments, words", [
    (["--fsync", "always"], ["--fsync", "--data-dir"]),
    (["--segment-size", "1MiB"], ["--segment-size", "--data-dir"]),
    (["--salvage"], ["--salvage", "--data-dir"]),
    (["--repair-tail"], ["--repair-tail", "--check"])])
def test_options_of_a_disk_that_there_is_not_are_refused(kv, arguments, words):
    refused(kv.run("--port", 0, *arguments), *words, status=2)


def test_a_container_without_a_data_dir_is_told_of_its_variable(kv):
    refused(kv.run("--port", 0, env={"KV_FSYNC": "no"}), "KV_FSYNC", "--data-dir", status=2)


# --- loading --------------------------------------------------------------------------------------

def test_while_it_loads_a_node_says_so(kv, tmp_path):
    node = stored(kv, tmp_path / "data", snapshot_size="1GiB")
    node.write_many(values(60_000, size=1000), window=200)
    node.stop().start()
    seen = set()
    with node.connect() as conn:
        def serves():
            answer = conn.cmd("GET", "k59999")
            seen.add(re.sub(r"\d+", "N", answer) if answer.startswith("ERROR") else "value")
            if "LOADING" in answer:
                health = kv.run("--healthcheck", "--port", node.port)
                if health.returncode != 0:
                    assert "not ready" in health.stderr
                    seen.add("unhealthy")
                for command in "HELP", "PEERS", "INFO":
                    assert isinstance(conn.lines(command), list)
            return not answer.startswith("ERROR")
        eventually(serves, 60, "it has read its data")
    assert seen == {"value", "unhealthy",
                    "ERROR LOADING this node reads its data from disk: N % done"}
    assert kv.run("--healthcheck", "--port", node.port).returncode == 0
    assert any("60000 keys" in line for line in node.log_lines())


@pytest.mark.parametrize("processors", [1, 2])
def test_much_is_read_with_a_second_thread_if_there_is_a_processor_for_it(kv, tmp_path, processors):
    ours = sorted(os.sched_getaffinity(0))
    if len(ours) < processors:
        pytest.skip("the machine has one processor")
    node = stored(kv, tmp_path / "data", snapshot_size="1GiB", log_level="debug")
    node.write_many(values(10_000, size=100))
    again(node.stop())
    assert "reading the data directory with" not in node.log()  # that was little
    node.write_many(values(60_000, size=1000), window=200)
    before = content(node, 60_000)
    node.prefix = ["taskset", "-c", ",".join(map(str, ours[:processors]))]
    node.kill()
    for _ in range(3):
        node.start()
        node.stop()  # most often while it reads
    again(node)
    assert content(node, 60_000) == before
    told = re.findall("reading the data directory with (.*)", node.log())
    assert told == 4 * ["one thread" if processors == 1 else
                        "two threads: one reads, one readies memory"]


def test_peers_are_dialled_when_the_data_is_read_and_not_before(kv, tmp_path):
    ports = free_ports(2)
    first = stored(kv, tmp_path / "a", port=ports[0], peers=f"127.0.0.1:{ports[1]}",
                   snapshot_size="1GiB")
    first.write_many(values(60_000, size=1000), window=200)
    second = kv.node(port=ports[1])
    eventually(lambda: second.cmd("COUNT") == "60000", 30, "the other one has it all")
    first.stop().start()
    seen = set()

    def look():
        linked, info = second.info()["peers_linked"], first.info()
        if info["loading"] == "1":
            seen.add((linked, info["peers_linked"], first.peers()[0]["state"]))
        return info["loading"] == "0"
    eventually(look, 60, "it has read its data")
    assert seen == {("0", "0", "connecting")}
    eventually(lambda: first.number("peers_linked") == 1, 3, "they are linked at once")
    assert first.number("divergence_repaired") == second.number("divergence_repaired") == 0


# --- a disk that is full or takes no writes -------------------------------------------------------

@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounts a file system")
    mount = tmp_path / "mount"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted: {done.stderr}")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def fill(path):
    """Takes all the room that there is."""
    with open(path, "wb", buffering=0) as file:
        for size in 4096, 1:
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass


def write_until_refused(node):
    """Returns (keys written, the refusal)."""
    with node.connect() as conn:
        for i in range(10_000):
            answer = conn.cmd("SET", f"k{i}", "x" * 2000)
            if answer != "OK":
                return i, answer
    raise AssertionError("the disk never was full")


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_full_disk_refuses_writes_and_heals_by_itself(kv, small_disk, fsync):
    node = stored(kv, small_disk / "data", fsync=fsync, **SMALL)
    fill(small_disk / "filler")
    count, refusal = write_until_refused(node)
    assert refusal.startswith("ERROR the disk takes no writes (No space left on device)"), refusal
    assert node.cmd("SET", "more", "v").startswith("ERROR the disk takes no writes")
    assert node.cmd("DEL", "k0").startswith("ERROR the disk takes no writes")
    assert node.cmd("GET", "k0") == "x" * 2000
    info = node.info()
    assert (info["ready"], info["disk_error"]) == ("no", "No space left on device")
    assert int(info["disk_write_errors"]) >= 1
    (small_disk / "filler").unlink()
    eventually(lambda: node.cmd("SET", "more", "v") == "OK", 10, "writes are taken again")
    assert node.info()["disk_error"] == "none"
    node.wait_log("can be written again")
    before = content(node, count)
    again(node.kill())
    assert (content(node, count), node.cmd("GET", "more")) == (before, "v")


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_what_a_full_disk_has_not_taken_was_not_acknowledged(kv, small_disk, fsync):
    node = stored(kv, small_disk / "data", fsync=fsync, **SMALL)
    fill(small_disk / "filler")
    count, _ = write_until_refused(node)
    node.kill()
    (small_disk / "filler").unlink()
    again(node)
    assert content(node, count) == [b"x" * 2000] * count


def test_a_full_disk_is_named_at_the_first_start_too_and_waited_for(kv, small_disk):
    """A node that ended there would serve no reads, and be started again for nothing. It has to do with less
    room than a segment takes otherwise: as a node does that has begun one."""
    (small_disk / "data").mkdir()
    fill(small_disk / "filler")
    node = kv.node(data_dir=small_disk / "data")
    node.wait_log("it takes no writes .*No space left on device.*make room")
    assert node.cmd("GET", "k") == "NOT_FOUND"
    assert node.cmd("SET", "k", "v").startswith("ERROR the disk takes no writes")
    (small_disk / "filler").unlink()
    eventually(lambda: node.cmd("SET", "k", "v") == "OK", 10, "writes are taken")
    again(node.kill())
    assert node.cmd("GET", "k") == "v"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_node_on_a_read_only_file_system_serves_reads_until_it_is_mounted_anew(kv, small_disk,
                                                                                 end):
    """It has the directory to itself all the while, before and after."""
    node = stored(kv, small_disk / "data", **SMALL)
    assert node.cmd("SET", "k", "v") == "OK"
    getattr(node, end)()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused(kv.run("--port", 0, "--data-dir", small_disk / "another"), "Read-only file system",
            "expected one that can be written")
    node.start()
    node.wait_log("it takes no writes .locking it for writing: Read-only file system.")
    assert node.cmd("GET", "k") == "v"
    assert node.cmd("SET", "k", "w").startswith("ERROR the disk takes no writes (Read-only file ")
    assert (node.info()["ready"], node.info()["disk_error"]) == ("no", "Read-only file system")
    in_use = ["in use by another process", str(small_disk / "data")]
    refused(kv.run("--port", 0, "--data-dir", small_disk / "data"), *in_use)
    done = check(kv, small_disk / "data")
    assert done.returncode == 0 and "in use by a running node" in done.stdout
    node.stop()
    again_reading = node.start()
    again_reading.wait_log("it takes no writes")
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    refused(kv.run("--port", 0, "--data-dir", small_disk / "data"), *in_use)
    eventually(lambda: node.cmd("SET", "k", "w") == "OK", 10, "writes are taken")
    refused(kv.run("--port", 0, "--data-dir", small_disk / "data"), *in_use)
    again(node.kill())
    assert node.cmd("GET", "k") == "w"
    assert "damaged" not in node.log()


# --- damage ---------------------------------------------------------------------------------------

def segments(directory):
    return sorted(Path(directory).glob("journal-*"))


def data_end(path):
    """Where the zeros at the end begin."""
    return len(path.read_bytes().rstrip(b"\0"))


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def filled(kv, directory, count=200):
    node = stored(kv, directory)
    node.write_many(values(count))
    eventually(lambda: node.number("disk_unsynced_bytes") == 0, 10, "all is synced")
    return node


def test_check_of_a_sound_directory_tells_what_it_holds(kv, tmp_path):
    node = filled(kv, tmp_path / "data")
    assert node.cmd("DEL", "k1") == "1"
    done = check(kv, tmp_path / "data")
    assert done.returncode == 0 and "in use by a running node" in done.stdout
    node.stop()
    done = check(kv, tmp_path / "data")
    assert (done.returncode, done.stderr) == (0, "")
    assert "in use" not in done.stdout
    for line in r"segment +journal-0000000000000001 ", r"keys +199$", r"tombstones +1$", \
            r"vector +\d+ origins", r"damage +none", r"records +201$":
        assert re.search(line, done.stdout, re.MULTILINE), done.stdout
    for path in [*segments(tmp_path / "data")]:
        assert check(kv, path).returncode == 0


def test_check_tells_a_torn_tail_and_repairs_it(kv, tmp_path):
    node = filled(kv, tmp_path / "data")
    with node.connect() as conn:
        assert conn.cmd("SET", "last", "z" * 1000) == "OK"
        node.kill()
    segment = segments(tmp_path / "data")[-1]
    os.truncate(segment, data_end(segment) - 1100)
    done = check(kv, tmp_path / "data")
    assert done.returncode == 1 and "torn tail" in done.stdout and "at offset" in done.stdout
    done = check(kv, tmp_path / "data", "--repair-tail")
    assert done.returncode == 0 and "was cut off" in done.stdout
    done = check(kv, tmp_path / "data")
    assert done.returncode == 0 and re.search(r"keys +200$", done.stdout, re.MULTILINE)


def test_check_and_start_name_damage_to_what_was_on_the_disk(kv, tmp_path):
    node = filled(kv, tmp_path / "data")
    node.stop()
    segment = segments(tmp_path / "data")[0]
    flip(segment, 1000)
    done = check(kv, tmp_path / "data")
    assert done.returncode == 1 and "only come from peers" in done.stdout
    assert re.search(rf"damage +{segment.name} at offset \d+: ", done.stdout)
    assert check(kv, segment).returncode == 1
    done = check(kv, tmp_path / "data", "--repair-tail")
    assert done.returncode == 1
    done = kv.run("--port", 0, "--data-dir", tmp_path / "data")
    assert done.returncode == 1 and "--salvage" in done.stderr and segment.name in done.stderr
    salvaged = stored(kv, tmp_path / "data", salvage=True)
    assert 190 <= int(salvaged.cmd("COUNT")) < 200
    salvaged.wait_log("what is intact is served")


def test_a_damaged_node_serves_nobody_before_its_peers_have_refilled_it(kv, tmp_path):
    ports = free_ports(2)
    peers = ",".join(f"127.0.0.1:{port}" for port in ports)
    first = stored(kv, tmp_path / "a", port=ports[0], peers=peers)
    second = stored(kv, tmp_path / "b", port=ports[1], peers=peers)
    first.write_many(values(200))
    eventually(lambda: second.cmd("COUNT") == "200", 20, "both have it")
    first.stop()
    second.stop()
    flip(segments(tmp_path / "a")[0], 1000)
    first.start()
    refused = ("ERROR LOADING this node is being refilled by its peers after damage to its disk "
               "(PEERS shows them)")
    eventually(lambda: first.cmd("GET", "k0") == refused, 20, "it has read what it has")
    assert (first.info()["refilling"], first.info()["ready"]) == ("yes", "no")
    health = kv.run("--healthcheck", "--port", first.port)
    assert health.returncode == 1 and "not ready" in health.stderr
    again(second)
    loaded(first)
    assert content(first, 200) == content(second, 200) == [v.encode() for _, v in values(200)]


def test_check_of_what_is_not_ours(kv, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("something else\n" * 10)
    for path in tmp_path / "empty", tmp_path / "text", tmp_path / "missing", "/dev/null":
        refused(check(kv, path), str(path), status=2)


def test_a_running_node_is_not_repaired(kv, tmp_path):
    filled(kv, tmp_path / "data")
    refused(check(kv, tmp_path / "data", "--repair-tail"), "in use", status=2)


def test_check_of_a_snapshot_plain_compressed_and_cut(kv, tmp_path):
    node = filled(kv, tmp_path / "data")
    assert node.cmd("SNAPSHOT") == "OK"
    eventually(lambda: node.number("snapshots") == 1, 20, "it is made")
    snapshot = next((tmp_path / "data").glob("snapshot-*"))
    packed, cut = tmp_path / "packed.zst", tmp_path / "cut.zst"
    packed.write_bytes(subprocess.run(["zstd", "-q", "-c", snapshot], stdout=subprocess.PIPE,
                                      check=True).stdout)
    for path in snapshot, packed:
        done = check(kv, path)
        assert done.returncode == 0 and re.search(r"keys +200$", done.stdout, re.MULTILINE), done
    whole = packed.read_bytes()
    for size in range(30, len(whole), 97):
        cut.write_bytes(whole[:size])
        assert check(kv, cut).returncode in (1, 2), size
    plain = snapshot.read_bytes()
    for size in range(64, len(plain), 997):
        cut.write_bytes(plain[:size])
        assert check(kv, cut).returncode == 1, size
