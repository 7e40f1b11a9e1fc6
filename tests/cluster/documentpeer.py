"""A peer written from docs/protocol.md, part 2, alone: the proof that one can be.

    Peer        what a node needs to know of itself to take part; dials and accepts
    Link        one connection to a node, from either side
    Delta       one that the node serves

Needs python3-xxhash (a Debian package).
"""

import select
import socket
import struct
import time

import xxhash

from kvtest import SLOWNESS, Closed

MAGIC = b"\x00KVP"
PARTITIONS, GROUPS = 4096, 64
(HELLO, REFUSED, HEARTBEAT, MEMBERS, STREAM, GAP, RECORDS, ACK_WANTED, DELTA_REQUEST, DELTA_BEGIN,
 DELTA_RECORDS, DELTA_LIST, DELTA_MARK, DELTA_END, DIGESTS_WANTED, DIGEST) = range(1, 17)
(REFUSED_VERSION, REFUSED_CLUSTER, REFUSED_NAME, REFUSED_SELF, REFUSED_FULL,
 REFUSED_CLOCK) = range(1, 7)
TOMBSTONE, EXPIRES = 1, 2
KEEPS_DISK = 1
REQUEST_EMPTY, REQUEST_SCRUB = 1, 2
BEGIN_CHECKED, BEGIN_BEHIND = 1, 2
U64 = (1 << 64) - 1


def checksum(data):
    return xxhash.xxh3_64_intdigest(data) & 0xffffffff


def frame(kind, payload=b""):
    guarded = {RECORDS: 16, DELTA_RECORDS: 0}.get(kind, len(payload))
    head = struct.pack("<IB3x", len(payload), kind)
    return struct.pack("<I", checksum(head + payload[:guarded])) + head + payload


def text(value):
    return struct.pack("<H", len(value)) + value


def vector(entries):
    return struct.pack("<I", len(entries)) + b"".join(
        struct.pack("<QQ", origin, stamp) for origin, stamp in sorted(entries.items()))


def read_vector(data):
    count = struct.unpack_from("<I", data)[0]
    return {origin: stamp for origin, stamp in
            (struct.unpack_from("<QQ", data, 4 + 16 * i) for i in range(count))}


def record(key, value, stamp, origin, flags=0, expires_ms=0):
    body = struct.pack("<IHBxQQ", len(value), len(key), flags, stamp, origin)
    body += struct.pack("<Q", expires_ms) if flags & EXPIRES else b""
    body += key + value
    return struct.pack("<I", checksum(body)) + body


def read_records(data):
    """{key: (value or None for a tombstone, stamp, origin)}; every checksum is verified."""
    found = {}
    while data:
        value_bytes, key_bytes, flags, stamp, origin = struct.unpack_from("<IHBxQQ", data, 4)
        start = 36 if flags & EXPIRES else 28
        end = start + key_bytes + value_bytes
        assert struct.unpack_from("<I", data)[0] == checksum(data[4:end])
        key, value = data[start:start + key_bytes], data[start + key_bytes:end]
        found[key] = (None if flags & TOMBSTONE else value, stamp, origin)
        data = data[end:]
    return found


def key_hash(key):
    return xxhash.xxh3_64_intdigest(key)


def partition(key):
    return key_hash(key) >> 52


def mix(a, b):
    z = (a + b * 0x9e3779b97f4a7c15) & U64
    z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & U64
    z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & U64
    return z ^ (z >> 31)


def partition_digests(live):
    """Of all partitions, from {key: (value, stamp, origin)}."""
    digests = [0] * PARTITIONS
    for key, (_, stamp, origin) in live.items():
        at = partition(key)
        digests[at] = (digests[at] + mix(key_hash(key), mix(origin, stamp))) & U64
    return digests


def group_digests(live):
    found, of_partitions = [], partition_digests(live)
    for start in range(0, PARTITIONS, PARTITIONS // GROUPS):
        digest = 0
        for one in of_partitions[start:start + PARTITIONS // GROUPS]:
            digest = mix(digest, one)
        found.append(digest)
    return found


def delta_request(entries, flags=0, first_group=0, digests=()):
    return struct.pack("<HHH", flags, first_group, len(digests) * GROUPS // PARTITIONS) + \
        vector(entries) + struct.pack(f"<{len(digests)}Q", *digests)


def delta_begin(entries, flags=0):
    return struct.pack("<H", flags) + vector(entries)


def delta_mark(partitions, listed=0):
    return struct.pack("<IH", partitions, listed)


def delta_end(dropped=None, forced_stamp=0):
    return struct.pack("<Q", forced_stamp) + vector(dropped or {})


def stamp_of_now():
    return int(time.time() * 1000) << 16


class Link:
    """One connection to a node, from either side."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(10 * SLOWNESS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def exactly(self, size):
        data = b""
        while len(data) < size:
            chunk = self.sock.recv(size - len(data))
            if not chunk:
                raise Closed(f"ended after {len(data)} of {size} bytes")
            data += chunk
        return data

    def send(self, kind, payload=b""):
        self.sock.sendall(frame(kind, payload))

    def receive(self):
        header = self.exactly(12)
        size, kind = struct.unpack_from("<IB3x", header, 4)
        payload = self.exactly(size)
        assert header + payload == frame(kind, payload), "the node's own checksum is as documented"
        return kind, payload

    def wait_for(self, *kinds):
        """The next frame of one of these types; others are passed over."""
        while True:
            kind, payload = self.receive()
            if kind in kinds:
                return kind, payload

    def waits(self, duration_s):
        """Whether nothing comes for so long."""
        return not select.select([self.sock], [], [], duration_s)[0]

    def ends(self):
        """Read until the node hangs up; the frames that came before, whole ones."""
        frames = []
        try:
            while True:
                frames.append(self.receive())
        except (Closed, ConnectionError):
            return frames


class Peer:
    """What a node needs to know of itself to take part."""

    def __init__(self, name=b"python", cluster=b"simple-kv", origin=0x70797468, version=2,
                 flags=0):
        self.name, self.cluster, self.origin, self.version = name, cluster, origin, version
        self.flags = flags
        self.vector, self.durable = {}, {}
        self.floor = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(15 * SLOWNESS)
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def hello(self):
        return (struct.pack("<HHQQQ", self.version, self.flags, self.origin, int(time.time() * 1000),
                            self.floor) +
                text(self.cluster) + text(self.name) + text(b"") + struct.pack("<H", self.port) +
                vector(self.vector))

    def heartbeat(self):
        return struct.pack("<Q", int(time.time() * 1000)) + vector(self.vector) + \
            vector(self.durable)

    def dial(self, node):
        """Open a connection as its sender and say HELLO."""
        link = Link(socket.create_connection((node.host, node.port)))
        link.sock.sendall(MAGIC + frame(HELLO, self.hello()))
        return link

    def dialled(self, node):
        """A connection on which the two have said HELLO to each other, and what the node said."""
        link = self.dial(node)
        kind, payload = link.receive()
        assert kind == HELLO
        return link, read_hello(payload)

    def accept(self):
        """The next connection from a node, as its receiver: both HELLOs done."""
        link = Link(self.listener.accept()[0])
        assert link.exactly(4) == MAGIC
        kind, payload = link.receive()
        assert kind == HELLO
        link.send(HELLO, self.hello())
        return link, read_hello(payload)


def read_hello(payload):
    version, flags, origin, wall_ms, floor = struct.unpack_from("<HHQQQ", payload)
    said, at = {"version": version, "flags": flags, "origin": origin, "wall_ms": wall_ms,
                "floor": floor}, 28
    for field in ("cluster", "name", "host"):
        size = struct.unpack_from("<H", payload, at)[0]
        said[field] = payload[at + 2:at + 2 + size]
        at += 2 + size
    said["port"] = struct.unpack_from("<H", payload, at)[0]
    said["vector"] = read_vector(payload[at + 2:])
    assert at + 2 + 4 + 16 * len(said["vector"]) == len(payload)
    return said


def read_members(payload):
    count, at, found = struct.unpack_from("<H", payload)[0], 2, {}
    for _ in range(count):
        fields = []
        for _ in range(2):
            size = struct.unpack_from("<H", payload, at)[0]
            fields.append(payload[at + 2:at + 2 + size])
            at += 2 + size
        found[fields[0]] = (fields[1], *struct.unpack_from("<HQ", payload, at))
        at += 10
    assert at == len(payload)
    return found


class Delta:
    """One that the node serves: what it says up to DELTA_END."""

    def __init__(self, link, kinds=(DELTA_RECORDS, DELTA_LIST, DELTA_MARK, DELTA_END)):
        payload = link.wait_for(DELTA_BEGIN)[1]
        self.flags, self.vector = struct.unpack_from("<H", payload)[0], read_vector(payload[2:])
        self.records, self.listed, self.partitions_listed, self.mark = {}, {}, set(), 0
        while (got := link.wait_for(*kinds))[0] != DELTA_END:
            self._take(*got)
        assert self.mark == PARTITIONS
        self.forced_stamp = struct.unpack_from("<Q", got[1])[0]
        self.dropped = read_vector(got[1][8:])

    def _take(self, kind, payload):
        if kind == DELTA_MARK:
            mark, listed = struct.unpack("<IH", payload)
            assert mark > self.mark and listed in (0, 1)
            self.partitions_listed |= {mark - 1} if listed else set()
            self.mark = mark
        elif kind == DELTA_LIST:
            for hashed, origin, stamp in struct.iter_unpack("<QQQ", payload):
                assert hashed >> 52 >= self.mark
                self.listed[hashed] = (origin, stamp)
        else:
            records = read_records(payload)
            assert all(partition(key) >= self.mark for key in records)
            self.records.update(records)

    @property
    def live(self):
        return {key: found for key, found in self.records.items() if found[0] is not None}


def stream_until(link, key, after):
    """Receive the stream until a record of that key; its value and the stamp it is through."""
    while True:
        _, payload = link.wait_for(RECORDS)
        begin, through = struct.unpack_from("<QQ", payload)
        assert begin == after and through >= begin, "the stream has no hole"
        records = read_records(payload[16:])
        stamps = [stamp for _, stamp, _ in records.values()]
        assert stamps == sorted(stamps) and all(begin < stamp <= through for stamp in stamps)
        after = through
        if key in records:
            return records[key], through


def stream_asked(node, peer):
    """A connection as sender, on which the node wants the whole stream."""
    link, _ = peer.dialled(node)
    assert struct.unpack("<Q", link.wait_for(STREAM)[1])[0] == 0
    return link


def told_until(link, *wanted):
    """Heartbeats until the node's vector has all of these (origin, stamp)."""
    told = {}
    while any(told.get(origin, 0) < stamp for origin, stamp in wanted):
        told.update(read_vector(link.wait_for(HEARTBEAT)[1][8:]))
    return told


def read_request(payload):
    flags, first_group, groups = struct.unpack_from("<HHH", payload)
    asked = read_vector(payload[6:])
    digests = payload[6 + 4 + 16 * len(asked):]
    assert len(digests) == 8 * groups * PARTITIONS // GROUPS
    return flags, first_group, groups, asked
