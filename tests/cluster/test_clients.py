"""Real Redis clients and tools, against a cluster of three: what they write on one node is read on another.

The node packages of tests/clients/package.json are installed into a cache of this user's, once for each
version of that file, by npm; nothing of them is in this tree.
"""

import hashlib
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis

from kvtest import REPOSITORY, SLOWNESS, Lab, eventually, free_ports
from resp import Resp, encode

CLIENTS = REPOSITORY / "tests" / "clients"
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()
DEADLINE_S = 60 * SLOWNESS
LATENCY_MS_MAX = 20 * SLOWNESS  # on average; it is well below 1 where nothing else runs
SYSTEM_PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))


@pytest.fixture
def trio(kv):
    return kv.cluster(3)


def run(*command, data=None, status=0, env=None):
    """The output of a program that ends by itself."""
    done = subprocess.run([str(word) for word in command], input=data, capture_output=True,
                          timeout=DEADLINE_S, env={**os.environ, **(env or {})},
                          **({} if data is not None else {"stdin": subprocess.DEVNULL}))
    out = done.stdout.decode("utf-8", "surrogateescape")
    assert done.returncode == status, (command, done.returncode, out[-3000:], done.stderr[-3000:])
    return out


def cli(node, *words, **options):
    return run("redis-cli", "-h", node.host, "-p", node.port, *words, **options)


# --- redis-cli -------------------------------------------------------------------------------------


def test_redis_cli_with_its_command_as_arguments(trio):
    one, other = trio[0], trio[1]
    for version in ("-2", "-3"):
        assert cli(one, version, "SET", "greeting", f"hello {version}") == "OK\n"
        trio.wait_everywhere("greeting", f"hello {version}")
        assert cli(other, version, "GET", "greeting") == f"hello {version}\n"
        assert cli(other, version, "GET", "nothing") == "\n"
        assert cli(other, version, "--no-raw", "MGET", "greeting", "nothing") == \
            f'1) "hello {version}"\n2) (nil)\n'
        assert cli(one, version, "-e", "LPUSH", "list", "a", status=1) == ""  # the error is on stderr
    assert cli(one, "-x", "SET", "binary", data=b"a\0b\r\n\xff") == "OK\n"
    assert cli(one, "STRLEN", "binary") == "6\n"
    assert cli(one, "-n", "0", "PING") == "PONG\n"
    assert cli(one, "-r", "3", "INCR", "count") == "1\n2\n3\n"
    assert cli(one, "--csv", "MGET", "count", "nothing") == '"3",NULL\n'
    assert "role:master" in cli(one, "INFO", "replication")


class Terminal:
    """A program at a terminal."""

    def __init__(self, *command):
        self.process_id, self.file = pty.fork()
        if self.process_id == 0:
            os.environ.update(TERM="dumb", REDISCLI_HISTFILE="/dev/null")
            os.execvp(command[0], list(map(str, command)))
        self.seen = ""

    def until(self, text):
        """What comes up to that text, and the text."""
        end = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            assert time.monotonic() < end, (text, self.seen)
            if select.select([self.file], [], [], 0.1)[0]:
                self.seen += os.read(self.file, 65536).decode("utf-8", "replace")
        at = self.seen.index(text) + len(text)
        found, self.seen = self.seen[:at], self.seen[at:]
        return found

    def type(self, line):
        os.write(self.file, line.encode() + b"\r")

    def close(self):
        """Its exit status, once it has ended by itself."""
        try:
            while os.read(self.file, 65536):
                pass
        except OSError:  # how a terminal tells that nobody is there any more
            pass
        os.close(self.file)
        return os.waitstatus_to_exitcode(os.waitpid(self.process_id, 0)[1])


def test_redis_cli_at_a_terminal(trio):
    one = trio[0]
    terminal = Terminal("redis-cli", "-h", one.host, "-p", one.port)
    prompt = f"{one.host}:{one.port}> "
    talk = (('set fruit "a ripe apple"', "OK"), ("GET fruit", '"a ripe apple"'), ("get nothing", "(nil)"),
            ("incr count", "(integer) 1"), ("FROB", "(error) ERR unknown command"),
            ("hello 3", "1# \"server\" => \"redis\""), ("multi", "OK"), ("incr count", "QUEUED"),
            ("exec", "1) (integer) 2"), ("select 1", "(error) ERR DB index is out of range"),
            ("command docs get", "summary"), ("help get", "summary:"))
    terminal.until(prompt)
    for typed, answer in talk:
        terminal.type(typed)
        terminal.until(answer)
        terminal.until("> ")
    terminal.type("quit")
    assert terminal.close() == 0
    trio.wait_everywhere("fruit", "a ripe apple")


def test_redis_cli_reads_commands_from_its_input(trio):
    out = cli(trio[0], data=b"SET a 1\nINCR a\nPING hello\nNOSUCH\n")
    assert out.splitlines()[:3] == ["OK", "2", "hello"]
    assert "ERR unknown command" in out


@pytest.mark.parametrize("end", (b"", b"\r\n"))
def test_redis_cli_pipe_loads_many_keys(trio, end):
    data = b"".join(encode(["SET", f"key:{i}", f"value {i}"]) for i in range(20000)) + end
    out = cli(trio[0], "--pipe", data=data)
    assert "errors: 0, replies: 20000" in out, out
    trio.wait_everywhere("key:19999", "value 19999", 30)
    assert trio.wait_equal() == 20000


def fill(trio, count):
    with Resp(trio[0].host, trio[0].port) as conn:
        conn.send(b"".join(encode(["SET", f"key:{i}", "v" * (i % 50)]) for i in range(count)))
        assert all(conn.reply().raw == b"+OK\r\n" for _ in range(count))
        conn.value("SET", "large", "v" * 30000)
    trio.wait_everywhere("large", "v" * 30000)
    assert trio.wait_equal() == count + 1


def test_redis_cli_scan_bigkeys_and_memkeys(trio):
    fill(trio, 3000)
    other = trio[1]
    keys = cli(other, "--scan").splitlines()
    assert set(keys) == {"large", *(f"key:{i}" for i in range(3000))}
    assert sorted(set(cli(other, "--scan", "--pattern", "key:29*9").splitlines())) == \
        sorted({f"key:{i}" for i in range(3000) if re.fullmatch("29.*9", str(i))})
    big = cli(other, "--bigkeys")
    assert "Sampled 3001 keys" in big and re.search(r'Biggest string found .*large.* has 30000 bytes', big)
    memory = cli(other, "--memkeys")
    assert "Sampled 3001 keys" in memory and re.search(r'Biggest string found .*large.* has 3\d{4} bytes',
                                                       memory)


def test_redis_cli_stat_shows_a_line_again_and_again(trio):
    fill(trio, 10)
    one = trio[0]
    watch = subprocess.Popen(["redis-cli", "-h", one.host, "-p", str(one.port), "--stat", "-i", "0.1"],
                             stdout=subprocess.PIPE, text=True)
    try:
        lines = [watch.stdout.readline() for _ in range(5)]
    finally:
        watch.terminate()
        watch.communicate(timeout=DEADLINE_S)
    assert lines[0].startswith("------- data") and lines[1].split()[:3] == ["keys", "mem", "clients"]
    for line in lines[2:]:
        assert re.match(r"11 +[0-9.]+[KMG]? +\d+ +\d+ +\d+ \(\+\d+\) +\d+", line), line


def test_redis_cli_latency_stays_within_a_bound(trio):
    # Not at a terminal it ends after the interval, with one line: least, most, average, samples.
    out = cli(trio[0], "--latency", "-i", "1", "--raw")
    least, _, average, samples = map(float, out.split())
    assert least <= average <= LATENCY_MS_MAX and samples >= 10, out


# --- redis-benchmark, and libraries of Debian's ------------------------------------------------------


@pytest.mark.parametrize("options", ((), ("-P", "16"), ("-3",)))
def test_redis_benchmark(trio, options):
    one = trio[0]
    out = run("redis-benchmark", "-h", one.host, "-p", one.port, "-t", "ping,set,get,incr,mset", "-n",
              "3000", "-c", "20", "-r", "1000", "-q", *options)
    tests = re.findall(r"^([A-Z_]+)(?: \(.*\))?: [0-9.]+ requests per second", out.replace("\r", "\n"), re.M)
    assert tests == ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"], out
    assert "rror" not in out
    count = trio.wait_equal()
    assert count > 900


def python_client(node, **options):
    return redis.Redis(node.host, node.port, **options)


def test_python3_redis(trio):
    one, other = python_client(trio[0]), python_client(trio[1], client_name="other", db=0)
    assert one.ping() and other.client_getname() == "other"
    assert one.set("greeting", "hello wide world") is True
    binary = bytes(range(256))
    assert one.set("binary", binary, px=100000)
    eventually(lambda: other.get("greeting") == b"hello wide world", 10, "the other node has it")
    eventually(lambda: other.get("binary") == binary, 10, "binary values")
    assert 0 < other.pttl("binary") <= 100000
    assert one.set("greeting", "x", nx=True) is None and one.get("nothing") is None
    assert one.incr("count", 42) == 42 and one.incrbyfloat("float", 0.5) == 0.5
    assert one.mset({"a": 1, "b": 2}) and one.mget("a", "nothing", "b") == [b"1", None, b"2"]
    assert one.pipeline().set("in", "multi").get("in").incr("count").execute() == [True, b"multi", 43]
    assert one.pipeline(transaction=False).get("in").strlen("in").execute() == [b"multi", 5]

    def double(pipe):
        value = int(pipe.get("count"))
        pipe.multi()
        pipe.set("count", value * 2)
    assert one.transaction(double, "count") == [True] and one.get("count") == b"86"
    with one.pipeline() as pipe:
        pipe.watch("count")
        one.set("count", "changed meanwhile")
        pipe.multi()
        pipe.get("count")
        with pytest.raises(redis.WatchError):
            pipe.execute()
    with pytest.raises(redis.ResponseError, match="not an integer"):
        one.incr("greeting")
    with pytest.raises(redis.ResponseError, match="unknown command"):
        one.lpush("list", "a")
    with one.pipeline(transaction=False) as pipe:
        for i in range(1000):
            pipe.set(f"many:{i}", i)
        assert all(pipe.execute())
    assert set(one.scan_iter("many:*", count=100)) == {b"many:%d" % i for i in range(1000)}
    assert one.type("in") == b"string" and one.expire("in", 100) and one.persist("in")
    assert one.info()["role"] == "master" and one.info("server")["redis_mode"] == "standalone"
    assert one.config_get("appendonly") and one.dbsize() > 1000 and one.time()[0] > 1600000000
    assert {client["name"] for client in other.client_list()} >= {"other"}
    assert one.delete("greeting", "nothing") == 1
    eventually(lambda: not other.exists("greeting"), 10, "the other node has deleted it")
    assert one.flushall()
    eventually(lambda: other.dbsize() == 0, 10, "FLUSHALL deletes everywhere")


def test_hiredis(trio, tmp_path):
    program = tmp_path / "hiredis"
    run("cc", "-Wall", "-Wextra", "-Werror", CLIENTS / "hiredis.c", "-o", program, "-lhiredis")
    assert run(program, trio[0].port, trio[1].port) == "all right\n"
    trio.wait_everywhere("count", "42")


# --- node ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def node_packages():
    """Where the packages of package.json are: installed whole, or not there."""
    wanted = (CLIENTS / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simple-kv"
    directory = cache / f"clients-{hashlib.sha256(wanted).hexdigest()[:16]}"
    if not directory.exists():
        unfinished = cache / f"{directory.name}.{os.getpid()}"
        unfinished.mkdir(parents=True)
        (unfinished / "package.json").write_bytes(wanted)
        subprocess.run(["npm", "install", "--package-lock=false", "--ignore-scripts", "--no-audit",
                        "--no-fund", "--no-update-notifier"], cwd=unfinished, check=True, timeout=300)
        try:
            unfinished.rename(directory)
        except OSError:  # another run was first
            shutil.rmtree(unfinished)
    return directory / "node_modules"


NODE_PROGRAMS = ["redis.js redis", "redis.js redis 2", "redis.js redis 3", "redis.js redis5 3",
                 "redis.js redis4", "ioredis.js ioredis", "ioredis.js ioredis6", "ioredis.js iovalkey",
                 "glide.js 2", "glide.js 3", "sessions.js"]


@pytest.mark.parametrize("program", NODE_PROGRAMS)
def test_node_packages(trio, node_packages, program):
    script, *words = program.split()
    out = run("node", CLIENTS / script, trio[0].port, trio[2].port, *words,
              env={"NODE_PATH": str(node_packages)})
    assert out.endswith("all right\n"), out
    trio.wait_equal()


def test_every_node_package_is_used():
    named = set(re.findall(r'^ +"([^"]+)": "(?:npm:\S+@)?\d+\.\d+\.\d+"',
                           (CLIENTS / "package.json").read_text(), re.M))
    programs = "\n".join(path.read_text() for path in CLIENTS.glob("*.js"))
    used = set(re.findall(r"require\('([^.'][^']*)'\)", programs)) | \
        {word for program in NODE_PROGRAMS for word in program.split()[1:]}
    assert named and named <= used, named - used


# --- proxies: nutcracker and HAProxy --------------------------------------------------------------


class Proxy:
    """A process with a configuration file, ended with the test."""

    def __init__(self, directory, name, text, *command):
        self.path = directory / name
        self.path.write_text(text)
        self.log_path = directory / f"{name}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*command, str(self.path)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env={**os.environ, "PATH": SYSTEM_PATH})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(DEADLINE_S)

    def answers(self, port):
        assert self.process.poll() is None, self.log_path.read_text()
        with Resp("127.0.0.1", port, timeout_s=2) as conn:
            return conn.ask("GET", "whether-it-answers").raw == b"$-1\r\n"

    def wait(self, port):
        eventually(lambda: self.answers(port), 30, f"it answers; {self.log_path.read_text()}")


def documented(kind):
    """The block of the document of that kind."""
    return re.search(rf"^```{kind}\n(.*?)^```", OPERATIONS, re.M | re.S).group(1)


def with_ports(text, ports):
    """The configuration with other ports, of which each must occur."""
    for documented_port, port in ports.items():
        text, count = re.subn(rf"(?<=:){documented_port}\b", str(port), text)
        assert count > 0, documented_port
    return text


def test_nutcracker_in_front_of_two_clusters_as_the_document_has_it(tmp_path):
    """The document's two clusters of two nodes: a-1 … b-2 on ports 8081 … 8084."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    labs = [Lab(tmp_path / name) for name in "ab"]
    try:
        clusters = [lab.cluster(2, cluster=name) for lab, name in zip(labs, "ab")]
        nodes = [node for cluster in clusters for node in cluster]
        front, *balanced = free_ports(3)
        ports = {22121: front, 7001: balanced[0], 7002: balanced[1],
                 **{8081 + i: node.port for i, node in enumerate(nodes)}}
        haproxy = with_ports(documented("haproxy"), {port: ports[port] for port in ports if port != 22121})
        nutcracker = with_ports(documented("yaml"), {port: ports[port] for port in (22121, 7001, 7002)})
        with Proxy(tmp_path, "haproxy.cfg", haproxy, "haproxy", "-f") as balancer, \
                Proxy(tmp_path, "nutcracker.yml", nutcracker, "nutcracker", "-m", "16384", "-c") as proxy:
            balancer.wait(ports[7001])
            balancer.wait(ports[7002])
            proxy.wait(front)
            shared_out(front, clusters)
            nodes[0].stop()  # the other one of its cluster takes over
            eventually(lambda: all_there(front), 30, "all keys are there again")
    finally:
        for lab in labs:
            lab.close()


PAIRS = {f"key:{i}": f"value {i}" for i in range(300)}


def shared_out(port, clusters):
    """Written and read through the proxy, each key is on the nodes of one cluster."""
    client = redis.Redis("127.0.0.1", port)
    for key, value in PAIRS.items():
        assert client.set(key, value)
    assert all_there(port)
    assert client.incr("count") == 1 and client.delete("count", "nothing", "key:0") == 2
    assert client.set("key:0", "value 0", ex=1000) and client.ttl("key:0") > 900
    counts = [cluster.wait_equal() for cluster in clusters]
    assert sum(counts) == len(PAIRS) and min(counts) > 50, counts


def all_there(port):
    try:
        found = redis.Redis("127.0.0.1", port).mget(list(PAIRS))
    except redis.RedisError:
        return False
    return found == [value.encode() for value in PAIRS.values()]


HAPROXY = """
global
    stats socket {socket} level admin
defaults
    mode tcp
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    default-server inter 100ms fall 2 rise 2 on-marked-down shutdown-sessions
listen by_option
    bind 127.0.0.1:{option_port}
    option redis-check
    server one 127.0.0.1:{one} check
    server other 127.0.0.1:{other} check backup
listen by_talk
    bind 127.0.0.1:{talk_port}
    option tcp-check
    tcp-check connect
    tcp-check send PING\\r\\n
    tcp-check expect string +PONG
    tcp-check send info\\ replication\\r\\n
    tcp-check expect string role:master
    tcp-check send QUIT\\r\\n
    tcp-check expect string +OK
    server one 127.0.0.1:{one} check
    server other 127.0.0.1:{other} check backup
"""


def states(path):
    """{(proxy, server): (status, its last check)} as HAProxy tells it."""
    with socket.socket(socket.AF_UNIX) as conn:
        conn.connect(str(path))
        conn.sendall(b"show stat\n")
        text = b"".join(iter(lambda: conn.recv(65536), b"")).decode()
    head, *rows = [line.split(",") for line in text.splitlines() if line]
    return {(row[0], row[1]): (row[head.index("status")], row[head.index("check_status")]) for row in rows}


def test_haproxy_checks_nodes_both_ways(trio, tmp_path):
    one, other = trio[0], trio[1]
    option_port, talk_port = free_ports(2)
    socket_path = Path(f"/tmp/simple-kv-haproxy.{os.getpid()}")  # pytest's directories are too long for one
    text = HAPROXY.format(socket=socket_path, one=one.port, other=other.port, option_port=option_port,
                          talk_port=talk_port)
    checks = {("by_option", "one"): "L7OK", ("by_talk", "one"): "L7OK",
              ("by_option", "other"): "L7OK", ("by_talk", "other"): "L7OK"}
    with Proxy(tmp_path, "haproxy.cfg", text, "haproxy", "-f") as proxy:
        proxy.wait(option_port)
        eventually(lambda: {key: state for key, state in states(socket_path).items() if key in checks} ==
                   {key: ("UP", check) for key, check in checks.items()}, 30, "all checks pass")
        for port in option_port, talk_port:
            assert redis.Redis("127.0.0.1", port).set(f"through {port}", "x")
        one.stop()
        eventually(lambda: all(states(socket_path)[name, "one"][0] == "DOWN"
                               for name in ("by_option", "by_talk")), 30, "it is down")
        for port in option_port, talk_port:
            eventually(lambda port=port: redis.Redis("127.0.0.1", port).get(f"through {port}") == b"x", 30,
                       "the other node answers")
    socket_path.unlink(missing_ok=True)
