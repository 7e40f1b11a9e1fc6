"""What the tests of data directories share.

    Faults    a disk that fails when it is told to (faulty.c), for a node
    Tiny      options by which little data already makes many segments and snapshots
    Ledger    what clients were told of the keys that they wrote, and what a node may hold of them
    Writer    a client that writes as fast as it is answered, and keeps its part of a ledger
"""

import random
import re
import subprocess
import threading
from collections import Counter
from pathlib import Path

import kvtest
from kvtest import BINARY, Closed, eventually

FAULTY = Path(BINARY).resolve().parent / "tests" / "cluster" / "faulty.so"
TINY = {"segment_size": "64KiB", "snapshot_size": "64KiB", "snapshot_percent": 100}
READY_WITHIN_S = 30
KEYS, DEPTH_MAX, VALUE_BYTES_MAX = 400, 16, 900  # of a writer
CALLS = ("openat", "fallocate", "pwrite", "ftruncate", "fdatasync", "fsync", "renameat", "unlinkat")


class Faults:
    """Rules of faulty.c that may change while the node runs: faults.set("pwrite ENOSPC")."""

    def __init__(self, path):
        self.path = Path(path)
        self.set()
        assert FAULTY.exists(), f"{FAULTY} is missing: build the tests (-DBUILD_TESTS=ON)"

    def set(self, *rules):
        written = self.path.with_suffix(".new")
        written.write_text("".join(rule + "\n" for rule in rules))
        written.replace(self.path)

    def environment(self):
        return {"LD_PRELOAD": str(FAULTY), "KV_FAULT_FILE": str(self.path)}

    def killing(self, call, number, when):
        """Besides: the process kills itself at that call, "before" or "after" it."""
        return {**self.environment(), "KV_FAULT_KILL_AT": f"{call} {number}", "KV_FAULT_KILL": when}


def ready(node):
    """Waits until the node has read its directory, and is refilled if it has to be."""
    def serves():
        if not node.running:
            raise RuntimeError(f"{node.name} ended with {node.process.returncode} while it loaded")
        return node.cmd("GET", "whether-it-serves") == "NOT_FOUND"
    eventually(serves, READY_WITHIN_S, f"{node.name} serves")
    return node


def restarted(node, env=None):
    """The node started again: with faults only if `env` says so."""
    node.env = env or {}
    return ready(node.start())


def names(directory, prefix="", suffix=""):
    """Names in a directory, oldest first."""
    return sorted(path.name for path in Path(directory).iterdir()
                  if path.name.startswith(prefix) and path.name.endswith(suffix))


def file_number(name):
    return int(re.search(r"-([0-9a-f]{16})", name).group(1), 16)


def check(directory, *arguments):
    """simple-kv --check: the process that has ended."""
    return subprocess.run([kvtest.BINARY, "--check", str(directory), *arguments],
                          capture_output=True, text=True, timeout=60 * kvtest.SLOWNESS)


class Ledger:
    """What keys may hold: per key what was acknowledged last, and all that was issued after it.

    Each key is written over one connection at a time, so that the order in which its writes were
    issued is the order in which they count.
    """

    ABSENT = b"NOT_FOUND"

    def __init__(self):
        self.possible = {}  # key -> list of values, the first one acknowledged
        self.counts = Counter()

    def issue(self, key, value):
        self.possible.setdefault(key, [self.ABSENT]).append(value)

    def acknowledge(self, key, value):
        values = self.possible[key]
        del values[:values.index(value)]
        self.counts["acknowledged"] += 1

    def settle(self, node):
        """Every key holds one of what it may, and there is no other; from now on it is that one."""
        keys = list(self.possible)
        with node.connect(timeout_s=60) as conn:
            found = conn.pipeline(b"GET " + key for key in keys)
        for key, value in zip(keys, found):
            values = self.possible[key]
            assert value in values, (f"{key} on {node.name} holds {value[:80]}, not one of "
                                     f"{[possible[:80] for possible in values[:4]]}")
            self.counts["lost and not acknowledged"] += len(values) - 1 - values.index(value)
            self.possible[key] = [value]
        live = sum(value != self.ABSENT for value in found)
        assert node.number("keys") == live, "there are keys that nobody has written"
        return live


class Writer(threading.Thread):
    """Writes until the connection breaks or `ended` is set. Its keys are its own.

    may_be_refused: an ERROR reply ends it; else there must be none.
    """

    def __init__(self, number, node, ledger, seed, may_be_refused=False):
        super().__init__(name=f"writer{number}", daemon=True)
        self.number, self.node, self.ledger = number, node, ledger
        self.source = random.Random(seed)
        self.may_be_refused, self.was_refused = may_be_refused, False
        self.ended = threading.Event()
        self.serial = 0
        self.failure = None

    def run(self):
        try:
            with self.node.connect(timeout_s=30) as conn:
                while not self.ended.is_set():
                    self.batch(conn, self.source.randint(1, DEPTH_MAX))
        except (Closed, ConnectionError, BrokenPipeError):
            pass  # the node was killed: what was not answered may be there or not
        except Exception as error:  # a defect of this file must not pass for silence
            self.failure = error
            raise

    def request(self):
        key = b"w%d-%d" % (self.number, self.source.randrange(KEYS))
        if self.source.random() < 0.3:
            return key, Ledger.ABSENT, b"DEL " + key
        self.serial += 1
        size = self.source.randint(1, VALUE_BYTES_MAX)
        # The seed is in it, since a later writer of the same number must not repeat its values.
        value = b"%s|%x|%d|%s" % (key, self.source.getrandbits(64), self.serial, b"x" * size)
        return key, value, b"SET %s %s" % (key, value)

    def batch(self, conn, depth):
        requests = [self.request() for _ in range(depth)]
        for key, value, _ in requests:
            self.ledger.issue(key, value)
        conn.send(b"".join(line + b"\n" for _, _, line in requests))
        for key, value, line in requests:
            reply = conn.line()
            if self.may_be_refused and reply.startswith(b"ERROR"):
                self.was_refused = True
                self.ended.set()
                return
            wanted = (b"0", b"1") if value == Ledger.ABSENT else (b"OK",)
            assert reply in wanted, f"{reply[:200]} to {line[:80]}"
            self.ledger.acknowledge(key, value)
