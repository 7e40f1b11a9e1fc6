"""Keys that expire: SETEX, EXPIRE, TTL, PERSIST, by the real clock."""

import time

from kvtest import eventually


def gone(node, key):
    return lambda: node.cmd("GET", key) == "NOT_FOUND"


def test_ttl_tells_seconds_none_and_missing(kv):
    node = kv.node()
    node.cmd("SET", "plain", "v")
    assert node.cmd("SETEX", "e", 100, "v") == "OK"
    assert node.cmd("TTL", "e") in ("100", "99")
    assert node.cmd("TTL", "plain") == "-1"
    assert node.cmd("TTL", "missing") == "-2"


def test_setex_expires_by_the_clock(kv):
    node = kv.node()
    start = time.monotonic()
    assert node.cmd("SETEX", "e", 1, "soon gone") == "OK"
    assert node.cmd("GET", "e") == "soon gone"
    assert node.cmd("COUNT") == "1"
    eventually(gone(node, "e"), 3, "the key expires")
    assert time.monotonic() - start >= 0.95
    assert node.cmd("EXISTS", "e") == "0"
    assert node.cmd("TTL", "e") == "-2"
    assert node.cmd("DEL", "e") == "0"
    assert node.cmd("EXPIRE", "e", 10) == "0"
    assert node.cmd("PERSIST", "e") == "0"
    assert node.lines("KEYS", "*") == []
    eventually(lambda: node.cmd("COUNT") == "0", 3, "it is no longer counted")


def test_expire_sets_and_moves_the_end(kv):
    node = kv.node()
    node.cmd("SET", "k", "v")
    assert node.cmd("EXPIRE", "k", 1000) == "1"
    assert node.cmd("TTL", "k") in ("1000", "999")
    assert node.cmd("EXPIRE", "k", 1) == "1"
    assert node.cmd("GET", "k") == "v"
    eventually(gone(node, "k"), 3, "the key expires")
    assert node.cmd("EXPIRE", "k", 10) == "0"


def test_expire_of_zero_or_less_deletes(kv):
    node = kv.node()
    for seconds in (0, -1, -1000):
        node.cmd("SET", "k", "v")
        assert node.cmd("EXPIRE", "k", seconds) == "1"
        assert node.cmd("GET", "k") == "NOT_FOUND"
    assert node.cmd("EXPIRE", "missing", 0) == "0"


def test_persist_takes_the_end_away(kv):
    node = kv.node()
    node.cmd("SETEX", "kept", 1, "v")
    node.cmd("SETEX", "other", 1, "v")
    assert node.cmd("PERSIST", "kept") == "1"
    assert node.cmd("PERSIST", "kept") == "0"
    assert node.cmd("TTL", "kept") == "-1"
    assert node.cmd("PERSIST", "missing") == "0"
    eventually(gone(node, "other"), 3, "the other key expires")
    assert node.cmd("GET", "kept") == "v"


def test_set_takes_the_end_away(kv):
    node = kv.node()
    node.cmd("SETEX", "k", 1, "old")
    node.cmd("SET", "k", "new")
    node.cmd("SETEX", "other", 1, "v")
    assert node.cmd("TTL", "k") == "-1"
    eventually(gone(node, "other"), 3, "the other key expires")
    assert node.cmd("GET", "k") == "new"


def test_an_expired_key_can_be_set_again(kv):
    node = kv.node()
    node.cmd("SETEX", "k", 1, "old")
    eventually(gone(node, "k"), 3, "the key expires")
    assert node.cmd("SET", "k", "new") == "OK"
    assert node.cmd("GET", "k") == "new"
    assert node.cmd("TTL", "k") == "-1"


def test_the_memory_of_expired_values_comes_back_without_a_read(kv):
    node = kv.node()
    with node.connect() as conn:
        replies = conn.pipeline(b"SETEX k%d 1 %s" % (i, b"x" * 10_000) for i in range(1000))
    assert set(replies) == {b"OK"}
    assert node.number("memory_bytes") > 10_000_000
    eventually(lambda: node.number("memory_bytes") < 3_000_000, 15, "expired values are freed")
    eventually(lambda: node.number("keys") == 0, 5, "they are no longer counted")


def test_an_expiry_is_replicated_and_ends_everywhere(kv):
    cluster = kv.cluster(3)
    cluster[0].cmd("SETEX", "e", 2, "v")
    cluster.wait_everywhere("e", "v", deadline_s=1.5)
    assert all(node.cmd("TTL", "e") in ("1", "2") for node in cluster)
    cluster[1].cmd("SET", "p", "v")
    cluster.wait_everywhere("p", "v")
    assert cluster[2].cmd("EXPIRE", "p", 100) == "1"
    for node in cluster:
        eventually(lambda node=node: node.cmd("TTL", "p") in ("99", "100"), 5, "EXPIRE arrives")
    assert cluster[0].cmd("PERSIST", "p") == "1"
    for node in cluster:
        eventually(lambda node=node: node.cmd("TTL", "p") == "-1", 5, "PERSIST arrives")
        eventually(gone(node, "e"), 5, "the key expires everywhere")
    eventually(lambda: cluster.wait_equal() == 1, 5, "only the other key is counted")


def test_a_node_that_was_down_does_not_bring_an_expired_key_back(kv):
    cluster = kv.cluster(2)
    cluster[0].cmd("SETEX", "e", 1, "v")
    cluster[0].cmd("SETEX", "longer", 100, "v")
    cluster.wait_everywhere("longer", "v")
    cluster[1].stop()
    eventually(gone(cluster[0], "e"), 3, "the key expires")
    cluster[1].start()
    cluster.wait_linked().wait_everywhere("longer", "v")
    assert [node.cmd("GET", "e") for node in cluster] == ["NOT_FOUND"] * 2
    assert 90 <= int(cluster[1].cmd("TTL", "longer")) <= 100
    cluster.wait_equal()
