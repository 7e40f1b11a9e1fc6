"""The parts of a run of tests/bench/run: which load goes to which server, and what came of it.

Figures are kept as samples, {"part", "load", "x", "connections", "pipeline", "server", …}, of which
report.py makes tables; x is what grows in a part about growth."""

import os
import shutil
import subprocess
import sys

from servers import Cluster, Failed, say, server_start, server_started

HERE = os.path.dirname(os.path.abspath(__file__))
TARGETS = {"floor": "bench-floor", "load": "bench-load", "delay": "bench-delay"}
SEARCHED = os.environ["PATH"] + ":/usr/sbin:/usr/bin"
FILL_CONNECTIONS = 50
FILL_PIPELINE = 64
NEW_KEYS = "SET, new keys"
# getrusage also counts what a server did in processes of its own, such as Redis' first full sync.
CPU_TOLERANCE = 0.02
CPU_TOLERANCE_NS = 30_000_000
CPU_WORTH_COMPARING_NS = 1_000_000_000


class Bench:
    """One run: its options, programs, cores, and all samples found so far."""

    def __init__(self, options, directory):
        self.options = options
        self.directory = directory
        self.build_dir = os.path.abspath(options.build)
        self.binary = os.path.join(self.build_dir, "simple-kv")
        self.memcached = shutil.which("memcached", path=SEARCHED)
        self.redis = shutil.which("redis-server", path=SEARCHED)
        self.servers = {}
        self.samples = []
        self.notes = []
        self.cpu_worst = 0.0
        self.cores = sorted(os.sched_getaffinity(0))
        self.server_core = self.cores[0]
        self.load_core = self.cores[1 % len(self.cores)]
        if len(self.cores) == 1:
            self.notes.append("Only one core: server and load disturb each other.")

    def peer_cores(self, count):
        """Where the other nodes run: cores of their own if there are any."""
        free = self.cores[2:] or [self.load_core]
        return [free[i % len(free)] for i in range(count)]

    def program(self, name):
        return os.path.join(self.build_dir, "bench", TARGETS[name])

    def client(self, name, *arguments):
        """Runs a measuring client on its core; returns its name=value line as a dictionary."""
        command = ["taskset", "-c", str(self.load_core), self.program(name), *map(str, arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command[3:])}: {(done.stderr + done.stdout).strip()[-2000:]}")
        return {name: float(value) for name, value in
                (pair.split("=") for pair in done.stdout.split())}

    def keep(self, part, load, server, found, **place):
        sample = {"part": part, "load": load, "x": None, "connections": 0, "pipeline": 0,
                  "server": server, **place, **found}
        self.samples.append(sample)
        return sample

    def measure(self, part, name, load, place, *arguments, x=None, keys=None, value_bytes=None):
        """Puts one load on one server and keeps its figures; place is (connections, pipeline)."""
        server = self.servers[name]
        verb = "SET" if load == NEW_KEYS else load
        if verb not in server.measured:
            return None
        process = server.measured[verb]
        before_ns = process.settled_cpu_ns()
        found = self.client(
            "load", "--protocol", server.protocol, "--port", server.ports[verb],
            "--command", verb.lower(), "--connections", place[0], "--pipeline", place[1],
            "--value-bytes", value_bytes or self.options.value_bytes,
            "--keys", keys or self.options.keys, *arguments)
        process.settled_cpu_ns()
        server.settle()
        found["cpu_us"] = (process.settled_cpu_ns() - before_ns) / 1000 / found["operations"]
        if found["misses"]:
            raise Failed(f"{name}: {found['misses']:.0f} of {found['operations']:.0f} GETs found "
                         "no value though every key had been written")
        say(f"  {load:14} c={place[0]:<5} P={place[1]:<3} {'' if x is None else x:>9} {name:13} "
            f"{found['cpu_us']:8.3f} µs/op {found['ops_per_second'] / 1000:7.0f} kops/s  "
            f"p50 {found['p50_us']:.0f} p99 {found['p99_us']:.0f} p999 {found['p999_us']:.0f} µs")
        return self.keep(part, load, name, found, x=x, connections=place[0], pipeline=place[1])

    def fill(self, part, name, **sizes):
        """Writes every key once."""
        return self.measure(part, name, NEW_KEYS, (FILL_CONNECTIONS, FILL_PIPELINE), "--sequential",
                            "--requests", sizes.get("keys") or self.options.keys, **sizes)

    def timed(self, number=0, seconds=None):
        return ["--seconds", seconds or self.options.seconds, "--seed", self.options.seed + number]

    def start(self, *names, value_bytes=None):
        for name in names:
            self.servers[name] = server_start(self, name, value_bytes or self.options.value_bytes)

    def run(self, part):
        """One part, whose older samples these replace."""
        say(f"{part}:")
        self.samples = [sample for sample in self.samples if sample["part"] != part]
        try:
            PARTS[part](self, part)
        except (Failed, OSError) as failed:
            raise Failed(f"{failed}{self.obituaries()}") from None
        finally:
            self.stop_servers()

    def obituaries(self):
        """What servers that ended by themselves had to say, for the message of a failure."""
        dead = [process for server in self.servers.values() for process in server.processes
                if process.child.poll() is not None]
        return "".join(f"\n{process.name} ended with status {process.child.returncode}; its last "
                       f"words: {process.log().strip()[-500:]}" for process in dead)

    def stop_servers(self):
        servers, self.servers = self.servers, {}
        for name, server in servers.items():
            for read_ns, usage_ns, given_back_ns in server.stop():
                more_ns = usage_ns - read_ns
                tolerated_ns = CPU_TOLERANCE_NS + CPU_TOLERANCE * usage_ns
                if usage_ns > CPU_WORTH_COMPARING_NS:
                    apart_ns = max(-more_ns, more_ns - given_back_ns, 0)
                    self.cpu_worst = max(self.cpu_worst, apart_ns / usage_ns)
                if not -tolerated_ns <= more_ns <= tolerated_ns + given_back_ns:
                    raise Failed(f"{name}: the CPU time read ({read_ns / 1e9:.3f} s) is not what "
                                 f"getrusage says ({usage_ns / 1e9:.3f} s)")


# --- SET, GET, mixed: all servers, interleaved ------------------------------------------------


def loads(bench, part):
    """Each round starts all servers anew, in another order: nobody always follows the same."""
    options = bench.options
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        turn = number % len(options.servers)
        order = options.servers[turn:] + options.servers[:turn]
        bench.start(*order)
        for name in order:
            bench.fill(part, name)
        for connections in options.connections:
            for pipeline in options.pipelines:
                for name in order:
                    bench.measure(part, name, {"set": "SET", "get": "GET"}.get(part, part),
                                  (connections, pipeline), *bench.timed(number))
        check_deltas(bench, part, number)
        if part == "set" and number == 0:
            measure_delay(bench, part)
        bench.stop_servers()


def check_deltas(bench, part, number):
    """A peer that fell off the journal was caught up by a scan: another kind of work."""
    served = bench.servers["with-peers"].deltas_served() if "with-peers" in bench.servers else 0
    if served:
        bench.notes.append(f"{part}, round {number + 1}: {served} deltas were served to peers that "
                           "had fallen behind the journal.")


def measure_delay(bench, part):
    if "with-peers" not in bench.servers:
        return
    ports = [node.port() for node in bench.servers["with-peers"].processes]
    readers = [argument for port in ports[1:] for argument in ("--read", port)]
    found = bench.client("delay", "--write", ports[0], *readers,
                         "--writes", bench.options.delay_writes)
    bench.keep(part, "delay", "with-peers", found)
    say(f"  replication delay p50 {found['p50_us']:.0f} p99 {found['p99_us']:.0f} µs")


# --- memory, growth ---------------------------------------------------------------------------


def memory(bench, part):
    """One server at a time; what it has of the machine's memory for so many keys."""
    for name in ("simple-kv", "redis", "memcached"):
        bench.start(name)
        filled(bench, part, name, bench.options.memory_keys)
        bench.stop_servers()


def filled(bench, part, name, keys, x=None):
    process = bench.servers[name].processes[0]
    before = process.rss_bytes()
    sample = bench.fill(part, name, keys=keys, x=x)
    sample["bytes_per_key"] = (process.rss_bytes() - before) / keys
    say(f"  {name}: {sample['bytes_per_key']:.1f} bytes a key, {keys} keys")


def keys(bench, part):
    """One size after the other, so that all of the machine's memory is there for the largest."""
    names = ("floor", "simple-kv", "redis")
    for count in bench.options.growth_keys:
        bench.start(*names)
        for name in names[1:]:
            filled(bench, part, name, count, x=count)
        for number in range(bench.options.repeats):
            for load in ("SET", "GET"):
                for name in names:
                    bench.measure(part, name, load, (FILL_CONNECTIONS, 16),
                                  *bench.timed(number), x=count, keys=count)
        bench.stop_servers()


def connections(bench, part):
    names = ("floor", "simple-kv", "redis")
    bench.start(*names)
    for name in names:
        bench.fill(part, name)
    for number in range(bench.options.repeats):
        for count in bench.options.growth_connections:
            for name in names:
                bench.measure(part, name, "SET", (count, 1), *bench.timed(number), x=count)


def values(bench, part):
    """As many keys as half a gibibyte holds, but not more than otherwise."""
    names = ("floor", "simple-kv", "redis")
    for size in bench.options.growth_values:
        count = min(bench.options.keys, max(64, (1 << 29) // size))
        at_once = max(1, min(FILL_PIPELINE, (1 << 16) // size))
        bench.start(*names, value_bytes=size)
        for name in names:
            bench.measure(part, name, NEW_KEYS, (FILL_CONNECTIONS, at_once), "--sequential",
                          "--requests", count, x=size, keys=count, value_bytes=size)
        for number in range(bench.options.repeats):
            for load in ("SET", "GET"):
                for name in names:
                    bench.measure(part, name, load, (FILL_CONNECTIONS, 1), *bench.timed(number),
                                  x=size, keys=count, value_bytes=size)
        bench.stop_servers()


def peers(bench, part):
    count = min(bench.options.keys, 100_000)
    for others in bench.options.growth_peers:
        bench.servers["simple-kv"] = server_started(Cluster(bench, others))
        bench.fill(part, "simple-kv", keys=count, x=others)
        for number in range(bench.options.repeats):
            for pipeline in bench.options.pipelines:
                bench.measure(part, "simple-kv", "SET", (FILL_CONNECTIONS, pipeline),
                              *bench.timed(number), x=others, keys=count)
        bench.stop_servers()


def pauses(bench, part):
    """A program of its own, whose table is kept as it is."""
    command = [sys.executable, os.path.join(HERE, "pauses"), "--build", bench.build_dir,
               "--keys", str(bench.options.pauses_keys)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        raise Failed(f"tests/bench/pauses ended with {done.returncode}: {done.stdout[-500:]}")
    say(done.stdout)
    bench.keep(part, "pauses", "simple-kv",
               {"text": done.stdout, "keys": bench.options.pauses_keys})


PARTS = {"set": loads, "get": loads, "mixed": loads, "memory": memory, "keys": keys,
         "connections": connections, "values": values, "peers": peers, "pauses": pauses}
