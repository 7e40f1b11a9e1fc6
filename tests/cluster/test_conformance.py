"""Every command, compared with a real Redis 7.0: the same commands to both, in RESP2 and RESP3, one by one
and pipelined, and the bytes of their replies must be equal.

KV_SEED                replays one story: the number that a failure shows
KV_CONFORMANCE_ROUNDS  how many stories of each kind (default 12)

What cannot be equal, such as times, is compared as far as it can be: rediscommands.py. What is not equal
on purpose is in the table of docs/commands.md, and each row of it is tested here.
"""

import codecs
import os
import random
import re
import socket

import pytest

import commandtable
from disktest import ready
from kvtest import REPOSITORY, eventually
from rediscommands import (CONNECTION, COUNTING, EXPIRES_THEM, FORMS, SUBCOMMANDS, Story, forms_of, name_of,
                           same, same_list)
from resp import RedisServer, Resp, encode, encode_inline, words_of

DOCUMENT = (REPOSITORY / "docs" / "commands.md").read_text()
ROUNDS = int(os.environ.get("KV_CONFORMANCE_ROUNDS", "12"))
VALUE_BYTES_MAX = 512 << 20
KINDS = [(protocol, pipelined) for protocol in (2, 3) for pipelined in (False, True)]


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path)
    yield server
    server.close()


class Pair:
    """The same connection to both servers."""

    def __init__(self, redis, node, protocol):
        self.protocol = protocol
        self.ends = [redis.connect(protocol=protocol), Resp(node.host, node.port, protocol=protocol)]
        self.queued = []
        self.watches_missing = False
        if protocol == 2:  # so that inline commands are Redis' from the first on
            for end in self.ends:
                assert end.ask("PING").raw == b"+PONG\r\n"

    def close(self):
        for end in self.ends:
            end.close()

    def run(self, batch, inline=False):
        """Sends the commands; (words, Redis' reply, ours, whether that is the same) of each."""
        encoded = b"".join((encode_inline if inline else encode)(words) for words in batch)
        for end in self.ends:
            end.send(encoded)
        compared = []
        for words in batch:
            theirs, ours = (end.reply() for end in self.ends)
            compared.append((words, theirs, ours, self.is_same(words, theirs, ours)))
            if name_of(words) == "watch" and theirs.raw == b"+OK\r\n":
                # In the midst of a batch it cannot be asked what was there.
                self.watches_missing = words is not batch[-1] or \
                    self.ends[0].ask("EXISTS", *words[1:]).value != len(words) - 1
        self.settle(batch[-1])
        return compared

    def is_same(self, words, theirs, ours):
        if theirs.raw == b"+QUEUED\r\n":
            self.queued.append(words)
        elif name_of(words) == "exec":
            queued, self.queued = self.queued, []
            return same_list(queued, theirs, ours)
        elif name_of(words) in ("discard", "reset", "multi") and not theirs.is_error:
            self.queued = []
        return same(words, theirs, ours)

    def has_forgotten(self, words, theirs, ours):
        """Whether only Redis knows that a key came and went while it was watched: docs/commands.md. The
        two hold different keys from there on."""
        return self.watches_missing and name_of(words) == "exec" and theirs.value is None and \
            ours.kind == "*"

    def settle(self, words):
        """After what may have changed the connection: the protocol that it is to have again."""
        if name_of(words) not in CONNECTION:
            return
        for end in self.ends:
            if name_of(words) == "quit" and len(words) == 1:
                assert end.rest() == b""
                end.reopen()
            if not end.ask("HELLO", str(self.protocol)).kind in "%*":
                raise AssertionError(f"no HELLO after {words}")
        self.queued = self.queued if name_of(words) == "hello" else []


def told(compared, last=12):
    lines = []
    for words, theirs, ours, is_same in compared[-last:]:
        lines.append(f"{b' '.join(words)!r}\n    Redis     {theirs!r}")
        lines += [] if is_same else [f"    simple-kv {ours!r}"]
    return "\n".join(lines)


def play(story, redis, node):
    """What was compared, up to the first difference."""
    pairs = [Pair(redis, node, story.protocol) for _ in range(2)]
    history = []
    try:
        for words, theirs, ours, _ in pairs[0].run([[b"FLUSHALL"]]):
            assert theirs.raw == ours.raw, (words, theirs, ours)
        for which, batch, inline in story.batches:
            for one in pairs[which].run(batch, inline):
                if pairs[which].has_forgotten(*one[:3]):
                    return history
                history.append(one)
                if not one[-1]:
                    return history
    finally:
        for pair in pairs:
            pair.close()
    return history


def play_and_tell(story, redis, node):
    history = play(story, redis, node)
    assert all(is_same for *_, is_same in history), \
        f"KV_SEED={story.seed}, RESP{story.protocol}{', pipelined' if story.pipelined else ''}:\n" + \
        told(history)
    return len(history)


def large(kv):
    """A node with the limits of Redis, and with a disk, so that BGSAVE works."""
    return ready(kv.node(max_value=VALUE_BYTES_MAX, data_dir=kv.directory / "data"))


@pytest.mark.parametrize("protocol, pipelined", KINDS)
def test_random_commands_get_the_bytes_that_redis_sends(kv, redis, protocol, pipelined):
    node = large(kv)
    first = os.environ.get("KV_SEED")
    seeds = [int(first)] if first else [random.SystemRandom().randrange(1 << 32)
                                        for _ in range(ROUNDS)]
    print("seeds:", *seeds)
    count = sum(play_and_tell(Story(seed, protocol, pipelined), redis, node) for seed in seeds)
    assert count >= 100 * len(seeds)


@pytest.mark.parametrize("protocol", (2, 3))
def test_every_form_of_every_command(kv, redis, protocol):
    node = large(kv)
    seed = int(os.environ.get("KV_SEED") or random.SystemRandom().randrange(1 << 32))
    print("seed:", seed)
    rng = random.Random(f"{seed} forms")
    pair = Pair(redis, node, protocol)
    faults = []
    for name in FORMS:
        if name in COUNTING:
            pair.run([EXPIRES_THEM])
        for words in [[name.encode()], *forms_of(name, rng)]:
            faults += [one for one in pair.run([words]) if not one[-1]]
            if name in ("multi", "exec"):
                pair.run([[b"DISCARD"]])
    pair.close()
    assert not faults, f"KV_SEED={seed}, RESP{protocol}:\n" + told(faults, len(faults))


def test_the_forms_cover_every_command_that_redis_has_too(kv, redis):
    node = kv.node()
    with redis.connect() as theirs, Resp(node.host, node.port) as ours:
        known = {name.decode() for name in theirs.value("COMMAND", "LIST")}
        have = {name.decode() for name in ours.value("COMMAND", "LIST")}
    own = {row["command"].lower() for row in commandtable.read(DOCUMENT) if row["in Redis 7.0"] == "no"}
    assert have - own == set(FORMS) and set(FORMS) <= known and own - known == own - {"restore"}


# --- connections and whole streams -----------------------------------------------------------------


def both(redis, node, data):
    """What each sends until it closes the connection, whose other side is ended after that data."""
    answers = []
    for host, port in (redis.host, redis.port), (node.host, node.port):
        with Resp(host, port) as end:
            end.ask("PING")
            end.send(data)
            try:
                end.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has closed it already
            answers.append(end.rest())
    return answers


MALFORMED = [
    b"*x\r\n", b"*1\r\n+x\r\n", b"*1\r\n$x\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$-5\r\nPING\r\n",
    b"*2147483648\r\n", b"*1\r\n$536870913\r\n", b"*99999999999999999999\r\n", b"* 1\r\n", b"*1\n$4\nPING\n",
    b"*-1\r\n*1\r\n$4\r\nPING\r\n", b"*0\r\n*1\r\n$4\r\nPING\r\n", b"*-5\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", b"*1\r\nPING\r\n", b"*1\r\n$\r\n", b"*\r\n", b"*+1\r\n$4\r\nPING\r\n",
    b"*1\r\n$+4\r\nPING\r\n", b"*1\r\n$04\r\nPING\r\n", b"*01\r\n$4\r\nPING\r\n", b"*1 \r\n",
    b"*1\r\n:4\r\n", b"*1\r\n$4\r\nPI", b"*2\r\n$4\r\nPING\r\n", b"\r\n\r\nPING\r\n", b"PING", b"  PING  \r\n",
    b"ping\n", b"\n\n", b"   \r\n", b'"PING\r\n', b"SET a 'b\r\nPING\r\n", b'SET "a"b c\r\n', b"GET 'a\\'b'\r\n",
    b'SET a "\\x41\\n\\q\\"\\xZZ"\r\nGET a\r\nQUIT\r\n', b"ECHO '\\x41\\n'\r\n", b"ECHO a\tb\r\n", b"ECHO\ta\r\n",
    b"*1\r\n$4\r\nQUIT\r\nPING\r\n", b"QUIT\r\nPING\r\n", b"*1\r\n$0\r\n\r\n", b'""\r\n', b"GET " + b"x" * 70000,
    b"*" + b"1" * 70 + b"\r\n", b"*1\r\n$" + b"1" * 70 + b"\r\n",
]


def malformed_differences():
    """{request: (Redis' answer, simple-kv's)} of the document's second table."""
    rows = re.findall(r"^\| `(\*[^`]+)` \| `([^`]+)` \| `([^`]+)` \| [^|]+ \|$", DOCUMENT, re.M)
    assert rows
    return {codecs.decode(request, "unicode_escape").encode(): (theirs, ours)
            for request, theirs, ours in rows}


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_malformed_and_inline_requests(kv, redis, number):
    node = large(kv)
    theirs, ours = both(redis, node, MALFORMED[number])
    told = malformed_differences().get(MALFORMED[number])
    if told:
        assert tuple(answer.decode("latin-1").strip().replace("\r\n", " ") or "nothing"
                     for answer in (theirs, ours)) == told
    else:
        assert ours == theirs, MALFORMED[number][:100]


def test_every_malformed_request_of_the_document_is_tried():
    assert set(malformed_differences()) <= set(MALFORMED)


@pytest.mark.parametrize("protocol", (2, 3))
def test_client_reply_keeps_back_the_same_replies(kv, redis, protocol):
    node = kv.node()
    hello = encode(["HELLO", str(protocol)]) if protocol == 3 else b""
    data = b"".join(encode(words.split()) for words in (
        "SET a 1", "CLIENT REPLY SKIP", "INCR a", "INCR a", "CLIENT REPLY OFF", "INCR a", "NOSUCH", "PING",
        "CLIENT REPLY SKIP", "INCR a", "PING", "CLIENT REPLY ON", "GET a", "CLIENT REPLY SKIP", "NOSUCH", "PING",
        "CLIENT REPLY OFF", "RESET", "PING", "QUIT"))
    theirs, ours = both(redis, node, hello + data)
    if protocol == 3:
        theirs, ours = (re.sub(rb"\$7\r\nversion.*?:\d+\r\n\$4\r\nmode", b"", text, 1, re.DOTALL)
                        for text in (theirs, ours))
    assert ours == theirs and ours.endswith(b"+PONG\r\n+OK\r\n")


@pytest.mark.parametrize("how", ("OFF", "SKIP"))
@pytest.mark.parametrize("malformed", (b"*x\r\n", b"*1\r\n$x\r\n", b"SET a 'b\r\n"),
                         ids=("count", "size", "quotes"))
def test_client_reply_keeps_back_the_error_of_a_malformed_request(kv, redis, how, malformed):
    node = kv.node()
    theirs, ours = both(redis, node, encode(["SET", "a", "1"]) + encode(["CLIENT", "REPLY", how]) + malformed +
                        encode(["PING"]))
    assert ours == theirs == b"+OK\r\n"


def test_client_reply_off_within_a_transaction_keeps_back_all_of_its_reply(kv, redis):
    data = b"".join(encode(words.split()) for words in (
        "MULTI", "CLIENT REPLY OFF", "INCR a", "EXEC", "CLIENT REPLY ON", "PING"))
    theirs, ours = both(redis, kv.node(), data)
    queued = b"+OK\r\n" + 2 * b"+QUEUED\r\n"
    assert theirs == queued + b"*2\r\n+OK\r\n+PONG\r\n"
    assert ours == queued + b"+OK\r\n+PONG\r\n"


@pytest.mark.parametrize("protocol", (2, 3))
def test_a_watched_key_that_somebody_writes_calls_the_transaction_off(kv, redis, protocol):
    node = kv.node()
    pairs = [Pair(redis, node, protocol) for _ in range(2)]

    def run(which, text):
        (words, theirs, ours, is_same), = pairs[which].run([text.encode().split()])
        assert is_same, (text, theirs, ours)
        return theirs.raw

    called_off = b"_\r\n" if protocol == 3 else b"*-1\r\n"
    for touch in ("SET w 2", "DEL w", "EXPIRE w 100", "APPEND w x", "FLUSHALL", "RENAME w w2", "SETRANGE w 0 y",
                  "COPY other w REPLACE", "GETDEL w", "PERSIST w", "PEXPIREAT w 1", "RENAME other w"):
        run(0, "FLUSHALL")
        for text in ("SET w 1 EX 1000", "SET other 3", "WATCH w", "MULTI", "GET w"):
            run(0, text)
        run(1, touch)
        assert run(0, "EXEC") == called_off, touch
    for text in ("SET w 1", "WATCH w", "UNWATCH", "MULTI", "GET w"):
        run(0, text)
    run(1, "SET w 2")
    assert run(0, "EXEC") == b"*1\r\n$1\r\n2\r\n"
    for pair in pairs:
        pair.close()


MALFORMED_IN_MULTI = [
    "WATCH", "MULTI x", "DISCARD x", "EXEC x", "UNWATCH x", "GET", "NOSUCH", "COMMAND|COUNT",
    *SUBCOMMANDS, *(f"{name} FROB" for name in SUBCOMMANDS - {"cluster"}), "CLIENT GETNAME x", "CLIENT KILL",
    "COMMAND COUNT x", "CONFIG GET", "CONFIG SET maxmemory", "FUNCTION", "LATENCY HISTORY", "LATENCY LATEST x",
    "MEMORY USAGE", "OBJECT ENCODING", "OBJECT ENCODING a b", "OBJECT HELP x", "SLOWLOG LEN x"]


def run_one(pair, text):
    (_, theirs, ours, is_same), = pair.run([text.encode().split()])
    assert is_same, (text, theirs, ours)
    return theirs.raw


@pytest.mark.parametrize("malformed", sorted(set(MALFORMED_IN_MULTI) - {"command"}))
def test_a_malformed_command_calls_the_transaction_off(kv, redis, malformed):
    pair = Pair(redis, kv.node(), 2)
    for text in ("MULTI", "SET a 1"):
        run_one(pair, text)
    assert run_one(pair, malformed)[:1] == b"-"
    for text in ("EXEC", "DISCARD"):
        assert run_one(pair, text)[:1] == b"-"
    assert run_one(pair, "GET a") == b"$-1\r\n"
    pair.close()


@pytest.mark.parametrize("refused", ("WATCH a", "MULTI", "SLOWLOG GET 1 2", "FUNCTION FLUSH x y", "SELECT 9",
                                     "OBJECT FREQ nosuch", "LATENCY RESET x y z"))
def test_what_is_refused_for_another_reason_does_not_call_it_off(kv, redis, refused):
    pair = Pair(redis, kv.node(), 2)
    for text in ("MULTI", "SET a 1", refused, "UNWATCH", "EXEC"):
        run_one(pair, text)
    assert run_one(pair, "GET a") == b"$1\r\n1\r\n"
    pair.close()


def test_a_malformed_exec_watches_no_key_any_more(kv, redis):
    pair = Pair(redis, kv.node(), 2)
    for text in ("SET a 1", "WATCH a", "EXEC x", "SET a 2", "MULTI", "GET a"):
        run_one(pair, text)
    assert run_one(pair, "EXEC") == b"*1\r\n$1\r\n2\r\n"
    pair.close()


def test_client_kill_ends_the_connection_that_it_names(kv, redis):
    node = kv.node()
    for server in (redis, node):
        with Resp(server.host, server.port) as killer:
            for how in ("ID", "ADDR", "LADDR", "old"):
                victim = Resp(server.host, server.port)
                address = "{}:{}".format(*victim.sock.getsockname())
                own = victim.value("CLIENT", "ID")
                if how == "old":
                    assert killer.ask("CLIENT", "KILL", address).raw == b"+OK\r\n"
                elif how == "LADDR":
                    words = ("LADDR", f"{server.host}:{server.port}", "ID", own)
                    assert killer.value("CLIENT", "KILL", *words) == 1
                else:
                    assert killer.value("CLIENT", "KILL", how, own if how == "ID" else address) == 1
                assert victim.rest() == b"", how
                victim.close()
            assert killer.ask("CLIENT", "KILL", "ID", killer.value("CLIENT", "ID"),
                              "SKIPME", "no").raw == b":1\r\n"
            assert killer.rest() == b""


# --- what rediscommands.py compares by its type alone -------------------------------------------------


def pairs_of(reply):
    plain = reply.plain()
    return dict(zip(plain[::2], plain[1::2]))


def test_hello(kv, redis):
    node = kv.node()
    for protocol in "2", "3":
        answers = []
        for server in redis, node:
            with Resp(server.host, server.port) as conn:
                reply = conn.ask("HELLO", protocol)
                answers.append((reply.kind, pairs_of(reply)))
                assert pairs_of(reply)[b"id"] == conn.value("CLIENT", "ID")
        (their_kind, theirs), (our_kind, ours) = answers
        assert their_kind == our_kind
        assert list(theirs) == list(ours)
        for field in theirs:
            if field not in (b"id", b"version"):
                assert theirs[field] == ours[field], field
        assert re.fullmatch(rb"7\.0\.\d+", ours[b"version"]), ours


def fields(text):
    return dict(word.split("=", 1) for word in text.split())


def test_client_list_has_the_fields_of_redis(kv, redis):
    node = kv.node()
    for protocol in 2, 3:
        lines = []
        for server in redis, node:
            with Resp(server.host, server.port, protocol) as conn:
                conn.value("CLIENT", "SETNAME", "me")
                own = conn.value("CLIENT", "ID")
                info, listed = conn.ask("CLIENT", "INFO"), conn.ask("CLIENT", "LIST", "ID", own)
                assert info.kind == listed.kind == ("=" if protocol == 3 else "$")
                row = fields(listed.value.decode().removeprefix("txt:"))
                assert set(row) == set(fields(info.value.decode().removeprefix("txt:")))
                assert row["id"] == str(own) and row["name"] == "me"
                assert row["addr"] == "{}:{}".format(*conn.sock.getsockname())
                assert row["laddr"] == f"{server.host}:{server.port}"
                assert row["cmd"] == "client|list" and row["db"] == "0", row
                lines.append((info.value[-1:], listed.value[-1:], row))
        assert lines[0][:2] == lines[1][:2]
        theirs, ours = lines[0][2], lines[1][2]
        assert set(theirs) - set(ours) == {"fd", "argv-mem", "multi-mem", "rbs", "rbp"}
        assert set(ours) - set(theirs) == {"lib-name", "lib-ver"}
        order = [field for field in theirs if field in ours]
        assert [field for field in ours if field in theirs] == order


INFO_FIELDS = """redis_version redis_mode os arch_bits process_id run_id tcp_port uptime_in_seconds
uptime_in_days executable connected_clients maxclients used_memory used_memory_human
used_memory_rss maxmemory maxmemory_policy mem_fragmentation_ratio loading
rdb_bgsave_in_progress rdb_last_save_time aof_enabled total_connections_received
total_commands_processed total_net_input_bytes total_net_output_bytes
rejected_connections expired_keys evicted_keys keyspace_hits keyspace_misses role connected_slaves
used_cpu_sys used_cpu_user cluster_enabled""".split()


def info_of(conn, *words):
    reply = conn.ask("INFO", *words)
    assert reply.kind == ("=" if conn.protocol == 3 else "$"), reply
    return reply.value.decode().removeprefix("txt:")


def test_info_has_what_exporters_read(kv, redis):
    node = kv.node()
    for server in redis, node:
        for protocol in 2, 3:
            with Resp(server.host, server.port, protocol) as conn:
                conn.value("SET", "a", "1", "EX", "1000")
                conn.value("SET", "b", "1")
                text = info_of(conn)
                assert text.endswith("\r\n") and "\n" not in text.replace("\r\n", "")
                found = dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)
                assert set(INFO_FIELDS) <= set(found), set(INFO_FIELDS) - set(found)
                assert re.match(r"keys=2,expires=1,avg_ttl=\d+$", found["db0"]), found["db0"]
                assert re.fullmatch(r"7\.0\.\d+", found["redis_version"])
                assert found["role"] == "master" and found["loading"] == "0"
                sections = re.findall(r"^# (\w+)\r$", text, re.M)
                wanted = ["Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "CPU",
                          "Cluster", "Keyspace"]
                assert [name for name in sections if name in wanted] == wanted
                for section in wanted:
                    assert re.findall(r"^# (\w+)\r$", info_of(conn, section), re.M) == [section]
                assert re.findall(r"^# (\w+)\r$", info_of(conn, "cpu", "SERVER"), re.M) == \
                    ["Server", "CPU"]
                assert info_of(conn, "nosuch") == ""
                conn.value("FLUSHALL")


def test_command_info_agrees_with_redis(kv, redis):
    """Arity and key positions; and what a person reads in COMMAND DOCS is there."""
    node = kv.node()
    with redis.connect() as theirs, Resp(node.host, node.port) as ours:
        names = sorted(FORMS)
        for name, their, our in zip(names, theirs.value("COMMAND", "INFO", *names),
                                    ours.value("COMMAND", "INFO", *names)):
            assert our[:2] == their[:2] and our[3:6] == their[3:6], name
            assert len(our) == len(their), name
            if name in SUBCOMMANDS:
                continue  # Redis has their flags with each subcommand
            flags = {b"write", b"readonly", b"fast", b"admin", b"denyoom"}
            their_flags, our_flags = (set(row[2]) & flags for row in (their, our))
            assert our_flags <= their_flags and (b"write" in our_flags) == (b"write" in their_flags), \
                (name, their_flags, our_flags)
        docs = ours.value("COMMAND", "DOCS", "get", "nosuch")
        assert docs[0] == b"get" and len(docs) == 2
        assert dict(zip(docs[1][::2], docs[1][1::2]))[b"group"] == b"string"
        for words in (["MSET", "a", "1", "b", "2"], ["DEL", "x", "y"], ["RENAME", "a", "b"],
                      ["COPY", "a", "b"], ["GET", "a"], ["MGET", "a", "b", "c"]):
            assert ours.ask("COMMAND", "GETKEYS", *words).raw == \
                theirs.ask("COMMAND", "GETKEYS", *words).raw
        for conn in theirs, ours:
            names = [name for name in conn.value("COMMAND", "LIST") if b"|" not in name]
            assert conn.value("COMMAND", "COUNT") == len(names) == len(conn.value("COMMAND"))


def test_slow_commands_are_listed_as_redis_lists_them(kv, redis):
    node = kv.node()
    for server in redis, node:
        with Resp(server.host, server.port) as conn:
            conn.value("CLIENT", "SETNAME", "me")
            conn.value("CONFIG", "SET", "slowlog-log-slower-than", "0")
            conn.value("SLOWLOG", "RESET")
            conn.value("SET", "key", "v" * 300)
            conn.value("CONFIG", "SET", "slowlog-log-slower-than", "10000")
            entry = conn.value("SLOWLOG", "GET", "-1")[0]
            number, when, took, words, address, name = entry
            assert number >= 0 and when > 1600000000 and took >= 0
            assert words == [b"SET", b"key", b"v" * 128 + b"... (172 more bytes)"]
            assert address.decode() == "{}:{}".format(*conn.sock.getsockname()) and name == b"me"
            assert conn.value("SLOWLOG", "LEN") == 2
            conn.value("SLOWLOG", "RESET")


def test_scan_visits_every_key_that_stays(kv, redis):
    node = kv.node()
    keys = {b"key:%d" % i for i in range(3000)}
    for server in redis, node:
        with Resp(server.host, server.port) as conn, Resp(server.host, server.port) as other:
            conn.value("MSET", *(word for key in sorted(keys) for word in (key, b"v")))
            seen, cursor, turns = set(), b"0", 0
            while True:
                other.value("SET", b"new:%d" % turns, "v")
                other.value("DEL", b"new:%d" % (turns - 5))
                cursor, found = conn.value("SCAN", cursor, "COUNT", "100")
                seen |= set(found)
                turns += 1
                if cursor == b"0":
                    break
            assert keys <= seen and turns > 3
            conn.value("FLUSHALL")


def test_time_is_now_to_two_milliseconds(kv, redis):
    """A turn of the loop asks for the time once, if a millisecond has passed since it was asked for last."""
    node = kv.node()
    with redis.connect() as theirs, Resp(node.host, node.port) as ours:
        before, middle, after = (tuple(map(int, conn.value("TIME")))
                                 for conn in (theirs, ours, theirs))
    before, middle, after = (seconds * 1000000 + rest for seconds, rest in (before, middle, after))
    assert before - 2000 < middle <= after and middle % 1000 == 0


def test_memory_usage_tells_the_truth(kv):
    node = kv.node()
    with Resp(node.host, node.port) as conn:
        conn.value("MSET", *(word for i in range(100000) for word in (f"key:{i}", "v")))
        conn.value("SET", "large", "v" * 100000)
        sizes = [conn.value("MEMORY", "USAGE", f"key:{i}") for i in range(100)]
        assert 20 <= min(sizes) and 40 <= sum(sizes) / len(sizes) <= 130, sizes
        assert 100000 <= conn.value("MEMORY", "USAGE", "large") <= 130000


def test_randomkey_gives_keys_that_are_there(kv):
    node = kv.node()
    with Resp(node.host, node.port) as conn:
        keys = {b"key%d" % i for i in range(20)}
        conn.value("MSET", *(word for key in sorted(keys) for word in (key, b"v")))
        eventually(lambda: {conn.value("RANDOMKEY") for _ in range(200)} == keys, 10,
                   "every key comes, and no other")


# --- docs/commands.md ------------------------------------------------------------------------------


def test_the_document_lists_every_command(kv):
    node = kv.node()
    assert commandtable.of_node(node) in DOCUMENT, \
        f"docs/commands.md is to have this table:\n{commandtable.of_node(node)}"


def differences():
    """[(request, Redis' reply, simple-kv's)] of the table."""
    rows = re.findall(r"^\| `([^`*]+)` \| `([^`]+)` \| `([^`]+)` \| [^|]+ \|$", DOCUMENT, re.M)
    assert len(rows) >= 5
    return rows


def as_shown(raw):
    """A reply as the document shows it: its first line, and the next one if it is a string."""
    lines = raw.decode("latin-1").split("\r\n")
    return " ".join(lines[:2]).strip() if lines[0][:1] in "$=" else lines[0]


def fits(shown, raw):
    pattern = ".*".join(map(re.escape, shown.split("…")))
    return re.fullmatch(pattern, as_shown(raw), re.DOTALL)


@pytest.mark.parametrize("request_text, theirs, ours", differences())
def test_the_differences_are_as_the_document_tells(kv, redis, request_text, theirs, ours):
    node = kv.node()
    for server, shown in (redis, theirs), (node, ours):
        with Resp(server.host, server.port) as conn:
            conn.value("SET", "key", "value")
            replies = [conn.ask(*words_of(part)) for part in request_text.split("; ")]
            assert fits(shown, replies[-1].raw), (request_text, shown, replies[-1])
