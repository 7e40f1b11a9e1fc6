"""Harness of the cluster tests: real simple-kv processes, real sockets, no fixed sleeps.

    Lab       what a test gets as `kv`: starts nodes, ends every one of them by its pid
    Node      one process: start, stop, kill, pause, its log, its INFO and PEERS
    Conn      one client connection of the line protocol
    Cluster   several nodes that know of each other
    Clock     a wall clock that is wrong, for a node

KV_BINARY        the program under test (default: build/simple-kv)
KV_SANITIZED     1 where it is a sanitizer build: deadlines grow, memory bounds are not checked
KV_PLAIN_BINARY  beside a sanitizer build: one without (default: gcc/simple-kv in the next directory),
                 for what is about size or speed, and for wrong clocks: a library that is loaded
                 before the program and replaces its clock hangs in the sanitizer's own start
"""

import errno
import os
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("KV_BINARY") or str(REPOSITORY / "build" / "simple-kv")
SANITIZED = os.environ.get("KV_SANITIZED") == "1"
PLAIN_BINARY = (os.environ.get("KV_PLAIN_BINARY") or
                (str(Path(BINARY).resolve().parents[1] / "gcc" / "simple-kv") if SANITIZED else BINARY))
FAKETIME = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime" / "libfaketime.so.1"
SLOWNESS = 4 if SANITIZED else 1
SANITIZER_REPORT = re.compile(
    r"ERROR: (Address|Leak|Thread)Sanitizer|runtime error:|SUMMARY: \w+Sanitizer")
RECORD_HEADER_BYTES = 28  # of an encoded record without an expiry
MIB = 1024 * 1024


class KvError(AssertionError):
    """An ERROR line where the test had asked for something else."""


class Closed(ConnectionError):
    """The server ended the connection where a reply was due."""


def eventually(condition, deadline_s, what):
    """Poll until condition() is true and return its value; fail with `what` after the deadline.

    Connections refused or lost on the way count as "not yet".
    """
    end = time.monotonic() + deadline_s * SLOWNESS
    pause_s, last = 0.005, None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (OSError, KvError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s * SLOWNESS} s: {what} (last: {last!r})")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)


def always(condition, duration_s, what):
    """Fail as soon as condition() is false within the duration: for things that must not happen."""
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        value = condition()
        assert value, f"{what} (got {value!r})"
        time.sleep(0.05)


def free_ports(count):
    """Ports free now, below the range that the kernel gives to outgoing connections."""
    ports = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def raise_open_files(wanted):
    """Lift the soft limit of open files of this process and of the nodes it starts; the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def record_bytes(pairs):
    """What (key, value) pairs take as records on the wire."""
    return sum(RECORD_HEADER_BYTES + len(key) + len(value) for key, value in pairs)


def to_bytes(word):
    return word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogateescape")


def to_text(data):
    return data.decode("utf-8", "surrogateescape")


class Conn:
    """One client connection. Replies are text (`cmd`, `lines`) or bytes (`line`, `rest`)."""

    def __init__(self, host, port, timeout_s=15, receive_bytes=None):
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(timeout_s * SLOWNESS)
        self.buffer = bytearray()
        try:
            self.sock.connect((host, port))
        except OSError:
            self.sock.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def address(self):
        return "{}:{}".format(*self.sock.getsockname()[:2])

    def close(self):
        self.sock.close()

    def reset(self):
        """Vanish: the peer sees a reset, not an end of stream."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # the other end has closed it already
                raise

    def send(self, data):
        self.sock.sendall(data)

    def _more(self):
        chunk = self.sock.recv(1 << 18)
        self.buffer += chunk
        return bool(chunk)

    def line(self):
        """The next reply line, without its newline."""
        searched = 0
        while (end := self.buffer.find(b"\n", searched)) < 0:
            searched = len(self.buffer)
            if not self._more():
                raise Closed(f"connection ended; unfinished reply: {bytes(self.buffer[:200])!r}")
        line = bytes(self.buffer[:end])
        del self.buffer[:end + 1]
        return line

    def rest(self):
        """Everything up to the end of the connection."""
        while self._more():
            pass
        data, self.buffer = bytes(self.buffer), bytearray()
        return data

    def ask(self, line):
        """Send one raw line; its one-line reply as bytes."""
        self.send(line + b"\n")
        return self.line()

    def cmd(self, *words):
        """One command with a one-line reply."""
        return to_text(self.ask(b" ".join(to_bytes(word) for word in words)))

    def lines(self, *words):
        """One command with a reply of several lines: the lines without the count."""
        count = self.cmd(*words)
        if not count.isdigit():
            raise KvError(count)
        return [to_text(self.line()) for _ in range(int(count))]

    def pipeline(self, requests, window=1000):
        """Send raw request lines, `window` at a time; the one-line replies as bytes."""
        replies, requests = [], list(requests)
        for start in range(0, len(requests), window):
            part = requests[start:start + window]
            self.send(b"\n".join(part) + b"\n")
            replies += [self.line() for _ in part]
        return replies


class Clock:
    """The wall clock of one node, wrong by an offset that may change while the node runs.

    Only the wall clock: timers go on as they are.
    """

    TAKEN_UP_S = 1.0  # how long a running node may not see a change

    def __init__(self, path, offset_s=0.0):
        self.path = Path(path)
        self.set(offset_s)

    def set(self, offset_s):
        self.offset_s = offset_s
        written = self.path.with_suffix(".new")
        written.write_text(f"{offset_s:+.3f}\n")
        written.replace(self.path)

    def environment(self):
        assert FAKETIME.exists(), f"{FAKETIME} is missing (Debian package libfaketime)"
        return {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.path),
                "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def fields(lines):
    """The lines name:value of INFO; the others are titles of sections, or empty."""
    return dict(line.split(":", 1) for line in lines if ":" in line)


class Node:
    """One simple-kv process. Keyword options become flags: min_acks=1 is --min-acks 1, and
    salvage=True is --salvage."""

    def __init__(self, directory, name, host="127.0.0.1", port=0, env=None, net=None, prefix=(),
                 binary=None, clock=None, **options):
        self.name, self.host, self.port = name, host, port
        self.options = {"bind": host, "name": name, **options}
        self.env, self.net, self.prefix = env or {}, net, list(prefix)
        self.clock = clock
        self.binary = binary or (PLAIN_BINARY if clock else BINARY)
        self.log_path = Path(directory) / f"{name}.log"
        self.log_path.touch()
        self.process = None
        self.awaited = False
        self._run_offset = 0
        self._control = None

    # -- the process

    def arguments(self):
        options = {**self.options, "port": self.port}
        words = []
        for option, value in options.items():
            if value is not None:
                words.append("--" + option.replace("_", "-"))
                words += [] if value is True else [str(value)]
        return words

    def inside(self):
        """Context in which sockets and processes belong to this node's network namespace."""
        return self.net.entered() if self.net else nullcontext()

    def start(self):
        assert not self.running, f"{self.name} runs already"
        self.awaited = False
        self._run_offset = self.log_path.stat().st_size
        clock = self.clock.environment() if self.clock else {}
        with open(self.log_path, "ab") as log, self.inside():
            self.process = subprocess.Popen(
                [*self.prefix, self.binary, *self.arguments()], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=clean_environment({**self.env, **clock}),
                start_new_session=True)
        eventually(self._listening, 15, f"{self.name} listens; log: {self.log()[-2000:]}")
        return self

    def _listening(self):
        text = self.log()[self._run_offset:]
        found = re.search(r"listening on (\S+):(\d+)\b", text)
        if found:
            self.port = int(found.group(2))
            return True
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {text}")
        return False

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait(self, deadline_s=10):
        """Exit status of the process, which must end by itself."""
        self._drop_control()
        status = self.process.wait(deadline_s * SLOWNESS)
        self.awaited = True
        return status

    def stop(self, number=signal.SIGTERM):
        """End it politely, which must give exit status 0."""
        self.send_signal(number)
        status = self.wait()
        assert status == 0, f"{self.name} ended with {status}: {self.log()[-3000:]}"
        return self

    def kill(self):
        assert self.running, f"{self.name} had ended by itself with {self.process.returncode}"
        self.send_signal(signal.SIGKILL)
        self.wait()
        return self

    def pause(self):
        self.send_signal(signal.SIGSTOP)

    def resume(self):
        self.send_signal(signal.SIGCONT)

    def rss_bytes(self, peak=False):
        status = Path(f"/proc/{self.pid}/status").read_text()
        wanted = "VmHWM" if peak else "VmRSS"
        return int(re.search(wanted + r":\s+(\d+) kB", status).group(1)) * 1024

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    # -- the log

    def log(self):
        return self.log_path.read_text("utf-8", "replace")

    def log_lines(self):
        return self.log().splitlines()

    def wait_log(self, pattern, deadline_s=10):
        """The first log line in which the pattern (any case) occurs."""
        wanted = re.compile(pattern, re.IGNORECASE)
        return eventually(lambda: next((line for line in self.log_lines() if wanted.search(line)),
                                       None), deadline_s, f"{self.name} logs /{pattern}/")

    # -- talking to it

    def connect(self, **options):
        with self.inside():
            return Conn(self.host, self.port, **options)

    def _drop_control(self):
        if self._control:
            self._control.close()
            self._control = None

    def _talk(self, talk):
        """On a connection kept for the test's own questions; a new one after a fault."""
        self._control = self._control or self.connect()
        try:
            return talk(self._control)
        except (OSError, KvError):
            self._drop_control()
            raise

    def cmd(self, *words):
        return self._talk(lambda conn: conn.cmd(*words))

    def lines(self, *words):
        return self._talk(lambda conn: conn.lines(*words))

    def info(self):
        return fields(self.lines("INFO"))

    def number(self, field):
        return int(self.info()[field])

    def peers(self):
        """PEERS as a list of dicts; `reason` is the last field and may hold spaces."""
        members = []
        for line in self.lines("PEERS"):
            head, _, reason = line.partition(" reason=")
            member = dict(word.split("=", 1) for word in head.split(" "))
            members.append({**member, "reason": reason})
        return members

    def peer(self, **wanted):
        """The first PEERS entry with these fields, or None."""
        return next((peer for peer in self.peers()
                     if all(peer.get(name) == value for name, value in wanted.items())), None)

    def wait_let_go(self, *names, deadline_s=15):
        """This node sends those members nothing any more. `peers_linked` alone does not say so: it
        falls when the first of a link's two directions ends."""
        for name in names:
            eventually(lambda name=name: self.peer(name=name)["state"] in ("down", "connecting"),
                       deadline_s, f"{self.name} lets go of {name}")

    def write_many(self, pairs, window=1000):
        """SET (key, value) pairs in pipelines; every reply must be OK."""
        with self.connect(timeout_s=60) as conn:
            replies = conn.pipeline((b"SET " + to_bytes(key) + b" " + to_bytes(value)
                                     for key, value in pairs), window)
        assert set(replies) <= {b"OK"}, {reply for reply in replies if reply != b"OK"}
        return len(replies)


class Cluster:
    """Nodes that know of each other."""

    def __init__(self, nodes):
        self.nodes = nodes

    def __getitem__(self, index):
        return self.nodes[index]

    def __iter__(self):
        return iter(self.nodes)

    def __len__(self):
        return len(self.nodes)

    def wait_linked(self, deadline_s=20):
        wanted = len(self.nodes) - 1
        for node in self.nodes:
            eventually(lambda node=node: node.number("peers_linked") == wanted, deadline_s,
                       f"{node.name} has {wanted} live links")
        return self

    def wait_equal(self, deadline_s=20, nodes=None):
        """All nodes hold the same live data; that data's number of keys."""
        def state():
            return {(node.info()["digest"], node.number("keys")) for node in nodes or self.nodes}
        eventually(lambda: len(state()) == 1, deadline_s, "all digests equal")
        return state().pop()[1]

    def wait_everywhere(self, key, value, deadline_s=10, nodes=None):
        for node in nodes or self.nodes:
            eventually(lambda node=node: node.cmd("GET", key) == value, deadline_s,
                       f"GET {key} gives {value[:60]!r} on {node.name}")


class Lab:
    """Starts nodes for one test and ends them all; a node that misbehaves on the way fails it."""

    def __init__(self, directory):
        self.directory = directory
        self.nodes = []

    def prepare(self, name=None, **options):
        """A node not yet started. Its port stays the same through restarts."""
        options.setdefault("port", free_ports(1)[0])
        node = Node(self.directory, name or f"node{len(self.nodes) + 1}", **options)
        self.nodes.append(node)
        return node

    def node(self, name=None, **options):
        return self.prepare(name, **options).start()

    def cluster(self, count, linked=True, nets=None, **options):
        """`count` nodes that share one list of peers, each other and itself included."""
        ports = free_ports(count)
        hosts = [net.address for net in nets] if nets else ["127.0.0.1"] * count
        peers = ",".join(f"{host}:{port}" for host, port in zip(hosts, ports))
        nodes = [self.prepare(f"node{i + 1}", host=hosts[i], port=ports[i], peers=peers,
                              net=nets[i] if nets else None, **options) for i in range(count)]
        cluster = Cluster([node.start() for node in nodes])
        return cluster.wait_linked() if linked else cluster

    def run(self, *arguments, env=None, deadline_s=10):
        """Run the program to its end with the given arguments."""
        done = subprocess.run([BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace",
                              env=clean_environment(env), timeout=deadline_s * SLOWNESS)
        assert not SANITIZER_REPORT.search(done.stderr), done.stderr
        return done

    def close(self):
        faults = [f"{node.name} ended by itself with {node.process.returncode}"
                  for node in self.nodes
                  if node.process and not node.running and not node.awaited]
        running = [node for node in self.nodes if node.running]
        for node in running:
            # In this order: SIGCONT takes back the SIGSTOP by which the check for leaks, at the end of a
            # process, holds its threads; then that waits for ever.
            node.send_signal(signal.SIGCONT)
            node.send_signal(signal.SIGTERM)
        for node in running:
            try:
                status = node.wait()
                if status != 0:
                    faults.append(f"{node.name} ended with {status} on SIGTERM")
            except subprocess.TimeoutExpired:
                node.kill()
                faults.append(f"{node.name} did not end on SIGTERM")
        for node in self.nodes:
            report = SANITIZER_REPORT.search(node.log())
            if report:
                faults.append(f"{node.name}: {node.log()[report.start():][:4000]}")
        assert not faults, "\n".join(faults)


def clean_environment(extra=None):
    """This environment without the KV_ variables, which are options of the program."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KV_")}
    return {**kept, **(extra or {})}
