"""Many clients in one turn of the loop: a stopped node finds what all of them have sent meanwhile, and gathers
it before it runs any."""

from contextlib import ExitStack, contextmanager

from kvtest import eventually
from resp import Resp, encode

CLIENTS = 300  # more than one gathering takes
BATCH = 40


@contextmanager
def one_turn(node):
    """What is sent within it has all arrived before the node reads any of it."""
    node.pause()
    yield
    node.resume()


def clients(stack, node, count, protocol=2):
    ends = [Resp(node.host, node.port, protocol=protocol) for _ in range(count)]
    for end in ends:
        stack.callback(end.close)
        assert end.ask("PING").value is not None  # it is known for a client
    return ends


def test_each_of_many_clients_gets_its_own_reply(kv):
    node = kv.node()
    with ExitStack() as stack:
        ends = clients(stack, node, CLIENTS)
        lines = [stack.enter_context(node.connect()) for _ in range(CLIENTS)]
        for conn in lines:
            assert conn.ask(b"PING") == b"+PONG"
        for turn in range(3):
            with one_turn(node):
                for i, (end, conn) in enumerate(zip(ends, lines)):
                    end.send(encode(["SET", f"k{i}", f"{turn}-{i}"]))
                    conn.send(b"SET line%d %d-%d\n" % (i, turn, i))
            assert {end.reply().raw for end in ends} == {b"+OK\r\n"}
            assert {conn.line() for conn in lines} == {b"OK"}
            with one_turn(node):
                for i, (end, conn) in enumerate(zip(ends, lines)):
                    end.send(encode(["GET", f"line{i}"]))
                    conn.send(b"GET k%d\n" % i)
            for i, (end, conn) in enumerate(zip(ends, lines)):
                assert end.reply().value == b"%d-%d" % (turn, i)
                assert conn.line() == b"%d-%d" % (turn, i)


def test_pipelines_values_and_single_commands_keep_their_order(kv):
    node = kv.node()
    large = "x" * 65_000  # no more: nobody reads yet
    with ExitStack() as stack:
        ends = clients(stack, node, 60)
        with one_turn(node):
            for i, end in enumerate(ends):
                if i % 3 == 0:
                    end.send(encode(["INCR", "shared"]))
                elif i % 3 == 1:
                    for step in range(BATCH):
                        end.send(encode(["APPEND", f"own{i}", f"{step},"]))
                else:
                    end.send(encode(["SET", f"large{i}", large]))
        for i, end in enumerate(ends):
            if i % 3 == 1:
                sizes = [end.reply().value for _ in range(BATCH)]
                assert sizes == sorted(sizes) and sizes[0] == 2
            else:
                assert not end.reply().is_error
        assert node.cmd("GET", "shared") == "20"
        assert node.cmd("GET", "own1") == "".join(f"{step}," for step in range(BATCH))
        assert node.cmd("GET", "large2") == large


def test_a_client_that_is_killed_before_its_turn_runs_nothing(kv):
    node = kv.node()
    with ExitStack() as stack:
        killer, *others = clients(stack, node, 40)
        names = [end.ask("CLIENT", "ID").value for end in others]
        with one_turn(node):
            for victim in names[::2]:
                killer.send(encode(["CLIENT", "KILL", "ID", str(victim)]))
            for i, end in enumerate(others):
                end.send(encode(["SET", f"k{i}", "v"]))
        assert [killer.reply().value for _ in names[::2]] == [1] * len(names[::2])
        for i, end in enumerate(others):
            if i % 2 == 1:
                assert end.reply().raw == b"+OK\r\n"
        present = [node.cmd("EXISTS", f"k{i}") for i in range(len(others))]
        assert present[1::2] == ["1"] * len(present[1::2])
        assert "0" in present[::2]  # but for those whose turn came before the killer's
        eventually(lambda: node.number("clients") == len(others) - len(names[::2]) + 2, 5,
                   "the killed are gone")


def test_clients_that_vanish_or_end_their_side_with_a_command_under_way(kv):
    node = kv.node()
    assert node.cmd("SET", "large", "x" * 500_000) == "OK"
    with ExitStack() as stack:
        staying = clients(stack, node, 20)
        ending = [stack.enter_context(node.connect()) for _ in range(20)]
        vanishing = [node.connect(receive_bytes=4096) for _ in range(20)]
        for conn in ending + vanishing:
            assert conn.ask(b"PING") == b"+PONG"
        for conn in vanishing[::2]:  # the kernel does not take all of it: writing will fail, after reading
            conn.send(b"GET large\n" * 20)
        eventually(lambda: "\n".join(node.lines("CLIENT LIST")).count("cmd=get") == 10, 5, "they are answered")
        with one_turn(node):
            for i in range(20):
                staying[i].send(encode(["SET", f"staying{i}", "v"]))
                ending[i].send(b"SET ending%d v\nGET ending%d" % (i, i))
                ending[i].half_close()
                vanishing[i].send(b"SET vanishing%d v\n" % i)
                vanishing[i].reset()
        assert {end.reply().raw for end in staying} == {b"+OK\r\n"}
        assert {conn.rest() for conn in ending} == {b"OK\nv\n"}
        eventually(lambda: node.number("clients") == len(staying) + 1, 5, "they are gone")
        assert node.cmd("PING") == "+PONG"
