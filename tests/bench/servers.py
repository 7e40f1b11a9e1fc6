"""What tests/bench measures: each server as processes pinned to a core, and their CPU time."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time

START_SECONDS = 10
SETTLE_SECONDS = 60
# A server is idle when it uses less than this part of two windows in a row.
IDLE_PART = 0.03
IDLE_WINDOW_SECONDS = 0.01
# What the kernel needs at most to take back the memory of a process that ends: 1 µs a page.
FREE_NS_PER_BYTE = 0.25
CLIENTS_MAX = 12000
KEY = "key:000000000000"
VERBS = ("SET", "GET", "mixed")


class Failed(Exception):
    """Ends the run with its text as the one line on stderr."""


def say(text):
    print(text, file=sys.stderr, flush=True)


# --- processes -------------------------------------------------------------------------------


def tasks_cpu_ns(pid):
    """CPU time of all threads of a process: user and system, all in nanoseconds."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total


class Process:
    """One server process, pinned to a core, its output in a file."""

    def __init__(self, bench, name, core, command, environment=None):
        self.name = name
        self.log_path = os.path.join(bench.directory, f"{name}.log")
        with open(self.log_path, "wb") as log:
            self.child = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(environment or {})})
        self.pid = self.child.pid
        self.port_found = None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_for(self, read, what):
        """Calls read() until it returns something; fails when the process ends or time does."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = read()
            if found:
                return found
            if self.child.poll() is not None:
                raise Failed(f"{self.name} ended with status {self.child.returncode} before it "
                             f"was {what}: {self.log().strip()[-500:]}")
            time.sleep(0.01)
        raise Failed(f"{self.name} was not {what} within {START_SECONDS} s: "
                     f"{self.log().strip()[-500:]}")

    def port(self):
        """The port it says that it listens on."""
        def read():
            found = re.search(r"listening on \S*:(\d+)", self.log())
            return found and int(found.group(1))
        self.port_found = self.port_found or self.wait_for(read, "listening")
        return self.port_found

    def cpu_ns(self):
        return tasks_cpu_ns(self.pid)

    def settled_cpu_ns(self):
        """Its CPU time once it has nothing left to do: work for peers goes on after a load."""
        deadline = time.monotonic() + SETTLE_SECONDS
        idle = 0
        before = self.cpu_ns()
        while idle < 2:
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} was still busy {SETTLE_SECONDS} s after its load")
            started = time.monotonic()
            time.sleep(IDLE_WINDOW_SECONDS)
            now = self.cpu_ns()
            window_ns = (time.monotonic() - started) * 1e9
            idle = idle + 1 if now - before < IDLE_PART * window_ns else 0
            before = now
        return before

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) * 1024

    def stop(self):
        """Ends it and returns (what we read of its CPU time, what getrusage says, what of that may
        have been the giving back of its memory), or None."""
        if self.child.poll() is not None:
            return None
        read_ns, rss_bytes = self.cpu_ns(), self.rss_bytes()
        self.child.kill()
        _, status, usage = os.wait4(self.pid, 0)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        usage_ns = int((usage.ru_utime + usage.ru_stime) * 1e9)
        return read_ns, usage_ns, int(rss_bytes * FREE_NS_PER_BYTE)


def info(process, field):
    """One field of INFO: simple-kv and Redis both take it as a line, and answer name:value lines
    after one that tells how many, or how many bytes."""
    with socket.create_connection(("127.0.0.1", process.port()), timeout=10) as connection:
        connection.sendall(b"INFO\r\n")
        with connection.makefile("r", encoding="utf-8", newline="\n") as lines:
            first = lines.readline().strip()
            text = lines.read(int(first[1:])).split("\n") if first[:1] == "$" else \
                [lines.readline() for _ in range(int(first))] if first.isdigit() else [first]
    for line in text:
        name, _, value = line.strip().partition(":")
        if name == field:
            return value
    raise Failed(f"{process.name}: INFO does not tell {field}: {' '.join(text)[:500]}")


# --- servers ---------------------------------------------------------------------------------


class Server:
    """What is measured: for SET and GET the process that serves it and its port."""

    protocol = "line"

    def __init__(self, processes):
        self.processes = processes
        self.measured = {verb: processes[0] for verb in VERBS}
        self.ports = {}

    def use(self, port):
        """All loads go to this port."""
        self.ports = {verb: port for verb in VERBS}

    def settle(self):
        """Returns when the last load has no consequences left to work off."""

    def stop(self):
        return [stopped for stopped in (process.stop() for process in self.processes) if stopped]


def request_bytes(protocol, verb, value_bytes):
    """The bytes of one request, as bench-load sends them (see request.h)."""
    value = "v" * value_bytes if verb == "SET" else None
    if protocol == "line":
        return len(f"{verb} {KEY}{' ' + value if value else ''}\n")
    words = [verb, KEY] + ([value] if value else [])
    return len(f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words))


class Floor(Server):
    """Two processes, so that GET is answered with as many bytes as anybody's GET. A value too long
    to be a constant reply has no GET; and as it tells no request from another, nothing mixed."""

    value_bytes_max = 1000

    def __init__(self, bench, value_bytes):
        program = bench.program("floor")
        self.protocol = bench.options.protocol
        value = "v" * value_bytes
        replies = {"SET": "OK\n", "GET": f"{value}\n"} if self.protocol == "line" else \
            {"SET": "+OK\r\n", "GET": f"${value_bytes}\r\n{value}\r\n"}
        if value_bytes > self.value_bytes_max:
            del replies["GET"]
        super().__init__([
            Process(bench, f"floor-{verb.lower()}", bench.server_core,
                    [program, "0", str(request_bytes(self.protocol, verb, value_bytes)), reply])
            for verb, reply in replies.items()])
        self.measured = dict(zip(replies, self.processes))

    def start(self):
        self.ports = {verb: process.port() for verb, process in self.measured.items()}


class Node(Process):
    """One simple-kv."""

    def __init__(self, bench, name, core, peer_ports=()):
        command = [bench.binary, "--port", "0", "--name", name, "--log-level", "info",
                   "--max-clients", str(CLIENTS_MAX)]
        if peer_ports:
            command += ["--peers", ",".join(f"127.0.0.1:{port}" for port in peer_ports)]
        super().__init__(bench, name, core, command)

    def info(self, field):
        return info(self, field)


class Cluster(Server):
    """simple-kv, alone or with live peers; only the first node is loaded and measured."""

    def __init__(self, bench, peers):
        self.bench = bench
        self.peers = peers
        self.protocol = bench.options.protocol
        self.deltas_at_start = 0
        super().__init__([Node(bench, "node1" if peers else "single", bench.server_core)])

    def start(self):
        first = self.processes[0]
        for index, core in enumerate(self.bench.peer_cores(self.peers)):
            self.processes.append(Node(self.bench, f"node{index + 2}", core, [first.port()]))
        for node in self.processes:
            node.wait_for(lambda node=node: int(node.info("peers_linked")) == self.peers,
                          f"linked with {self.peers} peers")
        self.use(first.port())
        self.deltas_at_start = int(first.info("deltas_served"))

    def settle(self):
        """Peers may be behind while the measured node is idle (they share a core with the load):
        the work is over when all hold the same data."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.peers and len({node.info("digest") for node in self.processes}) > 1:
            if time.monotonic() > deadline:
                raise Failed(f"the nodes' data still differed {SETTLE_SECONDS} s after the load")
            time.sleep(0.05)

    def deltas_served(self):
        return int(self.processes[0].info("deltas_served")) - self.deltas_at_start


class RedisNode(Process):
    """One Redis, that keeps nothing on the disk."""

    def __init__(self, bench, name, core, master_port=None):
        # Redis cannot look for a free port itself.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            number = probe.getsockname()[1]
        command = [bench.redis, "--port", str(number), "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "no", "--dir", bench.directory, "--maxclients", str(CLIENTS_MAX),
                   "--repl-diskless-sync-delay", "0"]
        if master_port:
            command += ["--replicaof", "127.0.0.1", str(master_port)]
        super().__init__(bench, name, core, command)
        self.wait_for(self.answers, "listening")
        self.port_found = number

    def answers(self):
        return "Ready to accept connections" in self.log()

    def info(self, field):
        return info(self, field)


class Redis(Server):
    """Debian's Redis, alone or with replicas, which is the one that is loaded and measured."""

    protocol = "redis"

    def __init__(self, bench, replicas):
        self.bench = bench
        self.replicas = replicas
        name = "master" if replicas else "redis"
        super().__init__([RedisNode(bench, name, bench.server_core)])

    def start(self):
        master = self.processes[0]
        for index, core in enumerate(self.bench.peer_cores(self.replicas)):
            replica = RedisNode(self.bench, f"replica{index + 1}", core, master.port())
            self.processes.append(replica)
            replica.wait_for(lambda replica=replica: replica.info("master_link_status") == "up",
                             "linked with its master")
        self.use(master.port())

    def settle(self):
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.replicas and len({node.info("slave_repl_offset" if node is not self.processes[0]
                                               else "master_repl_offset")
                                     for node in self.processes}) > 1:
            if time.monotonic() > deadline:
                raise Failed(f"replicas were behind {SETTLE_SECONDS} s after the load")
            time.sleep(0.05)


class Memcached(Server):
    """Debian's memcached; it writes the port that it found free to a file."""

    protocol = "memcached"

    def __init__(self, bench):
        self.port_path = os.path.join(bench.directory, "memcached.port")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.port_path)
        # -u only matters to (and is needed by) root, whom memcached would not run as unasked.
        command = [bench.memcached, "-t", "1", "-m", str(bench.options.memcached_megabytes),
                   "-l", "127.0.0.1", "-p", "-1", "-U", "0", "-u", "root", "-c", str(CLIENTS_MAX)]
        super().__init__([Process(bench, "memcached", bench.server_core, command,
                                  {"MEMCACHED_PORT_FILENAME": self.port_path})])

    def start(self):
        def read():
            with contextlib.suppress(FileNotFoundError):
                with open(self.port_path, encoding="ascii") as file:
                    found = re.search(r"TCP INET: (\d+)\n", file.read())
                    return found and int(found.group(1))
        self.use(self.processes[0].wait_for(read, "listening"))


def server_start(bench, name, value_bytes):
    """Starts one server; whatever it started is ended if it does not come up."""
    kinds = {
        "floor": lambda: Floor(bench, value_bytes),
        "simple-kv": lambda: Cluster(bench, 0),
        "with-peers": lambda: Cluster(bench, 2),
        "redis": lambda: Redis(bench, 0),
        "with-replicas": lambda: Redis(bench, 2),
        "memcached": lambda: Memcached(bench),
    }
    return server_started(kinds[name]())


def server_started(server):
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    return server
