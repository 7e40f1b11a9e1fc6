"""A reader of the files of simple-kv, written from docs/file-format.md alone.

Needs python3-xxhash (a Debian package).
"""

import struct

import xxhash

SEGMENT, SNAPSHOT, BACKUP = 1, 2, 3
VECTOR_MARK, END_MARK = 1, 2
TOMBSTONE, EXPIRES = 1, 2
HEADER_BYTES, MARK_FLAGS = 64, 0x80


class Damaged(ValueError):
    """What the document says damage is recognised by."""


def require(condition, what):
    if not condition:
        raise Damaged(what)


def checksum(data):
    return xxhash.xxh3_64_intdigest(data) & 0xffffffff


class Record:
    def __init__(self, data):
        self.value_bytes, self.key_bytes, self.flags, zero, self.stamp, self.origin = \
            struct.unpack_from("<IHBBQQ", data, 4)
        require(self.flags in (0, TOMBSTONE, EXPIRES) and zero == 0, "flags")
        require(self.key_bytes > 0 and self.value_bytes <= 512 << 20, "sizes")
        require(0 < self.stamp < 1 << 63 and self.origin > 0, "stamp")
        start = 36 if self.flags & EXPIRES else 28
        self.size = start + self.key_bytes + self.value_bytes
        require(self.size <= len(data), "cut off")
        require(struct.unpack_from("<I", data)[0] == checksum(data[4:self.size]), "checksum")
        self.expires_ms = struct.unpack_from("<Q", data, 28)[0] if self.flags & EXPIRES else 0
        self.key = bytes(data[start:start + self.key_bytes])
        self.value = bytes(data[start + self.key_bytes:self.size])
        self.tombstone = bool(self.flags & TOMBSTONE)


def read_vector(data):
    count = struct.unpack_from("<I", data)[0]
    require(count <= 65536 and 4 + 16 * count <= len(data), "vector")
    entries = [struct.unpack_from("<QQ", data, 4 + 16 * i) for i in range(count)]
    require(entries == sorted(set(entries)), "order of a vector")
    return dict(entries), 4 + 16 * count


class Mark:
    def __init__(self, data):
        payload_bytes, zero = struct.unpack_from("<IH", data, 4)
        self.size = 12 + payload_bytes
        require(40 <= payload_bytes <= 2097192 and zero == 0 and self.size <= len(data), "mark")
        require(struct.unpack_from("<I", data)[0] == checksum(data[4:self.size]), "checksum")
        self.type = data[11]
        self.position, self.synced, self.forced_stamp, self.records = \
            struct.unpack_from("<QQQQ", data, 12)
        self.vector, size = read_vector(data[44:self.size])
        self.dropped, rest = read_vector(data[44 + size:self.size])
        require(44 + size + rest == self.size, "size of a mark")


class File:
    """A backup or snapshot, verified: .kind, .number, .created_ms, .origin, .records, .marks."""

    def __init__(self, data):
        data = memoryview(data)
        require(len(data) >= HEADER_BYTES and data[:8] == b"SIMPLEKV", "magic")
        version, self.kind, self.number, self.position, self.created_ms, self.origin = \
            struct.unpack_from("<IIQQQQ", data, 8)
        require(version == 1 and self.kind in (SEGMENT, SNAPSHOT, BACKUP), "version, kind")
        require(bytes(data[48:60]) == bytes(12), "zeros")
        require(struct.unpack_from("<I", data, 60)[0] == checksum(data[:60]), "checksum")
        self.records, self.marks, at = [], [], HEADER_BYTES
        while not self.marks or self.marks[-1].type != END_MARK:
            require(at + 28 <= len(data), "no end mark")
            is_mark = data[at + 10] == MARK_FLAGS
            entry = (Mark if is_mark else Record)(data[at:])
            if is_mark:
                require(entry.position == at and entry.records == len(self.records), "a mark")
            (self.marks if is_mark else self.records).append(entry)
            at += entry.size
        self.size = at

    def live(self):
        """{key: value} of the greatest records that are no tombstones."""
        greatest = {}
        for record in self.records:
            old = greatest.get(record.key)
            if old is None or (old.stamp, old.origin) <= (record.stamp, record.origin):
                greatest[record.key] = record
        return {key: record.value for key, record in greatest.items() if not record.tombstone}
