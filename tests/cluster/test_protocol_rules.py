"""What docs/protocol.md, part 2, forbids a peer, and what it says a node does about it."""

import socket
import struct
import time

import pytest

from documentpeer import (ACK_WANTED, DELTA_BEGIN, DELTA_END, DELTA_LIST, DELTA_MARK,
                          DELTA_REQUEST, DIGEST, DIGESTS_WANTED, EXPIRES, HEARTBEAT, HELLO, MAGIC,
                          MEMBERS, RECORDS, REFUSED, REFUSED_CLOCK, REFUSED_CLUSTER, REFUSED_FULL,
                          REFUSED_NAME, REFUSED_SELF, REFUSED_VERSION, STREAM, TOMBSTONE, Link,
                          Peer, delta_begin, delta_end, delta_mark, delta_request, frame, record,
                          stamp_of_now, stream_asked, text, vector)
from kvtest import SLOWNESS, eventually


@pytest.fixture
def peer():
    with Peer() as made:
        yield made


# --- refusals ----------------------------------------------------------------------------------


def refusal(link, passing=False):
    """Code and reason; `passing`: over other frames that come before."""
    kind, payload = link.wait_for(REFUSED) if passing else link.receive()
    assert kind == REFUSED
    code, size = struct.unpack_from("<HH", payload)
    reason, name = payload[4:4 + size], payload[4 + size:]
    assert name[2:] and name == text(name[2:])
    assert link.ends() == []
    return code, reason.decode()


@pytest.mark.parametrize("code,wrong", [
    (REFUSED_VERSION, {"version": 1}), (REFUSED_VERSION, {"version": 3}),
    (REFUSED_CLUSTER, {"cluster": b"other"}), (REFUSED_NAME, {"name": b"first"})])
def test_a_stranger_is_refused_with_the_code_of_his_fault(kv, code, wrong):
    node = kv.node("first")
    with Peer(**wrong) as peer, peer.dial(node) as link:
        got, reason = refusal(link)
    assert got == code and reason
    assert node.peers() == []


@pytest.mark.parametrize("code,wrong", [
    (REFUSED_VERSION, {"version": 1}), (REFUSED_CLUSTER, {"cluster": b"other"}),
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
            text(b"m%d" % i) + text(b"") + bytes(10) for i in range(127)))
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
    lambda peer: frame(17),
    lambda peer: frame(REFUSED, bytes(4)),
    lambda peer: frame(STREAM, bytes(8)),
    lambda peer: frame(DELTA_MARK, delta_mark(1)),
    lambda peer: frame(DELTA_BEGIN, delta_begin({})),
    lambda peer: frame(DELTA_LIST, bytes(24)),
    lambda peer: frame(DELTA_END, delta_end()),
    lambda peer: frame(DELTA_REQUEST, delta_request({})),
    lambda peer: frame(DIGESTS_WANTED),
    lambda peer: frame(DIGEST, bytes(504)),
    lambda peer: frame(ACK_WANTED, b"x"),
    lambda peer: frame(HEARTBEAT, bytes(8) + vector({})),
    lambda peer: frame(HEARTBEAT, bytes(8) + struct.pack("<I", 1) + vector({})),
    lambda peer: frame(HEARTBEAT, bytes(8) + struct.pack("<IQQQQ", 2, 9, 1, 8, 1) + vector({})),
    lambda peer: frame(HEARTBEAT, bytes(8) + struct.pack("<IQQ", 1, 9, 0) + vector({})),
    lambda peer: frame(HEARTBEAT, bytes(8) + vector({}) + struct.pack("<IQQ", 1, 9, 0)),
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


@pytest.mark.parametrize("bad", [
    lambda peer, stamp: frame(RECORDS, struct.pack("<QQ", 0, stamp) +
                              record(b"future", b"v", stamp, peer.origin)),
    lambda peer, stamp: frame(RECORDS, struct.pack("<QQ", 0, stamp)),
    lambda peer, stamp: frame(HEARTBEAT, bytes(8) + vector({9: stamp}) + vector({})),
    lambda peer, stamp: frame(HEARTBEAT, bytes(8) + vector({}) + vector({9: stamp})),
    lambda peer, stamp: frame(HEARTBEAT, struct.pack("<Q", stamp >> 16) + vector({}) * 2),
])
def test_a_clock_that_is_ahead_is_refused_at_any_time(kv, peer, bad):
    node = kv.node(max_clock_drift="60s")
    ahead = stamp_of_now() + (100_000 << 16)
    with stream_asked(node, peer) as link:
        link.sock.sendall(bad(peer, ahead))
        code, reason = refusal(link, passing=True)
        assert code == REFUSED_CLOCK and "ahead" in reason
    assert node.cmd("COUNT") == "0" and node.number("peers_linked") == 0


def test_a_hello_from_a_clock_that_is_ahead_is_refused(kv, peer):
    node = kv.node(max_clock_drift="60s")
    peer.vector = {9: stamp_of_now() + (100_000 << 16)}
    with peer.dial(node) as link:
        assert refusal(link)[0] == REFUSED_CLOCK
    assert node.peers() == []


def test_a_clock_that_is_ahead_within_the_limit_is_not(kv, peer):
    node = kv.node(max_clock_drift="60s")
    ahead = stamp_of_now() + (50_000 << 16)
    with stream_asked(node, peer) as link:
        link.send(RECORDS, struct.pack("<QQ", 0, ahead) +
                  record(b"future", b"v", ahead, peer.origin))
        eventually(lambda: node.cmd("EXISTS", "future") == "1", 5, "it is merged")


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
        link.sock.sendall(frame(DELTA_REQUEST, delta_request({})) * 2)
        link.ends()


def test_silence_ends_the_connection_after_5_s(kv, peer):
    node = kv.node()
    with peer.dialled(node)[0] as link:
        started = time.monotonic()
        link.ends()
        assert 4 < time.monotonic() - started < 7 * SLOWNESS
    assert node.cmd("PING") == "+PONG"
