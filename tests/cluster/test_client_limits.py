"""Clients that send too much, read too little, vanish, or are too many: bounded, and told so."""

import os
import select
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from kvtest import MIB, PLAIN_BINARY, SANITIZED, eventually, raise_open_files

KEY_BYTES_MAX = 65535
RSS_SLACK_BYTES = 200 * MIB if SANITIZED else 12 * MIB


def test_a_key_of_65535_bytes_works_and_one_more_does_not(kv):
    node = kv.node()
    longest, too_long = b"k" * KEY_BYTES_MAX, b"k" * (KEY_BYTES_MAX + 1)
    with node.connect() as conn:
        assert conn.ask(b"SET " + longest + b" v") == b"OK"
        assert conn.ask(b"GET " + longest) == b"v"
        for line in (b"SET " + too_long + b" v", b"GET " + too_long, b"DEL " + too_long,
                     b"EXISTS a " + too_long, b"SETEX " + too_long + b" 10 v"):
            reply = conn.ask(line)
            assert reply.startswith(b"ERROR ") and b"65535" in reply, (line[:10], reply[:200])
        assert conn.ask(b"COUNT") == b"1"
        assert conn.ask(b"DEL " + longest) == b"1"


def test_a_quoted_key_of_65535_escaped_bytes_works(kv):
    with kv.node().connect() as conn:
        assert conn.ask(b'SET "' + b"\\xff" * KEY_BYTES_MAX + b'" v') == b"OK"
        assert conn.ask(b"GET " + b"\xff" * KEY_BYTES_MAX) == b"v"
        reply = conn.ask(b'GET "' + b"\\xff" * (KEY_BYTES_MAX + 1) + b'"')
        assert reply.startswith(b"ERROR ") and b"65535" in reply


def after_error(node, conn):
    """The connection is in order or closed; no stray byte; and the node serves others."""
    try:
        assert conn.ask(b"PING") == b"+PONG"
    except ConnectionError:
        pass
    assert node.cmd("PING") == "+PONG"


@pytest.mark.parametrize("excess", [1, 1000, MIB])
def test_a_value_over_the_limit_is_refused_and_changes_nothing(kv, excess):
    node = kv.node(max_value="100KiB")
    limit = 100 * 1024
    with node.connect() as conn:
        assert conn.ask(b"SET k " + b"v" * limit) == b"OK"
        assert conn.ask(b"GET k").count(b"v") == limit
        try:
            conn.send(b"SET k " + b"w" * (limit + excess) + b"\n")
        except ConnectionError:
            pass
        reply = conn.line()
        assert reply.startswith(b"ERROR ") and (b"value" in reply or b"long" in reply), reply[:200]
        after_error(node, conn)
    assert node.cmd("GET", "k").count("v") == limit


def test_a_value_of_16_mib_works_by_default_and_one_more_byte_does_not(kv):
    node = kv.node()
    with node.connect(timeout_s=30) as conn:
        value = bytes(range(11, 256)) * (16 * MIB // 245 + 1)
        value = value[:16 * MIB]
        assert conn.ask(b"SET k " + value) == b"OK"
        same = conn.ask(b"GET k") == value
        assert same
        try:
            conn.send(b"SET k " + value + b"x\n")
        except ConnectionError:
            pass
        assert conn.line().startswith(b"ERROR ")
    assert node.cmd("EXISTS", "k") == "1"


@pytest.mark.parametrize("start", [b"", b"SET k ", b"GET ", b'GET "', b"PING ", b"DEL a b ",
                                   b"SETEX k 10 ", b"SET k v\nGET k\n"])
def test_a_line_that_never_ends_is_refused_in_bounded_memory(kv, start):
    node = kv.node(max_value="1MiB")
    before = node.rss_bytes()
    chunk, sent, received = b"x" * 65536, 0, b""
    with node.connect() as conn:
        conn.sock.setblocking(False)
        conn.sock.send(start)
        end = time.monotonic() + 30
        while time.monotonic() < end and sent < 256 * MIB:
            readable, writable, _ = select.select([conn.sock], [conn.sock], [], 5)
            if readable and b"ERROR" in (received := received + conn.sock.recv(65536)):
                break
            if writable:
                try:
                    sent += conn.sock.send(chunk)
                except BlockingIOError:
                    continue
        else:
            pytest.fail(f"no error after {sent} bytes without a newline")
        conn.sock.settimeout(5)
        received += conn.rest()  # an end, not a reset, which could take the error away
    last = received.rstrip(b"\n").split(b"\n")[-1]
    assert last.startswith(b"ERROR ") and (b"long" in last or b"65535" in last), received[:200]
    assert node.rss_bytes() - before < RSS_SLACK_BYTES
    assert node.cmd("PING") == "+PONG"
    eventually(lambda: node.number("clients") == 1, 10, "the connection is forgotten")


def test_many_half_sent_lines_do_not_add_up_past_their_limits(kv):
    node = kv.node(max_value="1MiB")
    before = node.rss_bytes()
    conns = [node.connect() for _ in range(50)]
    for conn in conns:
        conn.send(b"SET k " + b"x" * 100_000)
    assert node.cmd("PING") == "+PONG"
    for conn in conns:
        conn.reset()
    eventually(lambda: node.number("clients") == 1, 10, "the connections are forgotten")
    if not SANITIZED:
        eventually(lambda: node.rss_bytes() - before < 4 * MIB, 10, "their memory is returned")


def test_a_client_that_never_reads_is_closed_in_bounded_memory(kv):
    node = kv.node(output_timeout="1s")
    node.cmd("SET", "big", "x" * 1_000_000)
    before = node.rss_bytes()
    start = time.monotonic()
    with node.connect(receive_bytes=4096) as conn:
        address = conn.address
        conn.send(b"GET big\n" * 2000)
        eventually(lambda: node.number("clients") == 2, 5, "the client is accepted")
        peak = before

        def closed():
            nonlocal peak
            peak = max(peak, node.rss_bytes())
            return node.number("clients") == 1
        eventually(closed, 10, "the client is closed")
        assert time.monotonic() - start >= 0.9
        assert peak - before < RSS_SLACK_BYTES
    assert address in node.wait_log("output-timeout")


def test_pipelined_commands_wait_while_too_much_output_is_unsent(kv):
    node = kv.node(max_output="256KiB", output_timeout="60s")
    node.cmd("SET", "big", "x" * 100_000)
    with node.connect(receive_bytes=4096) as conn:
        conn.send(b"GET big\n" * 500 + b"SET after 1\n")
        before = node.number("commands")
        eventually(lambda: node.number("commands") > before, 5, "the node looks round")
        assert node.cmd("EXISTS", "after") == "0"
        for _ in range(500):
            assert len(conn.line()) == 100_000
        assert conn.line() == b"OK"
    assert node.cmd("EXISTS", "after") == "1"


def test_a_client_that_reads_slowly_is_not_closed(kv):
    node = kv.node(output_timeout="1s", max_output="64KiB")
    node.cmd("SET", "big", "x" * 100_000)
    with node.connect(receive_bytes=8192) as conn:
        conn.send(b"GET big\n" * 100)
        read, end = 0, time.monotonic() + 3
        while time.monotonic() < end:
            read += len(conn.sock.recv(16384))
            select.select([], [], [], 0.1)
        assert read < 100 * 100_001
        while read < 100 * 100_001:
            got = len(conn.sock.recv(1 << 20))
            assert got, "closed while it was reading"
            read += got


def test_a_client_that_vanishes_mid_line_changes_nothing(kv):
    node = kv.node()
    files = node.open_files()
    for _ in range(50):
        conn = node.connect()
        conn.send(b"SET done 1\nSET half writt")
        assert conn.line() == b"OK"
        conn.reset()
    eventually(lambda: node.number("clients") == 1, 10, "the connections are forgotten")
    assert node.cmd("EXISTS", "half") == "0"
    assert node.cmd("EXISTS", "done") == "1"
    assert node.open_files() <= files + 1


def test_a_client_that_vanishes_with_answers_unsent_harms_nobody(kv):
    node = kv.node()
    node.cmd("SET", "big", "x" * 1_000_000)
    for _ in range(20):
        conn = node.connect(receive_bytes=4096)
        conn.send(b"GET big\n" * 50)
        conn.sock.recv(1)
        conn.reset()
    eventually(lambda: node.number("clients") == 1, 10, "the connections are forgotten")


def test_more_clients_than_max_clients_are_told_and_closed(kv):
    node = kv.node(max_clients=3)
    conns = [node.connect() for _ in range(3)]
    assert [conn.cmd("PING") for conn in conns] == ["+PONG"] * 3
    for data in (b"", b"PING\n", b"SET k v\n" * 1000):
        with node.connect() as extra:
            extra.send(data)
            reply = extra.line()
            assert reply.startswith(b"ERROR ") and b"max-clients" in reply, reply
            with pytest.raises(ConnectionError):
                extra.line()
    with node.connect() as extra:
        extra.send(b"*1\r\n$4\r\nPING\r\n")
        assert extra.line() == b"-ERR max number of clients reached\r"
    assert conns[0].cmd("EXISTS", "k") == "0"
    conns.pop().close()

    def has_room():
        with node.connect() as conn:
            return conn.cmd("PING") == "+PONG"
    eventually(has_room, 5, "a freed place works again")
    assert [conn.cmd("PING") for conn in conns] == ["+PONG"] * 2


def test_where_fewer_files_may_be_open_the_log_says_so_and_clients_in_place_go_on(kv):
    node = kv.node(prefix=["prlimit", "--nofile=64:64"])
    assert "raise the limit" in node.wait_log("only 64 open files are allowed")
    conns = [node.connect() for _ in range(100)]

    def answers(conn):
        try:
            return conn.cmd("PING") == "+PONG"
        except ConnectionError:
            return False
    served = [answers(conn) for conn in conns]
    assert 30 < served.count(True) < 64 and served == sorted(served, reverse=True)
    assert all(answers(conn) for conn, good in zip(conns, served) if good)
    conns[0].close()

    def has_room():
        with node.connect() as conn:
            return answers(conn)
    eventually(has_room, 5, "a freed place works again")
    for conn in conns:
        conn.close()


def test_peers_get_through_when_all_places_for_clients_are_taken(kv):
    crowded = kv.node(max_clients=2)
    conns = [crowded.connect() for _ in range(2)]
    assert [conn.cmd("PING") for conn in conns] == ["+PONG"] * 2
    other = kv.node(peers=crowded.address)
    eventually(lambda: other.number("peers_linked") == 1, 15, "the peers link up")
    other.cmd("SET", "k", "v")
    eventually(lambda: conns[0].cmd("GET", "k") == "v", 5, "the write arrives")


def test_10000_idle_connections_cost_at_most_2_kib_each(kv):
    count = 10_000
    if raise_open_files(count + 500) < count + 500:
        pytest.skip(f"needs {count + 500} open files, which the hard limit forbids")
    node = kv.node(max_clients=count + 100)
    node.cmd("PING")
    before = node.rss_bytes()
    conns = []
    try:
        for _ in range(count):
            conns.append(node.connect())
        eventually(lambda: node.number("clients") == count + 1, 15, "all are accepted")
        silent = node.rss_bytes()
        for conn in conns:
            conn.send(b"PING\n")
        assert all(conn.line() == b"+PONG" for conn in conns)
        spoken = node.rss_bytes()
    finally:
        for conn in conns:
            conn.close()
    eventually(lambda: node.number("clients") == 1, 15, "all are forgotten")
    print(f"bytes a connection: {(silent - before) / count:.0f} silent, "
          f"{(spoken - before) / count:.0f} after a PING")
    if not SANITIZED:
        assert (silent - before) / count <= 2048
        assert (spoken - before) / count <= 2048


def page_faults(node):
    """That the process has met so far: pages that it took from the kernel."""
    stat = Path(f"/proc/{node.pid}/stat").read_text("ascii")
    return int(stat.rpartition(")")[2].split()[7])


def test_memory_of_large_replies_is_used_again(kv):
    node = kv.node(binary=PLAIN_BINARY)
    size, rounds = 64 << 10, 40
    node.cmd("SET", "large", "x" * size)
    with ExitStack() as stack:
        conns = [stack.enter_context(node.connect()) for _ in range(20)]
        for i in range(rounds + 3):
            if i == 3:
                before = page_faults(node)
            for conn in conns:
                conn.send(b"GET large\n")
            assert all(len(conn.line()) == size for conn in conns)
    pages = rounds * len(conns) * size // os.sysconf("SC_PAGE_SIZE")
    assert page_faults(node) - before < pages // 10
