"""Every command of the line protocol: what it answers, and what it says to wrong use."""

import re

import pytest

from kvtest import KvError, eventually


def test_set_stores_a_value_that_get_returns(kv):
    node = kv.node()
    assert node.cmd("SET", "color", "blue") == "OK"
    assert node.cmd("GET", "color") == "blue"
    assert node.cmd("SET", "color", "green") == "OK"
    assert node.cmd("GET", "color") == "green"


def test_get_of_a_missing_key_says_not_found(kv):
    assert kv.node().cmd("GET", "nothing") == "NOT_FOUND"


def test_del_answers_the_number_of_keys_deleted(kv):
    node = kv.node()
    for key in ("a", "b", "c"):
        node.cmd("SET", key, "1")
    assert node.cmd("DEL", "missing") == "0"
    assert node.cmd("DEL", "a", "missing", "b") == "2"
    assert node.cmd("DEL", "c", "c") == "1"
    assert node.cmd("GET", "a") == "NOT_FOUND"
    assert node.cmd("COUNT") == "0"


def test_a_deleted_key_can_be_set_again(kv):
    node = kv.node()
    for value in ("one", "two", "three"):
        assert node.cmd("SET", "k", value) == "OK"
        assert node.cmd("GET", "k") == value
        assert node.cmd("DEL", "k") == "1"
        assert node.cmd("GET", "k") == "NOT_FOUND"


def test_exists_counts_the_keys_that_exist(kv):
    node = kv.node()
    node.cmd("SET", "a", "1")
    node.cmd("SET", "b", "")
    assert node.cmd("EXISTS", "a") == "1"
    assert node.cmd("EXISTS", "missing") == "0"
    assert node.cmd("EXISTS", "a", "missing", "b") == "2"


def test_count_is_the_number_of_live_keys(kv):
    node = kv.node()
    assert node.cmd("COUNT") == "0"
    for i in range(10):
        node.cmd("SET", f"k{i}", i)
    node.cmd("SET", "k0", "again")
    node.cmd("DEL", "k1")
    assert node.cmd("COUNT") == "9"


def test_ping_answers_pong_or_the_text(kv):
    node = kv.node()
    assert node.cmd("PING") == "+PONG"
    assert node.cmd("PING", "hello") == "hello"


def test_quit_answers_and_ends_the_connection(kv):
    node = kv.node()
    with node.connect() as conn:
        conn.send(b"PING\nQUIT\nSET after quit\n")
        assert conn.rest() == b"+PONG\n+OK\n"
    assert node.cmd("EXISTS", "after") == "0"


def test_keys_lists_what_the_glob_matches(kv):
    node = kv.node()
    names = ["apple", "apply", "ape", "bat", "bet", "a*b"]
    for name in names:
        node.cmd("SET", name, "1")

    def keys(glob):
        return sorted(node.lines("KEYS", glob))

    assert keys("*") == sorted(names)
    assert keys("app*") == ["apple", "apply"]
    assert keys("b?t") == ["bat", "bet"]
    assert keys("b[ae]t") == ["bat", "bet"]
    assert keys("b[^a]t") == ["bet"]
    assert keys("b[a-c]t") == ["bat"]
    assert keys(r"a\*b") == ["a*b"]
    assert keys("ape") == ["ape"]
    assert keys("nothing*") == []


def test_a_glob_made_to_be_slow_is_answered_quickly(kv):
    node = kv.node()
    node.cmd("SET", "a" * 2000, "1")
    with node.connect(timeout_s=5) as conn:
        assert conn.lines("KEYS", "*a" * 127 + "*b") == []
        assert conn.ask(b"KEYS " + b"*a" * 128 + b"b").startswith(b"ERROR glob of 257 bytes")


def test_keys_is_refused_above_the_keys_limit(kv):
    node = kv.node(keys_limit=10)
    for i in range(10):
        node.cmd("SET", f"k{i}", i)
    assert len(node.lines("KEYS", "*")) == 10
    node.cmd("SET", "k10", 10)
    with pytest.raises(KvError, match="ERROR .*10"):
        node.lines("KEYS", "k1")
    node.cmd("DEL", "k3")
    assert len(node.lines("KEYS", "*")) == 10


def test_info_tells_about_the_node(kv):
    node = kv.node("info-node", cluster="info-cluster")
    node.cmd("SET", "k", "v")
    info = node.info()
    assert info["name"] == "info-node"
    assert info["cluster"] == "info-cluster"
    assert info["role"] == "master"
    assert re.fullmatch("[0-9a-f]{16}", info["origin"])
    assert re.fullmatch("[0-9a-f]{16}", info["digest"])
    assert info["version"]
    assert info["keys"] == "1"
    for field in ("uptime_seconds", "clients", "tombstones", "memory_bytes", "members", "lag_ms",
                  "peers_linked", "peers_expected", "journal_bytes", "commands",
                  "peer_bytes_sent", "peer_bytes_received", "records_received",
                  "deltas_received", "deltas_served"):
        assert info[field].isdigit(), field


def test_info_counts_clients_and_commands(kv):
    node = kv.node()
    before = node.number("commands")
    with node.connect() as one, node.connect() as two:
        assert one.cmd("PING") == two.cmd("PING") == "+PONG"
        assert node.number("clients") == 3
        assert node.number("commands") >= before + 2
    eventually(lambda: node.number("clients") == 1, 5, "the closed connections are forgotten")


def test_info_memory_grows_with_data_and_shrinks_again(kv):
    node = kv.node()
    empty = node.number("memory_bytes")
    node.write_many((f"k{i}", "x" * 1000) for i in range(1000))
    full = node.number("memory_bytes")
    assert full - empty >= 1_000_000
    for i in range(1000):
        node.cmd("DEL", f"k{i}")
    assert node.number("memory_bytes") - empty < (full - empty) / 2


def test_every_start_is_another_origin(kv):
    node = kv.node()
    first = node.info()["origin"]
    node.stop().start()
    assert node.info()["origin"] != first


def test_the_digest_tells_the_live_data(kv):
    node = kv.node()
    empty = node.info()["digest"]
    node.cmd("SET", "k", "v")
    assert node.info()["digest"] != empty
    node.cmd("DEL", "k")
    assert node.info()["digest"] == empty


def test_peers_of_a_single_node_is_empty(kv):
    node = kv.node()
    assert node.lines("PEERS") == []
    assert node.number("peers_linked") == node.number("members") == 0


def test_help_lists_every_command_and_explains_one(kv):
    node = kv.node()
    text = "\n".join(node.lines("HELP"))
    for command in ("SET GET DEL EXISTS SETEX EXPIRE TTL PERSIST KEYS COUNT PING INFO PEERS WAIT "
                    "HELP QUIT").split():
        assert re.search(rf"\b{command}\b", text), command
    assert any("seconds" in line for line in node.lines("HELP", "setex"))
    with pytest.raises(KvError, match="ERROR no such command"):
        node.lines("HELP", "NOSUCH")


def test_an_unknown_command_is_named_in_the_error(kv):
    node = kv.node()
    for line in ("FROB", "frob x y", "GETT key", "\x01", "SETGET"):
        reply = node.cmd(line)
        assert reply.startswith("ERROR ") and "unknown command" in reply.lower(), reply
    assert "FROB" in node.cmd("FROB x").upper()
    assert node.cmd("PING") == "+PONG"


def test_an_endless_command_name_does_not_come_back_whole(kv):
    reply = kv.node().cmd("A" * 50000)
    assert reply.startswith("ERROR ") and len(reply) < 300


WRONG_NUMBER_OF_WORDS = [
    "SET", "SET k", "GET", "GET a b", "DEL", "EXISTS", "SETEX", "SETEX k", "SETEX k 10",
    "EXPIRE", "EXPIRE k", "TTL", "TTL a b", "PERSIST", "PERSIST a b", "KEYS",
    "KEYS a b", "COUNT x", "PEERS x", "WAIT", "WAIT 1", "WAIT 1 2 3",
]


@pytest.mark.parametrize("line", WRONG_NUMBER_OF_WORDS)
def test_a_wrong_number_of_words_is_an_error(kv, line):
    node = kv.node()
    reply = node.cmd(line)
    assert reply.startswith("ERROR ") and line.split()[0] in reply.upper(), reply
    assert node.cmd("PING") == "+PONG"
    assert node.cmd("COUNT") == "0"


def test_a_line_of_too_many_words_is_an_error(kv):
    node = kv.node()
    keys = [f"k{i}" for i in range(2000)]
    node.write_many((key, "v") for key in keys)
    assert node.cmd("DEL", *keys).startswith("ERROR too many words")
    assert node.cmd("EXISTS", *keys[:1000]) == "1000"
    assert node.cmd("DEL", *keys[:1000]) == "1000"
    assert node.cmd("COUNT") == "1000"


@pytest.mark.parametrize("line", [
    "SETEX k abc v", "SETEX k 0 v", "SETEX k -1 v", "SETEX k 99999999999999999999 v",
    "SETEX k 1.5 v", "EXPIRE k abc", "EXPIRE k 99999999999999999999", "EXPIRE k 1x", "EXPIRE k 0x1",
    "WAIT x 0", "WAIT 0 x", "WAIT 1 -1", "WAIT 1 99999999999999999999",
])
def test_a_wrong_number_is_an_error(kv, line):
    node = kv.node()
    reply = node.cmd(line)
    assert reply.startswith("ERROR "), reply
    assert node.cmd("EXISTS", "k") == "0"


def test_max_memory_refuses_writes_but_not_reads_and_deletes(kv):
    node = kv.node(max_memory="8MiB")
    value, stored = "x" * 1_000_000, 0
    while (reply := node.cmd("SET", f"k{stored}", value)) == "OK":
        stored += 1
        assert stored < 9
    assert reply.startswith("ERROR ") and "memory" in reply
    assert 4 <= stored
    assert len(node.cmd("GET", "k0")) == len(value)
    assert node.cmd("EXISTS", f"k{stored}") == "0"
    assert node.cmd("DEL", "k0", "k1") == "2"
    assert node.cmd("SET", "small", "1") == "OK"


def test_max_memory_does_not_refuse_the_records_of_peers(kv):
    full = kv.node(max_memory="2MiB")
    free = kv.node(peers=full.address)
    free.write_many((f"k{i}", "x" * 100_000) for i in range(40))
    eventually(lambda: full.cmd("COUNT") == "40", 10, "the full node has its peer's records")
    assert full.cmd("SET", "k0", "y" * 200_000).startswith("ERROR ")
