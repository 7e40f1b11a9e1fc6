"""How bytes become commands: lines, words, values, splits, ends of input, and nc."""

import subprocess

import pytest

from kvtest import eventually

NASTY_KEYS = [b"a b", b"new\nline", b"tab\there", b"\x00", b"\xff\xfe", b'"', b'say "hi"', b"\\",
              b"\r", b"plain", b" lead", b"trail ", "grün".encode(), b"*", b"a\\x41", b"\x7f",
              b"x" * 300]


def quoted(key):
    """The quoted form of a key, every byte that might need it escaped."""
    escaped = b"".join(bytes([byte]) if 0x20 <= byte < 0x7f and byte not in b'"\\'
                       else b"\\x%02x" % byte for byte in key)
    return b'"' + escaped + b'"'


def ask_all(node, data):
    """Everything the server says to this input, which ends with a half-close."""
    with node.connect() as conn:
        conn.send(data)
        conn.half_close()
        return conn.rest()


SCRIPT = (b'SET a 1\r\nGET a\n\nset "k 2"  two words \nGET "k 2"\nDEL a nope\nEXISTS a "k 2"\n'
          b"SETEX e 100 soon\nTTL e\nFROB\nGET\nPING x\nSET bin \x00\xff\nGET bin\nQUIT\n")
ANSWER = (b"OK\n1\nOK\n two words \n1\n1\nOK\n100\n")  # then two errors and the rest
ENDING = b"x\nOK\n\x00\xff\n+OK\n"


def check_script(answer):
    assert answer.startswith(ANSWER), answer
    assert answer.endswith(ENDING), answer
    errors = answer[len(ANSWER):-len(ENDING)].split(b"\n")
    assert len(errors) == 3 and all(error.startswith(b"ERROR ") for error in errors[:2])


def test_pipelined_input_is_answered_in_order(kv):
    check_script(ask_all(kv.node(), SCRIPT))


def test_input_may_come_byte_by_byte(kv):
    node = kv.node()
    with node.connect() as conn:
        for byte in SCRIPT:
            conn.send(bytes([byte]))
        check_script(conn.rest())


def test_input_may_be_split_anywhere(kv):
    node = kv.node()
    for split in range(1, len(SCRIPT)):
        with node.connect() as conn:
            conn.send(SCRIPT[:split])
            node.cmd("PING")  # the server has been round its loop with the first part
            conn.send(SCRIPT[split:])
            check_script(conn.rest())


def test_a_deep_pipeline_is_answered_in_order(kv):
    node = kv.node()
    count = 50_000
    with node.connect(timeout_s=60) as conn:
        replies = conn.pipeline((line for i in range(count)
                                 for line in (b"SET k %d" % i, b"GET k")), window=20_000)
    assert replies[0::2] == [b"OK"] * count
    assert replies[1::2] == [b"%d" % i for i in range(count)]


def test_lines_may_end_in_crlf(kv):
    node = kv.node()
    assert ask_all(node, b"SET k v\r\nGET k\r\nPING\r\n") == b"OK\nv\n+PONG\r\n"


def test_a_carriage_return_inside_a_value_stays(kv):
    assert ask_all(kv.node(), b"SET k a\rb\nGET k\n") == b"OK\na\rb\n"


def test_commands_may_be_in_any_case(kv):
    assert ask_all(kv.node(), b"sEt k v\nget k\nDel k\nping\n") == b"OK\nv\n1\n+PONG\n"


def test_keys_keep_their_case(kv):
    assert ask_all(kv.node(), b"SET k v\nGET K\n") == b"OK\nNOT_FOUND\n"


def test_empty_lines_are_skipped(kv):
    assert ask_all(kv.node(), b"\n\r\n\n\r\nPING\n\n\n") == b"+PONG\n"


def test_words_may_be_separated_by_several_spaces(kv):
    node = kv.node()
    node.cmd("SET", "k", "v")
    assert ask_all(node, b"GET   k\nEXISTS  k   k2\nGET k \n") == b"v\n1\nv\n"


@pytest.mark.parametrize("value", [
    b"v", b"two words", b" leading", b"trailing ", b"  both  ", b" ", b"", b'"quoted"', b'"',
    b"\\x41", b"\t", b"\x00", b"\x00\xff\x00", "grün ☂".encode(), b"OK", b"NOT_FOUND",
    b"ERROR x", b"SET k w", bytes(byte for byte in range(256) if byte != 0x0a)], ids=ascii)
def test_a_value_is_the_rest_of_the_line_verbatim(kv, value):
    node = kv.node()
    with node.connect() as conn:
        assert conn.ask(b"SET key " + value) == b"OK"
        assert conn.ask(b"GET key") == value
        assert conn.ask(b"SETEX key 100 " + value) == b"OK"
        assert conn.ask(b"GET key") == value


def test_an_empty_value_needs_the_space(kv):
    node = kv.node()
    assert ask_all(node, b"SET k \nGET k\nEXISTS k\n") == b"OK\n\n1\n"
    assert ask_all(node, b"SET k\n").startswith(b"ERROR ")


@pytest.mark.parametrize("key", NASTY_KEYS, ids=lambda key: ascii(key[:20]))
def test_any_key_can_be_written_in_quotes(kv, key):
    node = kv.node()
    with node.connect() as conn:
        assert conn.ask(b"SET " + quoted(key) + b" some value") == b"OK"
        assert conn.ask(b"GET " + quoted(key)) == b"some value"
        assert conn.ask(b"EXISTS " + quoted(key) + b" " + quoted(b"other")) == b"1"
        assert conn.ask(b"SETEX " + quoted(key) + b" 100 v 2") == b"OK"
        assert conn.ask(b"TTL " + quoted(key)) == b"100"
        assert conn.ask(b"PERSIST " + quoted(key)) == b"1"
        assert conn.ask(b"EXPIRE " + quoted(key) + b" 50") == b"1"
        assert conn.ask(b"DEL " + quoted(key)) == b"1"


def test_keys_prints_every_key_so_that_it_can_be_typed(kv):
    node = kv.node()
    with node.connect() as conn:
        for key in NASTY_KEYS:
            assert conn.ask(b"SET " + quoted(key) + b" =" + key.hex().encode()) == b"OK"
        count = int(conn.ask(b"KEYS *"))
        printed = [conn.line() for _ in range(count)]
        assert len(printed) == len(NASTY_KEYS)
        values = {conn.ask(b"GET " + word) for word in printed}
    assert values == {b"=" + key.hex().encode() for key in NASTY_KEYS}
    assert b"plain" in printed


def test_bytes_0_and_255_may_stand_in_a_bare_key(kv):
    with kv.node().connect() as conn:
        assert conn.ask(b"SET a\x00b\xff v") == b"OK"
        assert conn.ask(b"GET a\x00b\xff") == b"v"
        assert conn.ask(b"GET a") == b"NOT_FOUND"
        assert conn.ask(b'GET "a\\x00b\\xFF"') == b"v"


@pytest.mark.parametrize("word", [b'""', b'"open', b'"a"b', b'"\\xZZ"', b'"\\q"', b'"\\x4"',
                                  b'"\\"', b'"'])
def test_a_badly_quoted_key_is_an_error(kv, word):
    node = kv.node()
    with node.connect() as conn:
        for line in (b"GET " + word, b"SET " + word + b" v", b"DEL ok " + word):
            assert conn.ask(line).startswith(b"ERROR "), line
        assert conn.ask(b"COUNT") == b"0"


def test_a_quote_inside_a_bare_key_is_a_plain_byte(kv):
    with kv.node().connect() as conn:
        assert conn.ask(b'SET it"s v') == b"OK"
        assert conn.ask(b'GET "it\\"s"') == b"v"


def test_the_last_line_needs_no_newline(kv):
    node = kv.node()
    assert ask_all(node, b"SET k v") == b"OK\n"
    assert ask_all(node, b"PING\nGET k") == b"+PONG\nv\n"


def test_a_half_closed_client_gets_every_answer_and_then_the_end(kv):
    node = kv.node()
    node.cmd("SET", "big", "x" * 500_000)
    whole = ask_all(node, b"GET big\n" * 40) == (b"x" * 500_000 + b"\n") * 40
    assert whole


def test_a_half_closed_client_gets_an_answer_that_has_to_wait(kv):
    node = kv.node(min_acks=1, ack_timeout="300ms")
    assert b"ERROR 0 of 1 peers confirmed within 300 ms" in ask_all(node, b"SET k v\n")


def test_several_lines_are_preceded_by_their_number(kv):
    node = kv.node()
    node.write_many((f"k{i}", i) for i in range(25))
    for command in (b"KEYS *", b"INFO", b"PEERS", b"HELP", b"HELP SET"):
        first, *lines = ask_all(node, command + b"\n").split(b"\n")
        assert lines.pop() == b"" and len(lines) == int(first), command


def test_pipelined_answers_of_several_lines_stay_apart(kv):
    node = kv.node()
    with node.connect() as conn:
        conn.send(b"SET a 1\nKEYS *\nPEERS\nKEYS none\nPING\n")
        assert [conn.line() for _ in range(6)] == [b"OK", b"1", b"a", b"0", b"0", b"+PONG"]


@pytest.mark.parametrize("request_lines", [
    b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET hacked 1\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\nSET hacked 1\r\n",
    b"PING\nHost: evil.example\nSET hacked 1\n",
    b"post /x HTTP/1.0\r\nSET hacked 1\r\n",
    b"SET ok 1\nhost: y\r\nSET hacked 1\r\n"])
def test_a_line_of_an_http_request_ends_the_connection(kv, request_lines):
    node = kv.node()
    with node.connect() as conn:
        conn.send(request_lines)
        conn.rest()
    assert node.cmd("EXISTS", "hacked") == "0"


def test_port_probes_leave_no_line_in_the_log(kv):
    node = kv.node()
    before = node.log_lines()
    for _ in range(100):
        node.connect().close()
    for _ in range(100):
        node.connect().reset()
    for _ in range(20):
        subprocess.run(["nc", "-z", node.host, str(node.port)], check=True)
    assert node.cmd("PING") == "+PONG"
    eventually(lambda: node.number("clients") == 1, 5, "all probes are forgotten")
    assert node.log_lines() == before


def test_nc_that_half_closes_ends_by_itself(kv):
    node = kv.node()
    nc = ["nc", "-N", node.host, str(node.port)]
    for request, answer in ((b"SET manual_key manual_value\n", b"OK\n"),
                            (b"GET manual_key\n", b"manual_value\n"),
                            (b"GET manual_key", b"manual_value\n"),
                            (b"GET manual_key\nGET none\n", b"manual_value\nNOT_FOUND\n")):
        done = subprocess.run(nc, input=request, capture_output=True, timeout=5)
        assert (done.returncode, done.stdout) == (0, answer)


def test_nc_that_does_not_half_close_gets_its_answer_at_once(kv):
    node = kv.node()
    node.cmd("SET", "k", "v")
    with subprocess.Popen(["nc", node.host, str(node.port)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as nc:
        try:
            nc.stdin.write(b"GET k\n")
            nc.stdin.close()
            assert nc.stdout.readline() == b"v\n"
            assert nc.poll() is None
        finally:
            nc.kill()
