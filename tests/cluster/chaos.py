"""What the chaos test is made of: a plan of faults drawn from a seed, clients that remember what they
were told, and the judgement of what the nodes hold in the end.

The plan is a row of windows. In a window faults of all kinds overlap, but at most one node loses its
memory (kill -9, a stop, a clock that only a restart mends), so that a write which two nodes hold
cannot be lost. Between windows everything is mended and all nodes have to become equal.

Clients write four kinds of keys, so that what must hold in the end needs no knowledge of stamps:

    L  written once, with its own value. Acknowledged: there. Acknowledged and then deleted by
       anybody who found it, which was acknowledged too: gone. For ever, on every node.
    R  a register: set and deleted again and again over one connection. In the end it is what was
       acknowledged last, or something later that was not acknowledged.
    C  fought over by everybody: SET, SETEX, DEL, EXPIRE, PERSIST. Equal everywhere, and a value that
       some client wrote to this very key.

Every reply is awaited with --min-acks 1: "OK" or a number means that two nodes have it.
"""

import random
import re
import threading
import time
from collections import Counter

from kvtest import SLOWNESS, Clock, KvError, eventually

DRIFT_S = 2.0  # clocks within this of the true time differ by less than --max-clock-drift
WRONG_CLOCKS_S = (3600.0, -3600.0, 30.0, -30.0)
CONTENDED_KEYS = 200
REGISTERS = 20
REQUESTS_A_SECOND = 150  # of one client
CLIENTS_A_NODE = 2
REPLY_TIMEOUT_S = 4
CONVERGED_WITHIN_S = 60
UNKNOWN = re.compile(rb"ERROR \d+ of \d+ peers confirmed")


# --- the plan --------------------------------------------------------------------------------------


class Fault:
    """One fault: at_s and for_s seconds after the window's begin. `kind` is a method of Faults."""

    def __init__(self, at_s, for_s, kind, *args):
        self.at_s, self.for_s, self.kind, self.args = at_s, for_s, kind, args

    def __str__(self):
        what = " ".join([self.kind, *map(str, self.args)])
        return f"{what} at {self.at_s:.1f} for {self.for_s:.1f} s"


def draw_window(source, names, clocked):
    """One window: its length in seconds and its faults."""
    length_s = source.uniform(6, 14)
    faults = []

    def add(kind, *args, longest_s=9.0):
        faults.append(Fault(source.uniform(0, length_s * 0.7), source.uniform(0.3, longest_s), kind,
                            *args))
    for _ in range(source.randint(1, 4)):
        a, b = source.sample(names, 2)
        kind = source.choice(["unplug", "deafen", "deafen", "part", "part", "bar", "split", "pause"])
        if kind == "split":
            add(kind, ",".join(sorted(source.sample(names, source.choice([1, 2])))))
        else:
            add(kind, *((a,) if kind in ("unplug", "pause") else (a, b)))
    if clocked and source.random() < 0.5:
        add("clock", source.choice(clocked), round(source.uniform(-DRIFT_S, DRIFT_S), 2))
    loss = source.random()
    if loss < 0.5:
        add("kill", source.choice(names), longest_s=5.0)
    elif loss < 0.65:
        add("stop", source.choice(names), longest_s=5.0)
    elif loss < 0.9 and clocked:
        kind = source.choice(["wrong_clock", "start_with_wrong_clock"])
        add(kind, source.choice(clocked), source.choice(WRONG_CLOCKS_S))
    return length_s, faults


def draw_plan(seed, names, clocked, seconds):
    """Windows for so many seconds, and more than are needed if mending takes no time."""
    source = random.Random(seed)
    windows, total_s = [], 0.0
    while total_s < seconds:
        windows.append(draw_window(source, names, clocked))
        total_s += windows[-1][0]
    return windows


class Faults:
    """Makes faults and mends them. Every method returns what mends it, or None if nothing was done."""

    def __init__(self, net, nodes):
        self.net, self.nodes = net, nodes
        self.paused, self.wrong = set(), set()
        self.counts = Counter()

    def unplug(self, name):
        self.net.unplug(name)
        return lambda: self.net.plug(name)

    def deafen(self, hearer, speaker):
        self.net.deafen(hearer, speaker)
        return lambda: self.net.undo_deafen(hearer, speaker)

    def part(self, a, b):
        self.net.deafen(a, b)
        self.net.deafen(b, a)
        return lambda: (self.net.undo_deafen(a, b), self.net.undo_deafen(b, a))

    def bar(self, dialler, listener):
        self.net.bar(dialler, listener)
        return lambda: self.net.undo_bar(dialler, listener)

    def split(self, side):
        side = side.split(",")
        others = [name for name in self.nodes if name not in side]
        for a in side:
            self.net.deafen(a, *others)
        for b in others:
            self.net.deafen(b, *side)

        def mend():
            for a in side:
                self.net.undo_deafen(a, *others)
            for b in others:
                self.net.undo_deafen(b, *side)
        return mend

    def pause(self, name):
        node = self.nodes[name]
        if not node.running or name in self.paused:
            return None
        node.pause()
        self.paused.add(name)
        return lambda: self._resume(name)

    def _resume(self, name):
        if name in self.paused:
            self.paused.discard(name)
            self.nodes[name].resume()

    def kill(self, name):
        node = self.nodes[name]
        if not node.running:
            return None
        node.kill()
        self.paused.discard(name)
        return lambda: self._start(name)

    def stop(self, name):
        node = self.nodes[name]
        if not node.running or name in self.paused:
            return None
        node.stop()
        return lambda: self._start(name)

    def _start(self, name):
        if not self.nodes[name].running:
            self.nodes[name].start()

    def clock(self, name, offset_s):
        """Within what is allowed. It stays."""
        if name in self.wrong:
            return None
        self.nodes[name].clock.set(offset_s)
        return lambda: None

    def wrong_clock(self, name, offset_s):
        """The clock of a running node jumps. Its stamps have followed, so only a restart mends it."""
        node = self.nodes[name]
        if not node.running:
            return None
        node.clock.set(offset_s)
        self.wrong.add(name)
        return lambda: None  # mend_all does it: nothing else may lose its memory in this window

    def start_with_wrong_clock(self, name, offset_s):
        node = self.nodes[name]
        if not node.running:
            return None
        node.kill()
        self.paused.discard(name)
        node.clock.set(offset_s)
        self.wrong.add(name)
        node.start()
        return lambda: None

    def mend_all(self):
        """What mending one by one has left."""
        self.net.restore()
        for name, node in self.nodes.items():
            self.net.plug(name)
            self._resume(name)
            if name in self.wrong and node.running:
                node.kill()
            if name in self.wrong:
                node.clock.set(0.0)
            self._start(name)
        self.wrong.clear()

    def run(self, window, say):
        """Play one window. What it leaves broken is for mend_all."""
        length_s, faults = window
        begin = time.monotonic()
        todo = [(fault.at_s, number, fault) for number, fault in enumerate(faults)]
        while todo:
            todo.sort(key=lambda item: item[:2])
            at_s, number, what = todo.pop(0)
            if at_s > length_s:
                break
            wait_until(begin + at_s)
            if not isinstance(what, Fault):
                what()
                continue
            mend = getattr(self, what.kind)(*what.args)
            say(f"{what}{'' if mend else ' (not possible now)'}")
            if mend:
                self.counts[what.kind] += 1
                todo.append((at_s + what.for_s, number, mend))
        wait_until(begin + length_s)


def wait_until(moment):
    """The plan's own time passing: this is what a fault lasts, not a wait for something to happen."""
    delay_s = moment - time.monotonic()
    if delay_s > 0:
        time.sleep(delay_s)


# --- what is known of the keys -------------------------------------------------------------------


class Ledger:
    """The keys that were written once. A key is in one state:

    issued      sent, and no OK came: may be there or not
    there       acknowledged
    deleting    a DEL was sent, no answer yet or none that tells
    gone        deleted by somebody who found it, acknowledged
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.states = {}
        self.there = []

    def issue(self, key):
        self.states[key] = "issued"

    def acknowledge(self, key):
        with self.lock:
            self.states[key] = "there"
            self.there.append(key)

    def take(self, source):
        """A key to delete; nobody else gets it."""
        with self.lock:
            if not self.there:
                return None
            place = source.randrange(len(self.there))
            self.there[place], self.there[-1] = self.there[-1], self.there[place]
            key = self.there.pop()
            self.states[key] = "deleting"
            return key

    def deleted(self, key):
        self.states[key] = "gone"


class Register:
    """What a register may hold: what was acknowledged last, and all that was issued after it."""

    def __init__(self):
        self.possible = {0: b"NOT_FOUND"}  # by number of the write, ascending
        self.last = 0

    @property
    def latest(self):
        return self.possible.get(self.last)

    def issue(self, value):
        self.last += 1
        self.possible[self.last] = value
        return self.last

    def acknowledge(self, number):
        self.possible = {n: value for n, value in self.possible.items() if n >= number}

    def refuse(self, number):
        self.possible.pop(number)


class Client(threading.Thread):
    """Writes to one node, and remembers."""

    def __init__(self, number, node, ledger, seed):
        super().__init__(name=f"client{number}", daemon=True)
        self.number, self.node, self.ledger = number, node, ledger
        self.source = random.Random(seed)
        self.go, self.idle, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.serial = 0  # of the values written: below it, every number was issued
        self.generation = 0  # of the registers: one a connection
        self.registers = {}
        self.gone_here = []  # deleted over this connection
        self.counts = Counter()
        self.faults = []

    # -- requests: (line, what to do with its reply)

    def value(self, key):
        self.serial += 1
        return b"%s|%d|%d|" % (key, self.number, self.serial)

    def set_once(self):
        key = b"L%d-%d" % (self.number, self.serial)
        size = self.source.choice([0] * 300 + [70_000])
        line = b"SET %s %s%s" % (key, self.value(key), b"x" * size)
        self.ledger.issue(key)

        def done(reply):
            if reply == b"OK":
                self.ledger.acknowledge(key)
        return line, done

    def delete_once(self):
        key = self.ledger.take(self.source)
        if key is None:
            return self.set_once()

        def done(reply):
            if reply == b"1":
                self.ledger.deleted(key)
                self.gone_here.append(key)
            elif reply == b"0":
                self.ledger.acknowledge(key)  # it had not come here yet
        return b"DEL " + key, done

    def look_for_gone(self):
        """A deleted key is not seen again where it was deleted."""
        if not self.gone_here:
            return self.set_once()
        key = self.source.choice(self.gone_here)

        def done(reply):
            if reply != b"NOT_FOUND":
                self.faults.append(f"{key} deleted on {self.node.name}, then there: {reply[:80]}")
        return b"GET " + key, done

    def write_register(self):
        key = b"R%d-%d-%d" % (self.number, self.generation, self.source.randrange(REGISTERS))
        register = self.registers.setdefault(key, Register())
        delete = register.latest not in (None, b"NOT_FOUND") and self.source.random() < 0.3
        value = b"NOT_FOUND" if delete else self.value(key)
        number = register.issue(value)

        def done(reply):
            if reply == (b"1" if delete else b"OK"):
                register.acknowledge(number)
            elif reply.startswith(b"ERROR"):
                if not UNKNOWN.match(reply):
                    register.refuse(number)
            elif delete and reply == b"0" and number - 1 not in register.possible:
                register.refuse(number)  # what it was to delete was refused
            else:
                self.faults.append(f"{key} on {self.node.name}: {reply[:80]} to {value[:80]}")
        return (b"DEL " + key if delete else b"SET %s %s" % (key, value)), done

    def contend(self):
        key = b"C%d" % self.source.randrange(CONTENDED_KEYS)
        kind = self.source.random()
        if kind < 0.5:
            line = b"SET %s %s" % (key, self.value(key))
        elif kind < 0.65:
            line = b"SETEX %s %d %s" % (key, self.source.randint(1, 2), self.value(key))
        elif kind < 0.8:
            line = b"DEL " + key
        elif kind < 0.9:
            line = b"EXPIRE %s %d" % (key, self.source.randint(1, 2))
        else:
            line = b"PERSIST " + key
        return line, lambda reply: None

    # -- the thread

    def run(self):
        while not self.ended.is_set():
            if not self.go.is_set():
                self.idle.set()
                self.go.wait(0.05)
                continue
            try:
                with self.node.connect(timeout_s=REPLY_TIMEOUT_S) as conn:
                    self.generation += 1
                    self.gone_here = []
                    self.talk(conn)
            except OSError:
                self.counts["broken connections"] += 1
                self.ended.wait(0.05)
            except Exception as error:  # a defect of this file must not pass for silence
                self.faults.append(f"{self.name}: {error!r}")
                raise

    def talk(self, conn):
        kinds = [self.set_once] * 5 + [self.delete_once] * 3 + [self.look_for_gone] + \
            [self.write_register] * 4 + [self.contend] * 6
        while self.go.is_set() and not self.ended.is_set():
            depth = self.source.choice([1, 1, 4, 16])
            begin = time.monotonic()
            self.batch(conn, [self.source.choice(kinds)() for _ in range(depth)])
            left_s = depth / REQUESTS_A_SECOND - (time.monotonic() - begin)
            self.ended.wait(max(left_s, 0))

    def batch(self, conn, requests):
        conn.send(b"".join(line + b"\n" for line, _ in requests))
        self.counts["requests"] += len(requests)
        for _, done in requests:
            reply = conn.line()
            done(reply)
            self.counts["not confirmed" if UNKNOWN.match(reply) else
                        "refused" if reply.startswith(b"ERROR") else "acknowledged"] += 1

    def pause(self):
        self.idle.clear()
        self.go.clear()


class Clients:
    def __init__(self, nodes, seed):
        self.ledger = Ledger()
        self.all = [Client(i, nodes[i % len(nodes)], self.ledger, seed * 1000 + i)
                    for i in range(len(nodes) * CLIENTS_A_NODE)]

    def __enter__(self):
        for client in self.all:
            client.start()
        return self

    def __exit__(self, *_):
        for client in self.all:
            client.ended.set()
        for client in self.all:
            client.join()

    def go(self):
        for client in self.all:
            client.idle.clear()
            client.go.set()

    def pause(self):
        for client in self.all:
            client.pause()
        for client in self.all:
            assert client.idle.wait(10 * REPLY_TIMEOUT_S * SLOWNESS), f"{client.name} hangs"

    def faults(self):
        return [fault for client in self.all for fault in client.faults]

    def counts(self):
        return sum((client.counts for client in self.all), Counter())


# --- the judgement ---------------------------------------------------------------------------------


def settle(nodes, begin):
    """Wait until all nodes are linked and equal and owe each other nothing. The seconds since begin,
    and what was missing last."""
    missing = ""

    def settled():
        nonlocal missing
        infos = [node.info() for node in nodes]
        unlinked = [info["name"] for info in infos if int(info["peers_linked"]) != len(nodes) - 1]
        behind = [info["name"] for info in infos if info["lag_ms"] != "0"]
        states = {(info["digest"], info["keys"]) for info in infos}
        if unlinked or behind or len(states) != 1:
            missing = f"unlinked {unlinked}, behind {behind}, digests and keys {states}"
            raise KvError(missing)
        return True
    eventually(settled, CONVERGED_WITHIN_S, "all nodes linked and equal")
    return time.monotonic() - begin, missing


def outlive_expiries(nodes):
    """Until nothing that will expire is left: then what the nodes hold no longer changes."""
    keys = [b"C%d" % i for i in range(CONTENDED_KEYS)]

    def over():
        for node in nodes:
            with node.connect() as conn:
                left = [ttl for ttl in conn.pipeline(b"TTL " + key for key in keys)
                        if not ttl.startswith(b"-")]
            if left:
                raise KvError(f"{node.name} has {len(left)} keys that will expire")
        return True
    eventually(over, 15, "every expiry is over")


def values_on(node, keys):
    with node.connect(timeout_s=120) as conn:
        return dict(zip(keys, conn.pipeline(b"GET " + key for key in keys)))


def judge(nodes, clients):
    """Compare what every node holds, key by key, with what the clients were told. The faults."""
    outlive_expiries(nodes)
    settle(nodes, time.monotonic())
    faults = clients.faults()
    ledger = clients.ledger.states
    registers = {key: register for client in clients.all
                 for key, register in client.registers.items()}
    contended = [b"C%d" % i for i in range(CONTENDED_KEYS)]
    keys = [*ledger, *registers, *contended]
    first = values_on(nodes[0], keys)
    for node in nodes[1:]:
        for key, value in values_on(node, keys).items():
            if value != first[key]:
                faults.append(f"{key} differs: {nodes[0].name} {first[key][:80]}, "
                              f"{node.name} {value[:80]}")
    found = sum(value != b"NOT_FOUND" for value in first.values())
    counts = {node.name: int(node.cmd("COUNT")) for node in nodes}
    if set(counts.values()) != {found}:
        faults.append(f"{found} of the keys ever written are there, but COUNT is {counts}")
    faults += judge_ledger(ledger, first) + judge_registers(registers, first)
    for key, value in first.items():
        if value != b"NOT_FOUND" and not was_issued(clients, key, value):
            faults.append(f"{key} has a value that nobody wrote to it: {value[:80]}")
    return faults


def judge_ledger(ledger, values):
    faults = []
    for key, state in ledger.items():
        there = values[key] != b"NOT_FOUND"
        if state == "there" and not there:
            faults.append(f"{key} was acknowledged and is lost")
        if state == "gone" and there:
            faults.append(f"{key} was deleted and is back")
    return faults


def judge_registers(registers, values):
    return [f"{key} is {values[key][:80]}, which is older than what was acknowledged or was never "
            f"written; possible: {[value[:80] for value in register.possible.values()]}"
            for key, register in registers.items()
            if values[key] not in register.possible.values()]


def was_issued(clients, key, value):
    written_to, client, serial, _ = value.split(b"|", 3)
    return written_to == key and 0 < int(serial) <= clients.all[int(client)].serial


def clocks_for(directory, names, source):
    """Two nodes have clocks that can be set."""
    return {name: Clock(directory / f"{name}.clock") for name in sorted(source.sample(names, 2))}
