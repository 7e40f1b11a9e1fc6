"""Damage to the files of a data directory: never loaded silently, and peers bring everything back.

KV_DAMAGE_ROUNDS   how many damages are tried
KV_DAMAGE_SEED     the seed of their places; printed, so that a run can be repeated
"""

import os
import random
import shutil

import pytest

from disktest import TINY, check, names, ready, restarted
from kvtest import SLOWNESS, eventually

SNAPSHOT_BY_HAND = {**TINY, "snapshot_size": "1GiB"}
ROUNDS = int(os.environ.get("KV_DAMAGE_ROUNDS", "24"))
SEED = int(os.environ.get("KV_DAMAGE_SEED", random.SystemRandom().randrange(1 << 32)))
KEYS = 800


class Damage:
    """One bit flipped, or a file cut off, at a random place of what was written."""

    def __init__(self, directory, source, cut=None):
        self.directory = directory
        files = [name for name in names(directory) if name.startswith(("journal-", "snapshot-"))
                 and self.data(name) > 100]
        self.name = source.choice(files)
        self.cut = source.random() < 0.4 if cut is None else cut
        self.offset = source.randrange(self.data(self.name))
        self.bit = source.randrange(8)
        # Behind the last mark that says so, nobody can know that there was more.
        self.may_be_silent = self.cut and self.name == names(directory, "journal-")[-1]

    def data(self, name):
        return len((self.directory / name).read_bytes().rstrip(b"\0"))

    def do(self):
        with open(self.directory / self.name, "r+b") as file:
            if self.cut:
                file.truncate(self.offset)
                return self
            file.seek(self.offset)
            byte = file.read(1)[0]
            file.seek(self.offset)
            file.write(bytes([byte ^ 1 << self.bit]))
        return self

    def __str__(self):
        what = "cut off" if self.cut else f"bit {self.bit} flipped"
        return f"{self.name} {what} at {self.offset}"


def write(node, source, count, prefix="k"):
    """Keys set and set again, some deleted."""
    with node.connect() as conn:
        lines = []
        for _ in range(count):
            key = b"%s%d" % (prefix.encode(), source.randrange(KEYS))
            lines.append(b"DEL " + key if source.random() < 0.25 else
                         b"SET %s %d-%s" % (key, source.getrandbits(40), b"x" * 100))
        replies = conn.pipeline(lines, window=50)
    assert set(replies) <= {b"OK", b"0", b"1"}


def written_directory(node, source):
    """The node, stopped, with a snapshot and several segments in its directory."""
    write(node, source, 1500)
    assert node.cmd("SNAPSHOT") == "OK"
    eventually(lambda: node.number("snapshots") > 0, 20, "a snapshot")
    write(node, source, 1500)


def assert_check_names(damage, directory):
    done = check(directory)
    assert done.returncode == 1, f"{damage}: --check ends with {done.returncode}: {done.stdout}"
    line = next(line for line in done.stdout.splitlines() if line.startswith("damage"))
    assert "at offset" in line, line
    if not damage.cut:  # a cut is seen where the next file begins
        assert damage.name in line, f"{damage}: {line}"
        found = int(line.split("at offset ")[1].split(":")[0])
        assert found <= damage.offset, f"{damage}: {line}"


def test_a_damaged_node_is_refilled_by_its_peers(kv, tmp_path):
    source = random.Random(SEED)
    print(f"seed {SEED}")
    options = {**SNAPSHOT_BY_HAND, "max_clock_drift": "500ms"}
    cluster = kv.cluster(2)
    directory, original = tmp_path / "data", tmp_path / "original"
    node = ready(kv.node(data_dir=directory, peers=cluster[0].address, **options))
    everybody = [*cluster, node]
    eventually(lambda: node.number("peers_linked") == 2, 20, "linked")
    written_directory(node, source)
    write(cluster[0], source, 500)
    cluster.wait_equal(nodes=everybody)
    eventually(lambda: node.number("disk_unsynced_bytes") == 0, 20, "all is synced")
    node.stop()
    shutil.copytree(directory, original)
    assert check(original).returncode == 0
    noticed = 0
    for number in range(ROUNDS):
        shutil.rmtree(directory)
        shutil.copytree(original, directory)
        damage = Damage(directory, source).do()
        if not damage.may_be_silent:
            assert_check_names(damage, directory)
        write(cluster[1], source, 20)  # what is deleted meanwhile must not come back either
        log_before = len(node.log())
        restarted(node)
        cluster.wait_equal(nodes=everybody)
        log = node.log()[log_before:]
        told = "is damaged" in log or "torn tail" in log
        assert told or damage.may_be_silent, f"{damage}: loaded silently: {log}"
        noticed += told
        if number % 4 == 0:  # and what it has written since is sound
            node.stop()
            assert check(directory).returncode == 0, damage
        else:
            node.kill()
    print(f"{ROUNDS} damages, {noticed} noticed, all refilled to equality")
    assert noticed > ROUNDS // 2


@pytest.mark.parametrize("number", range(4))
def test_without_peers_a_damaged_node_starts_only_to_salvage(kv, tmp_path, number):
    source = random.Random(SEED + number)
    print(f"seed {SEED}")
    directory = tmp_path / "data"
    node = ready(kv.node(data_dir=directory, **SNAPSHOT_BY_HAND))
    written_directory(node, source)
    with node.connect() as conn:
        keys = [line.encode() for line in conn.lines("KEYS", "*")]
        values = dict(zip(keys, conn.pipeline(b"GET " + key for key in keys)))
    node.stop()
    original = shutil.copytree(directory, tmp_path / "original")
    for _ in range(20):
        shutil.rmtree(directory)
        shutil.copytree(original, directory)
        damage = Damage(directory, source, cut=False).do()
        # The last mark of all vouches only for what is before it: nobody misses it.
        if "torn tail" not in check(directory).stdout:
            break
    assert_check_names(damage, directory)
    before = {name: (directory / name).read_bytes() for name in names(directory)}
    done = kv.run("--port", node.port, "--data-dir", directory, deadline_s=20)
    assert done.returncode == 1, f"{damage}: {done.stderr}"
    assert damage.name in done.stderr and "--salvage" in done.stderr, done.stderr
    assert {name: (directory / name).read_bytes() for name in names(directory)} == before
    node.options["salvage"] = True
    restarted(node)
    node.wait_log("is damaged at offset .*--salvage")
    with node.connect() as conn:
        found = conn.pipeline(b"GET " + key for key in keys)
    lost = sum(value != values[key] for key, value in zip(keys, found))
    assert lost <= len(keys) // 4, f"{damage}: {lost} of {len(keys)} keys are not as they were"
    # Once a snapshot has taken its place, the damaged file is put aside, and all is well again.
    eventually(lambda: names(directory, suffix=".damaged"), 20 * SLOWNESS, "it is put aside")
    node.options["salvage"] = None
    node.stop()
    assert check(directory).returncode == 0
    restarted(node)


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_what_was_synced_is_no_torn_tail_though_nothing_was_written_since(kv, tmp_path, fsync):
    directory = tmp_path / "data"
    node = ready(kv.node(data_dir=directory, fsync=fsync, **SNAPSHOT_BY_HAND))
    node.write_many((f"k{i}", "v" * 20) for i in range(500))
    segment = directory / names(directory, prefix="journal-")[-1]
    written = node.number("journal_bytes_on_disk")
    # After the sync a mark tells of it, and one more sync is the end of that.
    eventually(lambda: node.number("journal_bytes_on_disk") > written
               and node.number("disk_unsynced_bytes") == 0, 20 * SLOWNESS, "a mark tells of the sync")
    node.kill()
    content = bytearray(segment.read_bytes())
    content[written // 2] ^= 1
    segment.write_bytes(content)
    assert "torn tail" not in check(directory).stdout
    done = kv.run("--port", node.port, "--data-dir", directory, deadline_s=20)
    assert done.returncode == 1 and "--salvage" in done.stderr, done.stderr


def test_a_directory_of_other_files_is_not_begun_in(kv, tmp_path):
    (tmp_path / "some.txt").write_text("not ours")
    done = kv.run("--port", 0, "--data-dir", tmp_path, deadline_s=20)
    assert done.returncode == 1 and "some.txt, which is no backup" in done.stderr, done.stderr
    (tmp_path / "more.txt").write_text("nor this")
    done = kv.run("--port", 0, "--data-dir", tmp_path, deadline_s=20)
    assert done.returncode == 1 and "more than one other file" in done.stderr, done.stderr


def test_a_file_under_another_kinds_name_is_left_alone(kv, tmp_path):
    node = ready(kv.node(data_dir=tmp_path / "data"))
    node.cmd("SET", "key", "value")
    node.stop()
    other = tmp_path / "other"
    other.mkdir()
    content = (tmp_path / "data" / names(tmp_path / "data", prefix="journal-")[0]).read_bytes()
    snapshot = other / "snapshot-0000000000000001"
    snapshot.write_bytes(content)
    done = kv.run("--port", 0, "--data-dir", other, deadline_s=20)
    assert done.returncode == 1 and "is no snapshot by what it holds" in done.stderr, done.stderr
    assert snapshot.read_bytes() == content
