"""docs/file-format.md says what files hold: a reader written from it alone reads real ones."""

import re
import time

import pytest

from backupfile import BACKUP, SNAPSHOT, Damaged, File, VECTOR_MARK, END_MARK
from kvtest import REPOSITORY, eventually


def backup_of(node):
    with node.connect() as conn:
        conn.send(b"BACKUP\n")
        return conn.rest()


def fill(node):
    eventually(lambda: node.cmd("PING") == "+PONG", 10, "it has loaded")
    pairs = {f"key{i}".encode(): b"v" * (i % 50) for i in range(500)}
    node.write_many(pairs.items())
    with node.connect() as conn:
        assert conn.ask(rb'SET "\x00 \xff" binary') == b"OK"
        assert conn.ask(b"SETEX short 1000 lived") == b"OK"
        assert conn.ask(b"DEL key7 key8") == b"2"
    del pairs[b"key7"], pairs[b"key8"]
    return {**pairs, b"\x00 \xff": b"binary", b"short": b"lived"}


def test_a_backup_reads_as_the_document_says(kv):
    node = kv.node()
    expected, before_ms = fill(node), int(time.time() * 1000)
    data = backup_of(node)
    file = File(data)
    assert file.size == len(data), "nothing stands behind the end mark"
    assert file.live() == expected
    assert (file.kind, file.number, file.position) == (BACKUP, 0, 0)
    # The time of a turn of the loop may be that of the millisecond before.
    assert before_ms - 1 <= file.created_ms <= int(time.time() * 1000)
    origin = int(node.info()["origin"], 16)
    assert file.origin == origin and {record.origin for record in file.records} == {origin}
    expiring = {record.key: record.expires_ms for record in file.records if record.expires_ms}
    assert list(expiring) == [b"short"]
    assert before_ms + 900_000 < expiring[b"short"] <= int(time.time() * 1000) + 1_000_000
    assert {record.key for record in file.records if record.tombstone} == {b"key7", b"key8"}
    first, last = file.marks
    assert (first.type, last.type) == (VECTOR_MARK, END_MARK)
    assert max(record.stamp for record in file.records) <= first.vector[origin]
    assert last.vector == {} and first.records == 0


def test_a_snapshot_reads_as_the_document_says(kv, tmp_path):
    node = kv.node(data_dir=tmp_path / "data")
    expected = fill(node)
    assert node.cmd("SNAPSHOT") == "OK"
    eventually(lambda: node.number("snapshots") == 1, 10, "the snapshot is made")
    path, = (tmp_path / "data").glob("snapshot-????????????????")
    file = File(path.read_bytes())
    assert file.kind == SNAPSHOT and file.live() == expected
    assert file.number == int(path.name[-16:], 16)


def test_every_flipped_bit_of_a_backup_is_damage(kv):
    node = kv.node()
    node.cmd("SET", "k", "value")
    data = backup_of(node)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged):
            File(flipped)
    for size in range(len(data)):
        with pytest.raises(Damaged):
            File(data[:size])


def test_the_limits_in_the_document_are_those_of_the_headers():
    document = (REPOSITORY / "docs" / "file-format.md").read_text()
    header = "".join((REPOSITORY / "include" / "kv" / name).read_text()
                     for name in ("segment.h", "record.h", "vector.h"))

    def constant(name):
        return re.search(rf"#define {name}\s+\(?(\d+)u?", header).group(1)

    assert f"in version **{constant('SEGMENT_VERSION')}**" in document
    assert f"{constant('SEGMENT_HEADER_BYTES')} bytes:" in document
    assert constant("SEGMENT_PREFIX_BYTES") == "12"
    assert f"1 … {int(constant('RECORD_KEY_BYTES_MAX')):,}" in document
    assert f"0 … {int(constant('RECORD_VALUE_BYTES_MAX')) << 20:,} (512 MiB)" in document
    assert f"count             0 … {int(constant('VECTOR_ORIGINS_MAX')):,}" in document
    assert f"40 … {32 + 2 * 4 + 2 * 16 * int(constant('VECTOR_ORIGINS_MAX')):,}" in document
    longest = 28 + 8 + int(constant("RECORD_KEY_BYTES_MAX")) + (512 << 20)
    assert f"The longest record has {longest:,} bytes" in document
