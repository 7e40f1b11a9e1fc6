"""Peer frames that no node would send: each ends the link it came by, and nothing else."""

import contextlib
import socket
import struct

import pytest

import peerwire as wire
from kvtest import MIB, SANITIZED, eventually, free_ports

RSS_SLACK_BYTES = 100 * MIB if SANITIZED else 8 * MIB
U32_MAX, U64_MAX = 0xffffffff, 0xffffffffffffffff
FLOOR = 1000  # where the streams of these peers begin


@pytest.fixture
def node(kv):
    node = kv.node()
    node.cmd("PING")
    return node


def dial(node, **options):
    """A peer past the handshake whose stream the node has asked for."""
    peer = wire.Peer(node.connect())
    peer.send(wire.MAGIC + wire.hello(**options))
    assert peer.receive()[0] == wire.HELLO
    return peer


def streaming(node, **options):
    peer = dial(node, **options)
    after = struct.unpack("<Q", peer.receive(wire.STREAM)[1])[0]
    if after < FLOOR:
        peer.send(wire.records(after, FLOOR))
    return peer


def in_good_health(node, memory):
    assert node.cmd("SET", "health", "good") == "OK"
    assert node.cmd("GET", "health") == "good"
    assert node.rss_bytes() - memory < RSS_SLACK_BYTES


def test_a_peer_by_hand_can_link_and_replicate(node):
    stamp = wire.stamp_now()
    with streaming(node) as peer:
        assert node.peer(name="byhand")["origin"] == "0000000000001234"
        peer.send(wire.records(FLOOR, stamp, wire.record(b"k", b"by hand", stamp)))
        eventually(lambda: node.cmd("GET", "k") == "by hand", 5, "the record is merged")
        peer.send(wire.records(stamp, stamp + 1,
                               wire.record(b"k", b"", stamp + 1, flags=wire.TOMBSTONE)))
        eventually(lambda: node.cmd("GET", "k") == "NOT_FOUND", 5, "the tombstone is merged")
        peer.send(wire.heartbeat())
        peer.receive(wire.HEARTBEAT)


def test_an_older_record_does_not_win(node):
    node.cmd("SET", "k", "newer")
    stamp = wire.stamp_now(ahead_ms=-60_000)
    with streaming(node) as peer:
        peer.send(wire.records(FLOOR, stamp + 1, wire.record(b"k", b"older", stamp),
                               wire.record(b"mark", b"", stamp + 1)))
        eventually(lambda: node.cmd("EXISTS", "mark") == "1", 5, "the records are merged")
    assert node.cmd("GET", "k") == "newer"


@pytest.mark.parametrize("version", [0, 1, 3, 0xffff])
def test_another_protocol_version_is_refused_with_a_reason(node, version):
    with wire.Peer(node.connect()) as peer:
        peer.send(wire.MAGIC + wire.hello(version=version))
        kind, payload = peer.receive()
        assert kind == wire.REFUSED and b"version" in payload
        assert peer.ended()
    node.wait_log("refused.*version")
    assert node.peers() == []


def test_another_protocol_version_that_answers_is_refused_with_a_reason(kv):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        node = kv.node(peers=address)
        for _ in range(2):
            with wire.Peer(listener.accept()[0]) as peer:
                peer.skip_magic()
                assert peer.receive()[0] == wire.HELLO
                peer.send(wire.hello(version=3))
                assert peer.ended()
        peer = eventually(lambda: node.peer(state="refused"), 5, "the state is told")
        assert "version" in peer["reason"]
        node.wait_log("version")


@pytest.mark.parametrize("options", [
    {"name": b""}, {"name": b"two words"}, {"name": b"line\nbreak"}, {"name": b"x" * 65},
    {"name": b"\xff"}, {"name": b"a=b"}, {"name": b"\x00"}, {"cluster": b""}, {"origin": 0},
    {"host": b"a b"}, {"host": b"a\nb"}, {"host": b"h" * 300}, {"known": [(0, 5)]},
    {"known": [(5, 0)]}, {"known": [(5, 5), (5, 6)]}, {"known": [(6, 5), (5, 5)]},
], ids=repr)
def test_a_malformed_hello_is_not_let_in(node, options):
    with wire.Peer(node.connect()) as peer:
        peer.send(wire.MAGIC + wire.hello(**options))
        assert peer.ended()
    assert node.peers() == []


def test_a_hello_that_is_cut_inside_its_frame_is_not_let_in(node):
    whole = wire.hello(known=[(5, 5), (6, 6)])[12:]
    for size in range(len(whole)):
        with wire.Peer(node.connect()) as peer:
            peer.send(wire.MAGIC + wire.frame(wire.HELLO, whole[:size]))
            assert peer.ended()
    assert node.peers() == []


def test_a_vector_that_promises_more_than_it_holds_is_not_let_in(node):
    memory = node.rss_bytes()
    payload = wire.hello()[12:-4]
    for count in (1, 65536, 65537, U32_MAX):
        with wire.Peer(node.connect()) as peer:
            peer.send(wire.MAGIC + wire.frame(wire.HELLO, payload + struct.pack("<I", count)))
            assert peer.ended()
    in_good_health(node, memory)


@pytest.mark.parametrize("kind", [0, *wire.TYPES, wire.DIGEST + 1, 255])
def test_an_oversized_frame_ends_the_link_before_its_payload_comes(node, kind):
    memory = node.rss_bytes()
    with wire.Peer(node.connect()) as peer:
        peer.send(wire.MAGIC + wire.header(kind, U32_MAX))
        assert peer.ended()
    with streaming(node) as peer:
        peer.send(wire.header(kind, U32_MAX))
        assert peer.ended()
    in_good_health(node, memory)


def test_a_large_frame_costs_memory_only_as_it_comes(node):
    memory = node.rss_bytes()
    with streaming(node) as peer:
        peer.send(wire.header(wire.RECORDS, 400 * MIB) + b"x" * MIB)
        assert node.cmd("PING") == "+PONG"
        in_good_health(node, memory)
    eventually(lambda: node.number("peers_linked") == 0, 5, "the link is gone")


@pytest.mark.parametrize("kind", wire.TYPES)
def test_a_frame_in_the_wrong_place_ends_the_link(node, kind):
    payload = {wire.HELLO: wire.hello()[12:], wire.STREAM: bytes(8), wire.GAP: bytes(8),
               wire.HEARTBEAT: wire.heartbeat()[12:], wire.MEMBERS: bytes(2),
               wire.REFUSED: struct.pack("<H", 2) + wire.text(b"no") + wire.text(b"byhand"),
               wire.RECORDS: bytes(16), wire.DELTA_REQUEST: bytes(6) + wire.vector(),
               wire.DELTA_BEGIN: bytes(2) + wire.vector(),
               wire.DELTA_RECORDS: wire.record(b"k", b"v", 5), wire.DELTA_LIST: bytes(24),
               wire.DELTA_MARK: struct.pack("<IH", 7, 0), wire.DELTA_END: bytes(8) + wire.vector(),
               wire.DIGEST: bytes(512)}.get(kind, b"")
    if kind != wire.HELLO:  # before the handshake
        with wire.Peer(node.connect()) as peer:
            peer.send(wire.MAGIC + wire.frame(kind, payload))
            assert peer.ended()
    if kind in (wire.HEARTBEAT, wire.MEMBERS, wire.RECORDS, wire.GAP, wire.ACK_WANTED, wire.DIGEST):
        return  # what a dialling peer may say after it
    with streaming(node) as peer:
        peer.send(wire.frame(kind, payload))
        assert peer.ended()
    assert node.cmd("COUNT") == "0"


def test_a_frame_with_a_wrong_checksum_ends_the_link_with_a_reason(node):
    damaged = bytearray(wire.heartbeat([(5, 5)]))
    for position in (0, 3, 12, len(damaged) - 1):
        damaged[position] ^= 1
        with streaming(node) as peer:
            peer.send(bytes(damaged))
            assert peer.ended()
    node.wait_log("damaged")


def test_a_frame_cut_by_the_end_of_the_connection_changes_nothing(node):
    stamp = wire.stamp_now()
    whole = wire.records(FLOOR, stamp, wire.record(b"k", b"v" * 50, stamp))
    for size in range(1, len(whole)):
        with streaming(node) as peer:
            peer.send(whole[:size])
            peer.sock.shutdown(socket.SHUT_WR)
            assert peer.ended()
    assert node.cmd("COUNT") == "0"


def test_frames_may_come_byte_by_byte(node):
    stamp = wire.stamp_now()
    with wire.Peer(node.connect()) as peer:
        for byte in wire.MAGIC + wire.hello():
            peer.send(bytes([byte]))
        peer.receive(wire.STREAM)
        for byte in wire.records(0, stamp, wire.record(b"k", b"v", stamp)):
            peer.send(bytes([byte]))
        eventually(lambda: node.cmd("GET", "k") == "v", 5, "the record is merged")


STAMP = wire.stamp_now()
BAD_RECORDS = {
    "empty key": wire.record(b"", b"v", STAMP),
    "no stamp": wire.record(b"k", b"v", 0),
    "no origin": wire.record(b"k", b"v", STAMP, origin=0),
    "another's origin": wire.record(b"k", b"v", STAMP, origin=0x9999),
    "stamp after the frame's end": wire.record(b"k", b"v", STAMP + 1),
    "stamp before the frame's start": wire.record(b"k", b"v", FLOOR),
    "unknown flag": wire.record(b"k", b"v", STAMP, flags=4),
    "tombstone with a value": wire.record(b"k", b"v", STAMP, flags=wire.TOMBSTONE),
    "tombstone with an expiry": wire.record(b"k", b"", STAMP, flags=3, expires_ms=1),
    "expiry of zero": wire.record(b"k", b"v", STAMP, flags=wire.EXPIRES, expires_ms=0),
    "longer key than frame": wire.record(b"k", b"v", STAMP, key_bytes=60000),
    "longer value than frame": wire.record(b"k", b"v", STAMP, value_bytes=100),
    "value over every limit": wire.record(b"k", b"v", STAMP, value_bytes=U32_MAX),
    "half a header": wire.record(b"k", b"v", STAMP)[:14],
    "wrong checksum": b"\x00" + wire.record(b"k", b"v", STAMP)[1:],
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_bad_record_ends_the_link_and_is_not_merged(node, name):
    with streaming(node) as peer:
        peer.send(wire.records(FLOOR, STAMP, BAD_RECORDS[name]))
        assert peer.ended()
    assert node.cmd("COUNT") == "0"


def test_a_stream_with_a_hole_ends_the_link(node):
    stamp = wire.stamp_now()
    with streaming(node) as peer:
        peer.send(b"".join(wire.records(at + 50, at + 60, wire.record(b"k", b"v", at + 55))
                           for at in (stamp, stamp + 100, stamp + 200)))
        assert peer.ended()


@pytest.mark.parametrize("stamp", [U64_MAX, U64_MAX - 1, wire.stamp_now(ahead_ms=10 ** 12)],
                         ids=["last", "last but one", "in thirty years"])
def test_a_stamp_from_the_far_future_does_not_take_the_node_down(node, stamp):
    with streaming(node) as peer:
        peer.send(wire.records(FLOOR, stamp, wire.record(b"k", b"v", stamp))
                  + wire.heartbeat([(0x77, stamp), (0x1234, stamp)])
                  + wire.frame(wire.GAP, struct.pack("<Q", U64_MAX)))
        for turn in range(20):
            node.cmd("SET", "mine", turn)
    assert node.cmd("SET", "mine", "last").startswith(("OK", "ERROR"))
    assert node.cmd("PING") == "+PONG"


def test_a_flood_of_members_is_bounded(node):
    memory = node.rss_bytes()
    with streaming(node) as peer:
        for turn in range(20):
            peer.send(wire.members((b"m%d-%d" % (turn, i), b"127.0.0.1", 1) for i in range(200)))
        peer.send(wire.heartbeat())
        peer.receive(wire.HEARTBEAT)
        assert len(node.peers()) <= 256
    in_good_health(node, memory)


@pytest.mark.parametrize("members", [
    wire.frame(wire.MEMBERS, b"\xff\xff"), wire.members([(b"", b"h", 1)]),
    wire.members([(b"a b", b"h", 1)]), wire.members([(b"a", b"h h", 1)]),
    wire.members([(b"a" * 65, b"h", 1)]), wire.members([(b"a", b"h" * 300, 1)])])
def test_a_malformed_list_of_members_ends_the_link(node, members):
    with streaming(node) as peer:
        peer.send(members)
        assert peer.ended()
    assert [peer["name"] for peer in node.peers()] == ["byhand"]


def test_a_peer_that_never_reads_costs_bounded_memory(kv):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        node = kv.node(peers="127.0.0.1:%d" % listener.getsockname()[1], journal_memory="1MiB")
        with wire.Peer(listener.accept()[0]) as peer:
            peer.skip_magic()
            peer.receive(wire.HELLO)
            peer.send(wire.hello(port=free_ports(1)[0]) + wire.frame(wire.STREAM, bytes(8)))
            node.write_many((f"k{i}", "x" * 10_000) for i in range(100))
            memory = node.rss_bytes()
            for turn in range(60):
                peer.send(wire.heartbeat())
                node.write_many((f"k{i}", f"{turn}" + "y" * 9990) for i in range(100))
            assert node.peer(name="byhand")["state"] == "live"
            assert node.rss_bytes() - memory < RSS_SLACK_BYTES


def test_a_delta_that_was_asked_for_and_does_not_come_does_not_hold_up_others(kv):
    node = kv.node("asker")
    with dial(node, floor=wire.stamp_now(), known=[(0x1234, wire.stamp_now())]) as peer:
        peer.receive(wire.DELTA_REQUEST)
        other = kv.node("other", peers=node.address, journal_memory="1MiB")
        other.write_many((f"k{i}", "x" * 10_000) for i in range(500))  # more than its journal

        def caught_up():
            with contextlib.suppress(OSError):  # the asker gives this peer up
                peer.send(wire.heartbeat())
            return node.cmd("COUNT") == "500"
        eventually(caught_up, 30, "another's writes come by a delta of its own")


def test_a_member_that_comes_back_as_another_run_has_confirmed_nothing(node):
    written = int(node.info()["origin"], 16)
    with node.connect() as conn:
        assert conn.cmd("SET", "k", "v") == "OK"
        with streaming(node, origin=0x1111) as peer:
            assert conn.cmd("WAIT", 1, 100) == "0"
            peer.send(wire.heartbeat([(written, wire.stamp_now(ahead_ms=1))]))
            assert conn.cmd("WAIT", 1, 5000) == "1"
        eventually(lambda: node.number("peers_linked") == 0, 5, "it is gone")
        with streaming(node, origin=0x2222):
            assert conn.cmd("WAIT", 1, 100) == "0"
