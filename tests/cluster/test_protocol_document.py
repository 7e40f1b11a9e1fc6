"""docs/protocol.md, part 2, says what the program does: a peer written from it takes part."""

import struct
import threading
import time

import pytest

from documentpeer import (ACK_WANTED, BEGIN_BEHIND, BEGIN_CHECKED, DELTA_BEGIN, DELTA_END,
                          DELTA_LIST, DELTA_MARK, DELTA_RECORDS, DELTA_REQUEST, DIGEST,
                          DIGESTS_WANTED, EXPIRES, GAP, GROUPS, HEARTBEAT, KEEPS_DISK, MEMBERS,
                          PARTITIONS, RECORDS, REQUEST_EMPTY, REQUEST_SCRUB, STREAM, TOMBSTONE,
                          Delta, Peer, delta_begin, delta_end, delta_mark, delta_request,
                          group_digests, key_hash, partition, partition_digests, read_members,
                          read_request, read_vector, record, stamp_of_now, stream_asked,
                          stream_until, text, told_until, vector)
from kvtest import SLOWNESS, eventually

DRIFT_MS = 200


@pytest.fixture
def peer():
    with Peer() as made:
        yield made


# --- receiving ---------------------------------------------------------------------------------


def test_a_node_says_who_it_is(kv, peer):
    node = kv.node("first", peers=peer.address)
    link, said = peer.accept()
    with link:
        assert (said["version"], said["flags"], said["cluster"]) == (2, 0, b"simple-kv")
        assert (said["name"], said["host"], said["port"]) == (b"first", b"", node.port)
        assert said["origin"] == int(node.info()["origin"], 16)
        assert abs(said["wall_ms"] - time.time() * 1000) < 5000 * SLOWNESS
        assert said["floor"] == 0 and said["origin"] in said["vector"]
        assert read_members(link.wait_for(MEMBERS)[1])[b"python"] == \
            (b"127.0.0.1", peer.port, 0)


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
            link.send(DELTA_REQUEST, delta_request({}))
            delta = Delta(link)
            assert (delta.flags, delta.dropped, delta.forced_stamp) == (0, {}, 0)
            assert len(delta.records) == 3000 and delta.records[b"key7"][0] is None
            assert delta.records[b"key8"] == (b"value8", *delta.records[b"key8"][1:])
            assert all(delta.vector[origin] >= stamp
                       for _, stamp, origin in delta.records.values())
            digests = struct.unpack(f"<{GROUPS}Q", link.wait_for(DIGEST)[1])
            assert list(digests) == group_digests(delta.live)
            node.cmd("SET", "live", "from here on")
            got, _ = stream_until(link, b"live", delta.vector[said["origin"]])
            assert got[0] == b"from here on"


def test_who_missed_dropped_tombstones_has_to_give_digests_and_gets_lists(kv, peer):
    node = kv.node(max_clock_drift=f"{DRIFT_MS}ms")
    for key in ("one", "two", "three", "gone"):
        node.cmd("SET", key, "v")
    node.cmd("DEL", "gone")
    eventually(lambda: node.number("tombstones_dropped") == 1, 10, "nobody else needs it")
    node.cmd("SET", "new", "v")
    with peer.dialled(node)[0]:
        link, said = peer.accept()
        with link:
            link.send(DELTA_REQUEST, delta_request({}, REQUEST_EMPTY))
            all_of_it = Delta(link)
            assert set(all_of_it.live) == {b"one", b"two", b"three", b"new"}
            assert all_of_it.flags == BEGIN_CHECKED | BEGIN_BEHIND
            assert not all_of_it.listed and not all_of_it.partitions_listed
            mine = {said["origin"]: all_of_it.live[b"three"][1]}
            link.send(DELTA_REQUEST, delta_request(mine))
            assert link.wait_for(DIGESTS_WANTED, DELTA_BEGIN) == (DIGESTS_WANTED, b"")
            same = {b"one": all_of_it.live[b"one"]}
            link.send(DELTA_REQUEST, delta_request(mine, digests=partition_digests(same)))
            delta = Delta(link)
            assert delta.flags == BEGIN_CHECKED | BEGIN_BEHIND
            assert set(delta.records) == {b"new"}
            assert delta.listed == {key_hash(key): all_of_it.live[key][:0:-1]
                                    for key in (b"two", b"three")}
            assert delta.partitions_listed == {partition(key) for key in (b"two", b"three", b"new")}
            assert delta.dropped[said["origin"]] > mine[said["origin"]] and delta.forced_stamp == 0


def test_a_scrub_brings_lists_of_one_group(kv, peer):
    node = kv.node()
    node.cmd("SET", "k", "v")
    group = partition(b"k") // (PARTITIONS // GROUPS)
    with peer.dialled(node)[0]:
        link, said = peer.accept()
        with link:
            link.send(STREAM, struct.pack("<Q", said["floor"]))
            digests = struct.unpack(f"<{GROUPS}Q", link.wait_for(DIGEST)[1])
            assert [g for g, digest in enumerate(digests) if digest != group_digests({})[g]] == \
                [group]
            link.send(DELTA_REQUEST, delta_request(said["vector"], REQUEST_SCRUB, group,
                                                   [0] * (PARTITIONS // GROUPS)))
            flags = struct.unpack_from("<H", link.wait_for(DELTA_BEGIN)[1])[0]
            assert flags == BEGIN_CHECKED
            listed = link.wait_for(DELTA_RECORDS, DELTA_LIST)
            assert listed[0] == DELTA_LIST and listed[1][:16] == struct.pack(
                "<QQ", key_hash(b"k"), said["origin"])
            last = 0
            while (got := link.wait_for(DELTA_MARK, DELTA_END))[0] != DELTA_END:
                last = struct.unpack_from("<I", got[1])[0]
            assert last == (group + 1) * (PARTITIONS // GROUPS)


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
        flags, first, groups, asked = read_request(link.wait_for(STREAM, DELTA_REQUEST)[1])
        assert (flags, first, groups) == (REQUEST_EMPTY, 0, 0)
        assert peer.origin not in asked and past not in asked
        link.send(DELTA_BEGIN, delta_begin(peer.vector))
        mine = {b"own": peer.origin, b"somebody's": past}
        for key in sorted(mine, key=partition):
            link.send(DELTA_RECORDS, record(key, b"value", stamp - 5, mine[key]))
            link.send(DELTA_MARK, delta_mark(partition(key) + 1))
        link.send(RECORDS, struct.pack("<QQ", stamp, stamp + 9) +
                  record(b"meanwhile", b"live", stamp + 9, peer.origin))
        link.send(DELTA_MARK, delta_mark(PARTITIONS))
        link.send(DELTA_END, delta_end())
        told = told_until(link, (peer.origin, stamp + 9), (past, stamp - 5))
        assert told[past] == stamp - 5
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
        asked = read_request(link.wait_for(DELTA_REQUEST)[1])[3]  # ahead of it for 2 s
        assert asked[peer.origin] == stamp and past not in asked
        link.send(GAP, struct.pack("<Q", stamp + 5))
        peer.vector[peer.origin] = stamp + 6
        link.send(DELTA_BEGIN, delta_begin(peer.vector))
        link.send(RECORDS, struct.pack("<QQ", stamp + 6, stamp + 7) +
                  record(b"live", b"v", stamp + 7, peer.origin))
        link.send(DELTA_MARK, delta_mark(PARTITIONS))
        link.send(DELTA_END, delta_end())
        assert told_until(link, (peer.origin, stamp + 7), (past, 7))[past] == 7
        assert node.cmd("GET", "live") == "v"


def test_what_a_checked_delta_does_not_show_was_deleted(kv, peer):
    node = kv.node()
    stamp, past = stamp_of_now() - (5 << 16), 0x70617374
    peer.vector = {peer.origin: stamp}
    link, _ = peer.dialled(node)
    stamps = {b"kept": stamp - 10, b"deleted": stamp - 9, b"unlisted": stamp - 8,
              b"unknown": stamp - 7}
    keys = sorted(stamps, key=partition)
    assert len({partition(key) for key in keys}) == len(keys)
    with link:
        link.wait_for(STREAM)
        link.send(RECORDS, struct.pack("<QQ", 0, stamp) + b"".join(
            record(key, b"v", of, peer.origin) for key, of in stamps.items()))
        node.cmd("SET", "own", "of the node")
        peer.vector[past] = stamp - 5
        link.send(HEARTBEAT, peer.heartbeat())
        link.wait_for(DELTA_REQUEST)
        link.send(DIGESTS_WANTED)
        flags, first, groups, asked = read_request(link.wait_for(DELTA_REQUEST)[1])
        assert (flags, first, groups, asked[peer.origin]) == (0, 0, GROUPS, stamp)
        theirs = {past: stamp - 5, peer.origin: stamps[b"unlisted"]}
        link.send(DELTA_BEGIN, delta_begin(theirs, BEGIN_CHECKED | BEGIN_BEHIND))
        for key in keys:
            if key == b"kept":
                link.send(DELTA_LIST, struct.pack("<QQQ", key_hash(key), peer.origin, stamps[key]))
            link.send(DELTA_MARK, delta_mark(partition(key) + 1, key != b"unlisted"))
        link.send(DELTA_MARK, delta_mark(PARTITIONS))
        link.send(DELTA_END, delta_end({past: stamp - 6}))
        told_until(link, (past, stamp - 5))
        there = {key for key in keys if node.cmd("EXISTS", key) == "1"}
        assert there == {b"kept", b"unlisted", b"unknown"}
        assert node.cmd("GET", "own") == "of the node"
        assert node.number("divergence_repaired") == 0


def test_digests_that_differ_are_answered_by_a_scrub(kv, peer):
    node = kv.node()
    stamp = stamp_of_now()
    peer.vector = {peer.origin: stamp}
    group = partition(b"k") // (PARTITIONS // GROUPS)
    link, _ = peer.dialled(node)
    with link:
        link.wait_for(STREAM)
        link.send(RECORDS, struct.pack("<QQ", 0, stamp) + record(b"k", b"v", stamp, peer.origin))
        link.send(DIGEST, struct.pack(f"<{GROUPS}Q", *group_digests(
            {b"k": (b"v", stamp, peer.origin)})))
        link.send(ACK_WANTED)
        told_until(link, (peer.origin, stamp))
        assert node.number("scrubs") == 0, "equal digests need nothing"
        link.send(DIGEST, struct.pack(f"<{GROUPS}Q", *group_digests({})))
        flags, first, groups, asked = read_request(link.wait_for(DELTA_REQUEST)[1])
        assert (flags, first, groups, asked[peer.origin]) == (REQUEST_SCRUB, group, 1, stamp)
        link.send(DELTA_BEGIN, delta_begin(peer.vector, BEGIN_CHECKED))
        link.send(DELTA_MARK, delta_mark(partition(b"k") + 1, 1))
        end = (group + 1) * (PARTITIONS // GROUPS)
        if end > partition(b"k") + 1:
            link.send(DELTA_MARK, delta_mark(end))
        link.send(DELTA_END, delta_end())
        eventually(lambda: node.cmd("GET", "k") == "NOT_FOUND", 5, "it was deleted there")
        assert node.number("divergence_repaired") == 1 and node.number("scrubs") == 1


def test_only_what_is_durable_lets_tombstones_of_a_member_with_a_disk_go(kv):
    node = kv.node(max_clock_drift=f"{DRIFT_MS}ms")
    node.cmd("SET", "k", "v")
    with Peer(flags=KEEPS_DISK) as peer:
        sender, said = peer.dialled(node)
        receiver, _ = peer.accept()
        with sender, receiver:
            after = struct.unpack("<Q", sender.wait_for(STREAM)[1])[0]
            node.cmd("DEL", "k")
            deleted = stamp_of_now() + (1 << 16)
            eventually(lambda: stamp_of_now() > deleted, 1, "the delete is in the past")

            def say():
                nonlocal after
                now = stamp_of_now()
                sender.send(RECORDS, struct.pack("<QQ", after, now))
                sender.send(HEARTBEAT, peer.heartbeat())
                receiver.send(HEARTBEAT, peer.heartbeat())
                after = now
                return node.number("tombstones")
            peer.vector = {said["origin"]: deleted}
            started = time.monotonic()
            eventually(lambda: say() != 1 or time.monotonic() - started > 1.5, 10, "time passes")
            assert say() == 1, "it is confirmed from memory only"
            peer.durable = {said["origin"]: deleted}
            eventually(lambda: say() == 0, 5, "it is confirmed for good")


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
        assert read_members(link.wait_for(MEMBERS)[1])[b"python"][1:] == (peer.port, 0)
        wall_ms = struct.unpack_from("<Q", link.wait_for(HEARTBEAT)[1])[0]
        assert abs(wall_ms - time.time() * 1000) < 5000 * SLOWNESS
        link.send(MEMBERS, struct.pack("<H", 1) + text(b"third") + text(b"127.0.0.1") +
                  struct.pack("<HQ", third.port, 0))
        with third.accept()[0]:
            assert read_members(link.wait_for(MEMBERS)[1])[b"third"] == \
                (b"127.0.0.1", third.port, 0)


def test_members_that_are_forgotten_are_told(kv, peer):
    node = kv.node()
    with peer.dialled(node)[0] as link:
        def tell(forgotten_ms):
            link.send(MEMBERS, struct.pack("<H", 1) + text(b"third") + text(b"127.0.0.1") +
                      struct.pack("<HQ", 9, forgotten_ms))
        tell(0)
        eventually(lambda: node.peer(name="third"), 5, "it is a member")
        now_ms = int(time.time() * 1000)
        tell(now_ms)
        eventually(lambda: node.peer(name="third")["state"] == "forgotten", 5, "it is forgotten")
        while (said := read_members(link.wait_for(MEMBERS)[1]).get(b"third")) != \
                (b"127.0.0.1", 9, now_ms):
            assert said is None or said[2] == 0
