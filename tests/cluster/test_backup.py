"""BACKUP and RESTORE, backups that start a node, and periodic ones: real processes, real files."""

import re
import struct
import subprocess
import threading
import time

import pytest

from backupfile import Damaged, File
from kvtest import SANITIZED, always, eventually, free_ports

P99_MS = 60 if SANITIZED else 20  # of a client beside a backup; more where it is more without one
KEYS = 20000


def ready(node):
    eventually(lambda: node.cmd("PING") == "+PONG", 20, f"{node.name} has loaded its data")
    return node


def backup_of(node):
    with node.connect(timeout_s=60) as conn:
        conn.send(b"BACKUP\n")
        return conn.rest()


def restore(node, data, timeout_s=60):
    """The one line that answers it."""
    with node.connect(timeout_s=timeout_s) as conn:
        try:
            conn.send(b"RESTORE\n" + data)
            conn.half_close()
        except ConnectionError:
            pass  # it has refused before all was sent, and says why
        reply = conn.line().decode()
        assert conn.rest() == b"", "the answer is one line, and the connection ends"
        return reply


def entries(data):
    """Where each record begins in a backup."""
    at, found = 64, []
    while at < len(data):
        if data[at + 10] == 0x80:
            at += 12 + struct.unpack_from("<I", data, at + 4)[0]
        else:
            found.append(at)
            value, key, flags = struct.unpack_from("<IHB", data, at + 4)
            at += (36 if flags & 2 else 28) + key + value
    return found


def fill(node, keys=KEYS, value="value"):
    node.write_many(((f"key{i}", f"{value}{i}") for i in range(keys)))


class Load(threading.Thread):
    """A client that writes key after key, and keeps how many and how long each took."""

    def __init__(self, node, prefix):
        super().__init__()
        self.node, self.prefix = node, prefix
        self.written, self.times_ms, self.error = 0, [], None
        self.ended = threading.Event()

    def run(self):
        try:
            with self.node.connect() as conn:
                while not self.ended.is_set():
                    begun = time.monotonic()
                    assert conn.cmd("SET", f"{self.prefix}{self.written}", "x") == "OK"
                    self.times_ms.append((time.monotonic() - begun) * 1000)
                    self.written += 1
        except Exception as error:  # seen by whoever joins
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        assert self.error is None, self.error


def p99_ms(load):
    times = sorted(load.times_ms)
    return times[len(times) * 99 // 100]


def p99_limit_ms(node):
    """What a client may wait: the machine may have other things to do, too."""
    with Load(node, "idle") as idle:
        eventually(lambda: idle.written >= 1000 or idle.error, 60, "a thousand writes")
    return max(P99_MS, 4 * p99_ms(idle))


# --- BACKUP ---------------------------------------------------------------------------------------

def test_a_backup_under_load_holds_every_write_acknowledged_before_it_began(kv):
    node = kv.node()
    fill(node)
    with Load(node, "load") as load:
        for _ in range(5):
            eventually(lambda n=load.written: load.written > n + 50 or load.error, 10, "writes")
            before = load.written
            held = File(backup_of(node)).live()
            assert all(f"load{i}".encode() in held for i in range(before))
            assert all(held[f"key{i}".encode()] == f"value{i}".encode() for i in range(KEYS))


def test_a_backup_of_an_empty_node_is_whole(kv):
    node = kv.node()
    data = backup_of(node)
    assert File(data).live() == {}
    assert restore(node, data) == "OK 0 keys"


def test_a_reader_that_is_slow_holds_up_nobody_and_costs_little_memory(kv):
    node = kv.node()
    value = "v" * 1000
    node.write_many(((f"key{i}", value) for i in range(100000)), window=500)  # over 100 MB
    limit_ms, before = p99_limit_ms(node), node.rss_bytes()
    with node.connect(receive_bytes=64 << 10) as slow:
        slow.send(b"BACKUP\n")
        eventually(lambda: node.number("backups_running") == 1, 5, "it has begun")
        with Load(node, "load") as load:
            taken = 0
            while taken < 5 << 20:
                taken += len(slow.sock.recv(1 << 16))
                time.sleep(0.005)  # a slow reader is what this is about
            assert node.number("backups_running") == 1, "it waits for its reader"
        assert p99_ms(load) < limit_ms, sorted(load.times_ms)[-20:]
        if not SANITIZED:
            assert node.rss_bytes() - before < 16 << 20
    eventually(lambda: node.number("backups_running") == 0, 10, "it is given up with its reader")


def test_a_reader_that_takes_nothing_is_closed(kv):
    node = kv.node(output_timeout="300ms")
    node.write_many(((f"key{i}", "v" * 10000) for i in range(2000)), window=100)
    with node.connect(receive_bytes=4096) as conn:
        conn.send(b"BACKUP\n")
        node.wait_log(r"has taken none of its replies for 300 ms")
        eventually(lambda: node.number("backups_running") == 0, 10, "the backup has ended")


def test_replies_before_a_backup_come_first_and_what_follows_it_is_not_run(kv):
    with kv.node().connect() as conn:
        conn.send(b"SET a 1\nGET a\nBACKUP\nDEL a\n")
        assert (conn.line(), conn.line()) == (b"OK", b"1")
        assert File(conn.rest()).live() == {b"a": b"1"}


def test_a_node_killed_during_a_backup_leaves_a_file_that_says_so(kv):
    node = kv.node()
    node.write_many(((f"key{i}", "v" * 10000) for i in range(3000)), window=100)
    with node.connect(receive_bytes=64 << 10) as conn:
        conn.send(b"BACKUP\n")
        data = conn.sock.recv(100000)
        node.kill()
        try:
            data += conn.rest()
        except ConnectionError:
            pass
    fresh = kv.node()
    reply = restore(fresh, data)
    assert re.match(r"ERROR the backup is cut off after \d+ bytes; \d+ keys were written$", reply)


def test_a_stop_does_not_wait_for_a_client_that_takes_its_backup_slowly(kv):
    node = kv.node(shutdown_timeout="500ms")
    node.write_many(((f"key{i}", "v" * 10000) for i in range(3000)), window=100)
    with node.connect(receive_bytes=4096) as conn:
        conn.send(b"BACKUP\n")
        eventually(lambda: node.number("backups_running") == 1, 10, "it has begun")
        node.stop()
        with pytest.raises(Damaged):
            File(conn.rest())


# --- RESTORE --------------------------------------------------------------------------------------

def test_a_restore_into_a_cluster_wins_everywhere(kv):
    cluster = kv.cluster(3)
    fill(cluster[0], 3000)
    cluster[0].cmd("SETEX", "short", "1000", "lived")
    cluster.wait_equal()
    data = backup_of(cluster[1])
    fill(cluster[2], 1500, value="newer")
    assert cluster[2].cmd("DEL", "key2000", "key2001") == "2"
    cluster.wait_equal()
    assert restore(cluster[2], data) == "OK 3001 keys"
    assert cluster.wait_equal() == 3001
    for node in cluster:
        assert node.cmd("GET", "key7") == "value7" and node.cmd("GET", "key2000") == "value2000"
        assert 900 <= int(node.cmd("TTL", "short")) <= 1000


def test_tombstones_and_expired_records_of_a_backup_are_not_restored(kv):
    node = kv.node()
    for line in ("SET kept old", "SET gone x", "SETEX brief 1 x"):
        node.cmd(*line.split())
    node.cmd("DEL", "gone")
    data = backup_of(node)
    node.cmd("SET", "gone", "written since")
    eventually(lambda: node.cmd("GET", "brief") == "NOT_FOUND", 10, "it has expired")
    assert restore(node, data) == "OK 1 keys"
    assert node.cmd("GET", "gone") == "written since" and node.cmd("GET", "brief") == "NOT_FOUND"


def test_the_answer_of_a_restore_waits_for_min_acks(kv):
    node = kv.node(min_acks=1, ack_timeout="200ms")
    source = kv.node()
    fill(source, 100)
    reply = restore(node, backup_of(source))
    assert reply.startswith("ERROR 0 of 1 peers confirmed"), reply
    assert node.cmd("COUNT") == "100"


@pytest.mark.parametrize("part", ["first", "middle", "last"])
def test_a_damaged_backup_is_refused_with_its_offset_and_how_much_was_written(kv, part):
    node = kv.node()
    fill(node, 3000)
    data = bytearray(backup_of(node))
    starts = entries(data)
    index = {"first": 0, "middle": len(starts) // 2, "last": len(starts) - 1}[part]
    data[starts[index] + 30] ^= 1
    fresh = kv.node()
    assert restore(fresh, bytes(data)) == \
        f"ERROR the backup is damaged at offset {starts[index]}; {index} keys were written"
    assert fresh.cmd("COUNT") == str(index)


def test_what_is_missing_in_the_middle_is_noticed(kv):
    node = kv.node()
    fill(node, 100)
    data = backup_of(node)
    first, second = entries(data)[:2]
    reply = restore(kv.node(), data[:first] + data[second:])
    assert "something is missing before offset" in reply and "99 keys were written" in reply


@pytest.mark.parametrize("size", [0, 10, 63, 64, 100, -1, -30])
def test_a_backup_that_is_cut_off_is_refused(kv, size):
    node = kv.node()
    fill(node, 50)
    data = backup_of(node)
    data = data[:size]
    reply = restore(node, data)
    assert reply.startswith(f"ERROR the backup is cut off after {len(data)} bytes; "), reply


@pytest.mark.parametrize("data", [b"GET key\n" * 20, bytes(1000), b"SIMPLEKV" + bytes(1000)])
def test_what_is_no_backup_is_refused(kv, data):
    assert restore(kv.node(), data) == \
        "ERROR this is no backup, or its beginning is damaged; 0 keys were written"


def test_the_limits_of_a_node_hold_in_a_restore(kv):
    source = kv.node()
    source.cmd("SET", "long", "v" * 5000)
    data = backup_of(source)
    assert "longer than 1024 bytes (--max-value)" in restore(kv.node(max_value="1KiB"), data)
    fill(source, 5000)
    small = kv.node(max_memory="300KiB")
    reply = restore(small, backup_of(source))
    assert "memory is full at 307200 bytes (--max-memory)" in reply
    assert int(re.search(r"; (\d+) keys", reply).group(1)) == small.number("keys") > 100


def test_a_restore_does_not_hold_up_others(kv):
    source = kv.node()
    fill(source, 100000)
    data = backup_of(source)
    node = kv.node()
    limit_ms = p99_limit_ms(node)
    with Load(node, "load") as load:
        eventually(lambda: load.written > 100 or load.error, 10, "the load runs")
        assert restore(node, data) == "OK 100000 keys"
    assert p99_ms(load) < limit_ms, sorted(load.times_ms)[-20:]


def test_a_node_killed_during_a_restore_has_what_it_had_written(kv, tmp_path):
    source = kv.node()
    fill(source, 50000)
    data = backup_of(source)
    node = ready(kv.node(data_dir=tmp_path / "data"))
    with node.connect() as conn:
        conn.send(b"RESTORE\n" + data[:len(data) // 2])
        eventually(lambda: node.number("keys") > 5000, 20, "it is under way")
        held = node.number("keys")
        node.kill()
    ready(node.start())
    assert node.number("keys") >= held
    assert restore(node, data) == "OK 50000 keys"
    assert node.number("keys") == 50000


# --- a backup in an empty data directory ----------------------------------------------------------

def start_from(kv, directory, file_name, data, packed=False, **options):
    directory.mkdir()
    (directory / ".unpacking").write_bytes(b"what a crash has left")
    if packed:
        data = subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout
    (directory / file_name).write_bytes(data)
    return ready(kv.node(data_dir=directory, **options))


@pytest.mark.parametrize("packed", [False, True])
def test_a_backup_starts_a_node_whose_data_reaches_an_empty_cluster(kv, tmp_path, packed):
    source = kv.node()
    fill(source, 3000)
    source.cmd("DEL", "key5")
    data = backup_of(source)
    source.stop()
    empty = kv.cluster(2)
    node = start_from(kv, tmp_path / "data", "any name", data, packed,
                      peers=",".join(one.address for one in empty))
    assert node.number("keys") == 2999
    for one in empty:
        eventually(lambda one=one: one.number("keys") == 2999, 30, "it has reached the others")
    assert empty[1].cmd("GET", "key6") == "value6" and empty[1].cmd("GET", "key5") == "NOT_FOUND"
    node.stop()
    ready(node.start())
    assert node.number("keys") == 2999


def test_an_old_backup_does_not_bring_back_what_was_deleted_since(kv, tmp_path):
    cluster = kv.cluster(3)
    fill(cluster[0], 2000)
    cluster.wait_equal()
    data = backup_of(cluster[0])
    assert cluster[1].cmd("DEL", *(f"key{i}" for i in range(500))) == "500"
    cluster[1].cmd("SET", "key600", "newer")
    cluster.wait_equal()
    eventually(lambda: all(node.number("tombstones") == 0 for node in cluster), 40,
               "the tombstones are dropped: only vectors protect the deletes now")
    node = start_from(kv, tmp_path / "data", "old.backup", data, name="late",
                      peers=cluster[0].address)
    eventually(lambda: node.number("keys") == 1500, 30, "the deletes have reached it")
    eventually(lambda: {one.info()["digest"] for one in [*cluster, node]} ==
               {node.info()["digest"]}, 30, "all are equal")
    assert cluster[2].number("keys") == 1500 and node.cmd("GET", "key600") == "newer"


def test_a_damaged_backup_in_a_data_directory_starts_nothing_in_silence(kv, tmp_path):
    source = kv.node()
    fill(source, 1000)
    data = backup_of(source)
    for name, bad in (("cut", data[:-200]), ("flipped", data[:9000] + b"~" + data[9001:])):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "x.backup").write_bytes(bad)
        done = kv.run("--port", 0, "--data-dir", directory, deadline_s=20)
        assert done.returncode != 0 and "damage" in done.stderr, done
    directory = tmp_path / "packed"
    directory.mkdir()
    packed = subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout
    (directory / "x.zst").write_bytes(packed[:-100])
    done = kv.run("--port", 0, "--data-dir", directory)
    assert done.returncode == 1 and "cannot unpack the backup x.zst" in done.stderr
    assert (directory / "x.zst").read_bytes() == packed[:-100], "and is left as it was"


# --- periodic backups -----------------------------------------------------------------------------

def test_periodic_backups_are_made_and_the_oldest_go(kv, tmp_path):
    directory = tmp_path / "backups"
    directory.mkdir()
    other = directory / "simple-kv-other-20200101T000000Z.backup"
    unfinished = directory / "simple-kv-node1-20200101T000000Z.backup.part"
    for path in (other, unfinished):
        path.write_bytes(b"x")
    node = kv.node(backup_dir=directory, backup_interval="1s", backup_keep=2)
    assert not unfinished.exists()
    fill(node, 100)
    seen = set()

    def own():
        found = sorted(path.name for path in directory.glob("simple-kv-node1-*.backup"))
        seen.update(found)
        return found

    eventually(lambda: own() and len(seen) >= 4, 30, "four were made")
    eventually(lambda: own() == sorted(seen)[-2:], 10, "the last two are kept")
    assert re.fullmatch(r"simple-kv-node1-\d{8}T\d{6}Z\.backup", max(seen))
    assert File((directory / max(own())).read_bytes()).live()[b"key7"] == b"value7"
    assert other.exists(), "those of other nodes are left alone"
    info = node.info()
    assert int(info["last_backup"]) > time.time() - 60 and info["last_backup_error"] == "none"


def test_a_kill_during_a_periodic_backup_leaves_only_whole_ones_under_their_names(kv, tmp_path):
    directory = tmp_path / "b"
    node = ready(kv.node(data_dir=tmp_path / "data", backup_dir=directory, backup_interval="1s"))
    fill(node, 50000)
    killed_within = 0
    for _ in range(4):
        end = time.monotonic() + 30
        while not list(directory.glob("*.part")):  # without a pause: it takes milliseconds
            assert time.monotonic() < end, "no backup is begun"
        node.kill()
        unfinished = list(directory.glob("*.part"))
        killed_within += len(unfinished)
        for path in directory.glob("*.backup"):
            File(path.read_bytes())
        ready(node.start())
        assert not any(path.exists() for path in unfinished), "what was unfinished is removed"
    assert killed_within > 0


def test_an_empty_node_that_expects_peers_lets_no_empty_backup_push_out_others(kv, tmp_path):
    node = kv.node(peers=f"127.0.0.1:{free_ports(1)[0]}", backup_dir=tmp_path / "b",
                   backup_interval="1s")
    always(lambda: not list((tmp_path / "b").iterdir()), 3, "it waits for its data")
    node.cmd("SET", "k", "v")
    eventually(lambda: list((tmp_path / "b").glob("*.backup")), 20, "one is made")


def test_a_periodic_backup_that_fails_is_logged_and_tried_again(kv, tmp_path):
    directory = tmp_path / "backups"
    node = kv.node(backup_dir=directory, backup_interval="1s")
    fill(node, 10)
    eventually(lambda: list(directory.glob("*.backup")), 20, "the first is made")
    directory.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0)
    for path in (tmp_path / "elsewhere").iterdir():
        path.unlink()
    (tmp_path / "elsewhere").rmdir()
    node.wait_log(r"the periodic backup failed: .*; the earlier ones stay, the next try is in 1 s")
    assert node.info()["last_backup_error"] != "none" and node.number("backups_failed") >= 1
    assert node.cmd("PING") == "+PONG"


def test_a_backup_directory_that_cannot_be_used_ends_the_start(kv, tmp_path):
    (tmp_path / "file").write_text("")
    done = kv.run("--port", 0, "--backup-dir", tmp_path / "file")
    assert done.returncode == 1 and "--backup-dir: backup directory" in done.stderr
    done = kv.run("--port", 0, "--backup-dir", tmp_path / "d", "--data-dir", tmp_path / "d")
    assert done.returncode == 2 and "another directory than --data-dir" in done.stderr
