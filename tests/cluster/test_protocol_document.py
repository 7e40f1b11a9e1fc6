"""A peer written from docs/protocol.md, part 2, alone: the proof that one can be.

Needs python3-xxhash (a Debian package).
"""

import select
import socket
import struct
import threading
import time

import pytest
import xxhash

from kvtest import SLOWNESS, Closed, eventually

MAGIC = b"\x00KVP"
PARTITIONS = 4096
(HELLO, REFUSED, HEARTBEAT, MEMBERS, STREAM, GAP, RECORDS, ACK_WANTED, DELTA_REQUEST, DELTA_BEGIN,
 DELTA_RECORDS, DELTA_MARK) = range(1, 13)
REFUSED_VERSION, REFUSED_CLUSTER, REFUSED_NAME, REFUSED_SELF, REFUSED_FULL = range(1, 6)
TOMBSTONE, EXPIRES = 1, 2


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


def partition(key):
    return xxhash.xxh3_64_intdigest(key) >> 52


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

    def __init__(self, name=b"python", cluster=b"simple-kv", origin=0x70797468, version=1):
        self.name, self.cluster, self.origin, self.version = name, cluster, origin, version
        self.vector = {}
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
        return (struct.pack("<HHQQQ", self.version, 0, self.origin, int(time.time() * 1000),
                            self.floor) +
                text(self.cluster) + text(self.name) + text(b"") + struct.pack("<H", self.port) +
                vector(self.vector))

    def heartbeat(self):
        return struct.pack("<Q", int(time.time() * 1000)) + vector(self.vector)

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
    version, zero, origin, wall_ms, floor = struct.unpack_from("<HHQQQ", payload)
    said, at = {"version": version, "zero": zero, "origin": origin, "wall_ms": wall_ms,
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
        found[fields[0]] = (fields[1], struct.unpack_from("<H", payload, at)[0])
        at += 2
    assert at == len(payload)
    return found


@pytest.fixture
def peer():
    with Peer() as made:
        yield made


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


# --- receiving ---------------------------------------------------------------------------------


def test_a_node_says_who_it_is(kv, peer):
    node = kv.node("first", peers=peer.address)
    link, said = peer.accept()
    with link:
        assert (said["version"], said["zero"], said["cluster"]) == (1, 0, b"simple-kv")
        assert (said["name"], said["host"], said["port"]) == (b"first", b"", node.port)
        assert said["origin"] == int(node.info()["origin"], 16)
        assert abs(said["wall_ms"] - time.time() * 1000) < 5000 * SLOWNESS
        assert said["floor"] == 0 and said["origin"] in said["vector"]
        assert read_members(link.wait_for(MEMBERS)[1])[b"python"] == (b"127.0.0.1", peer.port)


def test_its_writes_are_streamed_in_order(kv, peer):
    node = kv.node(peers=peer.address)
    node.cmd("SET", "early", "before the link")
    link, said = peer.accept()
    with link:
        link.send(STREAM, struct.pack("<Q", 0))
        got, through = stream_until(link, b"early", 0)
        assert got[0] == b"before the link" and got[2] == said["origin"]
        node.cmd("SET", "late", "two words")
        got, through = stream_until(link, b"late", through)
        assert got[0] == b"two words"
        node.cmd("DEL", "late")
        got, through = stream_until(link, b"late", through)
        assert got[0] is None
        before = time.monotonic()
        _, payload = link.wait_for(RECORDS)
        assert len(payload) == 16, "while nothing is written, the stream moves on without records"
        assert time.monotonic() - before < 2 * SLOWNESS


def test_a_stream_that_is_not_in_the_ring_any_more_is_answered_by_gap(kv, peer):
    node = kv.node(peers=peer.address, journal_memory="1MiB")
    link, said = peer.accept()
    with link:
        assert said["floor"] == 0
        for i in range(30):
            node.cmd("SET", f"k{i}", "v" * 50_000)
        link.send(STREAM, struct.pack("<Q", 0))
        floor = struct.unpack("<Q", link.wait_for(GAP)[1])[0]
        assert floor > 0
        link.send(STREAM, struct.pack("<Q", floor))
        stream_until(link, b"k29", floor)


def test_what_is_missing_comes_by_a_delta(kv, peer):
    node = kv.node()
    node.write_many((f"key{i}", f"value{i}") for i in range(3000))
    node.cmd("DEL", "key7")
    with peer.dialled(node)[0]:  # from this it learns where to dial
        link, said = peer.accept()
        with link:
            assert said["floor"] > 0, "alone, it need not remember its writes"
            link.send(DELTA_REQUEST, vector({}))
            theirs = read_vector(link.wait_for(DELTA_BEGIN)[1])
            received, mark = {}, 0
            while mark < PARTITIONS:
                kind, payload = link.wait_for(DELTA_RECORDS, DELTA_MARK)
                if kind == DELTA_MARK:
                    assert struct.unpack("<I", payload)[0] > mark
                    mark = struct.unpack("<I", payload)[0]
                else:
                    records = read_records(payload)
                    assert all(partition(key) >= mark for key in records)
                    received.update(records)
            assert len(received) == 3000 and received[b"key7"][0] is None
            assert received[b"key8"] == (b"value8", *received[b"key8"][1:])
            assert all(theirs[origin] >= stamp for _, stamp, origin in received.values())
            node.cmd("SET", "live", "from here on")
            got, _ = stream_until(link, b"live", theirs[said["origin"]])
            assert got[0] == b"from here on"


def test_a_confirmation_releases_a_reply_that_waits_for_it(kv, peer):
    node = kv.node(peers=peer.address, min_acks=1, ack_timeout="60s")
    link, said = peer.accept()
    replies = []
    with link, node.connect() as client:
        link.send(STREAM, struct.pack("<Q", 0))
        asking = threading.Thread(target=lambda: replies.append(client.cmd("SET", "k", "v")))
        asking.start()
        _, through = stream_until(link, b"k", 0)
        link.wait_for(ACK_WANTED)
        asking.join(0.3)
        assert replies == [], "it waits"
        peer.vector[said["origin"]] = through
        link.send(HEARTBEAT, peer.heartbeat())
        asking.join(10 * SLOWNESS)
        assert replies == ["OK"]
        assert client.cmd("WAIT", "1", "0") == "1"


# --- sending -----------------------------------------------------------------------------------


def stream_asked(node, peer):
    """A connection as sender, on which the node wants the whole stream."""
    link, _ = peer.dialled(node)
    assert struct.unpack("<Q", link.wait_for(STREAM)[1])[0] == 0
    return link


def test_a_record_that_is_sent_is_there_and_is_confirmed(kv, peer):
    node = kv.node()
    stamp = stamp_of_now()
    peer.vector = {peer.origin: stamp}
    link, _ = peer.dialled(node)
    with link:
        _, payload = link.wait_for(STREAM, DELTA_REQUEST)
        assert struct.unpack("<Q", payload)[0] == 0
        sent = record(b"a key\n", b"a value", stamp, peer.origin)
        link.send(RECORDS, struct.pack("<QQ", 0, stamp) + sent)
        link.send(ACK_WANTED)
        while read_vector(link.wait_for(HEARTBEAT)[1][8:]).get(peer.origin) != stamp:
            pass
        assert node.cmd("GET", r'"a key\x0a"') == "a value"
        gone = record(b"a key\n", b"", stamp + 1, peer.origin, TOMBSTONE)
        soon = record(b"soon gone", b"v", stamp + 2, peer.origin, EXPIRES, (stamp >> 16) + 3600_000)
        link.send(RECORDS, struct.pack("<QQ", stamp, stamp + 2) + gone + soon)
        eventually(lambda: node.cmd("GET", r'"a key\x0a"') == "NOT_FOUND", 5, "it is deleted")
        assert 3590 <= int(node.cmd("TTL", '"soon gone"')) <= 3600


def test_the_greater_record_wins_whatever_comes_first(kv, peer):
    node = kv.node()
    stamp = stamp_of_now()
    peer.vector = {peer.origin: stamp}
    link, _ = peer.dialled(node)
    with link:
        link.wait_for(STREAM)
        node.cmd("SET", "contested", "of the node")
        old = record(b"contested", b"older", stamp - (1 << 30), peer.origin)
        new = record(b"other", b"x", stamp, peer.origin)
        link.send(RECORDS, struct.pack("<QQ", 0, stamp) + old + new)
        eventually(lambda: node.cmd("GET", "other") == "x", 5, "both have come")
        assert node.cmd("GET", "contested") == "of the node"
        later = stamp_of_now() + (1000 << 16)
        link.send(RECORDS, struct.pack("<QQ", stamp, later) +
                  record(b"contested", b"newer", later, peer.origin))
        eventually(lambda: node.cmd("GET", "contested") == "newer", 5, "the newer wins")


def test_a_delta_that_is_served_is_merged(kv, peer):
    node = kv.node()
    stamp, past = stamp_of_now(), 0x70617374
    peer.vector = {peer.origin: stamp, past: stamp - 5}
    peer.floor = stamp
    link, _ = peer.dialled(node)
    with link:
        asked = read_vector(link.wait_for(STREAM, DELTA_REQUEST)[1])
        assert peer.origin not in asked and past not in asked
        link.send(DELTA_BEGIN, vector(peer.vector))
        mine = {b"own": peer.origin, b"somebody's": past}
        for key in sorted(mine, key=partition):
            link.send(DELTA_RECORDS, record(key, b"value", stamp - 5, mine[key]))
            link.send(DELTA_MARK, struct.pack("<I", partition(key) + 1))
        link.send(RECORDS, struct.pack("<QQ", stamp, stamp + 9) +
                  record(b"meanwhile", b"live", stamp + 9, peer.origin))
        link.send(DELTA_MARK, struct.pack("<I", PARTITIONS))
        told = {}
        while told.get(peer.origin, 0) < stamp + 9 or told.get(past) != stamp - 5:
            told.update(read_vector(link.wait_for(HEARTBEAT)[1][8:]))
        assert [node.cmd("GET", key) for key in ("own", "somebody's", "meanwhile")] == \
            ["value", "value", "live"]
        link.send(HEARTBEAT, peer.heartbeat())
        eventually(lambda: node.number("deltas_received") == 1, 5, "one delta")


def test_gap_and_delta_request_may_cross(kv, peer):
    node = kv.node()
    stamp, past = stamp_of_now(), 0x70617374
    with stream_asked(node, peer) as link:
        link.send(RECORDS, struct.pack("<QQ", 0, stamp))
        peer.vector = {peer.origin: stamp, past: 7}
        link.send(HEARTBEAT, peer.heartbeat())
        asked = read_vector(link.wait_for(DELTA_REQUEST)[1])  # ahead of it for 2 s
        assert asked[peer.origin] == stamp and past not in asked
        link.send(GAP, struct.pack("<Q", stamp + 5))
        peer.vector[peer.origin] = stamp + 6
        link.send(DELTA_BEGIN, vector(peer.vector))
        link.send(RECORDS, struct.pack("<QQ", stamp + 6, stamp + 7) +
                  record(b"live", b"v", stamp + 7, peer.origin))
        link.send(DELTA_MARK, struct.pack("<I", PARTITIONS))
        told = {}
        while told.get(peer.origin, 0) < stamp + 7 or told.get(past) != 7:
            told.update(read_vector(link.wait_for(HEARTBEAT)[1][8:]))
        assert node.cmd("GET", "live") == "v"


def test_a_covered_record_of_an_absent_key_is_discarded(kv, peer):
    node = kv.node()
    stamp = stamp_of_now()
    peer.vector = {peer.origin: stamp}
    link, _ = peer.dialled(node)
    with link:
        link.wait_for(STREAM)
        link.send(RECORDS, struct.pack("<QQ", 0, stamp))
        again = record(b"long deleted", b"zombie", stamp - 1, peer.origin)
        link.send(RECORDS, struct.pack("<QQ", stamp - 2, stamp) + again)
        link.send(RECORDS, struct.pack("<QQ", stamp, stamp + 1) +
                  record(b"new", b"v", stamp + 1, peer.origin))
        eventually(lambda: node.cmd("GET", "new") == "v", 5, "all have come")
        assert node.cmd("COUNT") == "1"


def test_heartbeats_come_and_the_members_are_told_of_each_other(kv, peer):
    node = kv.node()
    with peer.dialled(node)[0] as link, Peer(b"third", origin=3) as third:
        assert read_members(link.wait_for(MEMBERS)[1])[b"python"][1] == peer.port
        wall_ms = struct.unpack_from("<Q", link.wait_for(HEARTBEAT)[1])[0]
        assert abs(wall_ms - time.time() * 1000) < 5000 * SLOWNESS
        link.send(MEMBERS, struct.pack("<H", 1) + text(b"third") + text(b"127.0.0.1") +
                  struct.pack("<H", third.port))
        with third.accept()[0]:
            assert read_members(link.wait_for(MEMBERS)[1])[b"third"] == (b"127.0.0.1", third.port)


# --- refusals ----------------------------------------------------------------------------------


def refusal(link):
    kind, payload = link.receive()
    assert kind == REFUSED
    code, size = struct.unpack_from("<HH", payload)
    assert len(payload) == 4 + size
    assert link.ends() == []
    return code, payload[4:].decode()


@pytest.mark.parametrize("code,wrong", [
    (REFUSED_VERSION, {"version": 2}), (REFUSED_VERSION, {"version": 0}),
    (REFUSED_CLUSTER, {"cluster": b"other"}), (REFUSED_NAME, {"name": b"first"})])
def test_a_stranger_is_refused_with_the_code_of_his_fault(kv, code, wrong):
    node = kv.node("first")
    with Peer(**wrong) as peer, peer.dial(node) as link:
        got, reason = refusal(link)
    assert got == code and reason
    assert node.peers() == []


@pytest.mark.parametrize("code,wrong", [
    (REFUSED_VERSION, {"version": 2}), (REFUSED_CLUSTER, {"cluster": b"other"}),
    (REFUSED_NAME, {"name": b"first"})])
def test_a_node_that_dials_a_stranger_refuses_likewise(kv, code, wrong):
    with Peer(**wrong) as peer:
        node = kv.node("first", peers=peer.address)
        with peer.accept()[0] as link:
            got, reason = refusal(link)
        assert got == code and reason
        assert node.number("members") == 0


def test_of_another_version_only_the_first_two_bytes_are_read(kv):
    node = kv.node()
    with Link(socket.create_connection((node.host, node.port))) as link:
        link.sock.sendall(MAGIC + frame(HELLO, struct.pack("<H", 7)))
        assert refusal(link)[0] == REFUSED_VERSION


def test_a_node_that_meets_itself_is_told_so(kv):
    node = kv.node("first")
    with Peer(b"first", origin=int(node.info()["origin"], 16)) as peer, peer.dial(node) as link:
        assert refusal(link)[0] == REFUSED_SELF


def test_a_name_that_another_run_has_now_is_refused(kv, peer):
    node = kv.node()
    with peer.dialled(node)[0], Peer(origin=peer.origin + 1) as other:
        with other.dial(node) as link:
            assert refusal(link)[0] == REFUSED_NAME


def test_there_is_room_for_so_many_members(kv, peer):
    node = kv.node()
    with peer.dialled(node)[0] as link:
        link.send(MEMBERS, struct.pack("<H", 127) + b"".join(
            text(b"m%d" % i) + text(b"") + bytes(2) for i in range(127)))
        eventually(lambda: node.number("members") == 128, 5, "they are known")
        with Peer(b"one-more", origin=5) as other, other.dial(node) as refused:
            assert refusal(refused)[0] == REFUSED_FULL
        with Peer(b"m5", origin=5) as known:
            known.dialled(node)[0].sock.close()


# --- what breaks the rules ---------------------------------------------------------------------


def test_a_flipped_bit_is_never_merged(kv, peer):
    node = kv.node()
    good = frame(RECORDS, struct.pack("<QQ", 0, 1000) + record(b"key", b"value", 1000, peer.origin))
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        with stream_asked(node, peer) as link:
            link.sock.sendall(bad)
            link.sock.shutdown(socket.SHUT_WR)
            link.ends()
        assert node.cmd("COUNT") == "0", f"byte {position}"
    with stream_asked(node, peer) as link:
        link.sock.sendall(good)
        eventually(lambda: node.cmd("GET", "key") == "value", 5, "intact, it is merged")


@pytest.mark.parametrize("bad", [
    lambda peer: frame(13),
    lambda peer: frame(REFUSED, bytes(4)),
    lambda peer: frame(STREAM, bytes(8)),
    lambda peer: frame(DELTA_MARK, struct.pack("<I", 1)),
    lambda peer: frame(DELTA_BEGIN, vector({})),
    lambda peer: frame(ACK_WANTED, b"x"),
    lambda peer: frame(HEARTBEAT, bytes(8) + struct.pack("<I", 1)),
    lambda peer: frame(HEARTBEAT, bytes(8) + struct.pack("<IQQQQ", 2, 9, 1, 8, 1)),
    lambda peer: frame(HEARTBEAT, bytes(8) + struct.pack("<IQQ", 1, 9, 0)),
    lambda peer: frame(HELLO, peer.hello()),
    lambda peer: frame(RECORDS, struct.pack("<QQ", 0, 9) + record(b"k", b"v", 9, peer.origin + 1)),
    lambda peer: frame(RECORDS, struct.pack("<QQ", 0, 9) + record(b"k", b"v", 10, peer.origin)),
    lambda peer: frame(RECORDS, struct.pack("<QQ", 5, 9) + record(b"k", b"v", 5, peer.origin)),
    lambda peer: frame(RECORDS, struct.pack("<QQ", 0, 9) + record(b"", b"v", 9, peer.origin)),
    lambda peer: frame(RECORDS, struct.pack("<QQ", 0, 9) +
                       record(b"k", b"v", 9, peer.origin, TOMBSTONE)),
    lambda peer: frame(RECORDS, struct.pack("<QQ", 0, 9) +
                       record(b"k", b"", 9, peer.origin, TOMBSTONE | EXPIRES, 7)),
    lambda peer: frame(RECORDS, struct.pack("<QQ", 0, 9) +
                       record(b"k", b"v", 9, peer.origin, EXPIRES, 0)),
    lambda peer: frame(RECORDS, struct.pack("<QQ", 0, 9) + record(b"k", b"v", 9, peer.origin)[:-1]),
])
def test_a_frame_against_the_rules_ends_the_connection(kv, peer, bad):
    node = kv.node()
    with stream_asked(node, peer) as link:
        link.sock.sendall(bad(peer))
        link.ends()
    assert node.cmd("COUNT") == "0"


def test_nothing_but_hello_may_come_first(kv, peer):
    node = kv.node()
    with Link(socket.create_connection((node.host, node.port))) as link:
        link.sock.sendall(MAGIC + frame(HEARTBEAT, peer.heartbeat()))
        assert link.ends() == []


def test_a_record_from_the_far_future_ends_the_connection(kv, peer):
    node = kv.node()
    for hours, merged in ((25, False), (23, True)):
        stamp = stamp_of_now() + (hours * 3600_000 << 16)
        with stream_asked(node, peer) as link:
            link.send(RECORDS, struct.pack("<QQ", 0, stamp) +
                      record(b"future", b"v", stamp, peer.origin))
            link.send(ACK_WANTED)
            if merged:
                eventually(lambda: node.cmd("EXISTS", "future") == "1", 5, "it is merged")
            else:
                link.ends()
                assert node.cmd("EXISTS", "future") == "0"


def test_a_hole_in_the_stream_ends_the_connection(kv, peer):
    node = kv.node()
    with stream_asked(node, peer) as link:
        link.send(RECORDS, struct.pack("<QQ", 100, 200))
        link.send(RECORDS, struct.pack("<QQ", 300, 400))
        link.ends()


def test_a_second_delta_at_a_time_ends_the_connection(kv, peer):
    node = kv.node(peers=peer.address)
    node.cmd("SET", "k", "v")
    with peer.accept()[0] as link:
        link.sock.sendall(frame(DELTA_REQUEST, vector({})) * 2)
        link.ends()


def test_silence_ends_the_connection_after_5_s(kv, peer):
    node = kv.node()
    with peer.dialled(node)[0] as link:
        started = time.monotonic()
        link.ends()
        assert 4 < time.monotonic() - started < 7 * SLOWNESS
    assert node.cmd("PING") == "+PONG"
