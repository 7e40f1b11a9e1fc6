"""kill -9 of a node that runs transactions, with --fsync always: of an answered EXEC, all is there after the
restart; of one that was not answered, its first writes are, or none.

KV_CRASH_ROUNDS, KV_CRASH_SEED   as in test_crash.py
"""

import os
import random
import shutil
import signal
import threading
import time

import pytest

from disktest import TINY, Faults, ready, restarted
from kvtest import SLOWNESS, Closed

ROUNDS = int(os.environ.get("KV_CRASH_ROUNDS", "40"))
SEED = int(os.environ.get("KV_CRASH_SEED", random.SystemRandom().randrange(1 << 32)))
WRITERS, GROUPS, KEYS, VALUE_BYTES_MAX = 3, 5, 12, 2500
SHORTEST_S, LONGEST_S = 0.02, 0.25


class Group:
    """Keys that are written together: by the n-th transaction all become "n|…", and at last a key is
    written if n is odd, deleted if it is even."""

    def __init__(self, name):
        self.keys = [b"%s:%d" % (name, i) for i in range(KEYS)]
        self.parity = name + b":parity"
        self.issued = self.answered = 0

    def request(self, source):
        self.issued += 1
        lines = [b"SET %s %d|%s" % (key, self.issued, b"x" * source.randrange(VALUE_BYTES_MAX)) for key in self.keys]
        lines.append(b"SET %s 1" % self.parity if self.issued % 2 else b"DEL " + self.parity)
        return b"".join(line + b"\n" for line in (b"MULTI", *lines, b"EXEC"))

    def read_answer(self, conn):
        answer = [conn.line() for _ in range(1 + (KEYS + 1) + 1 + (KEYS + 1))]
        assert answer[0] == b"OK" and set(answer[1:KEYS + 2]) == {b"QUEUED"}, answer
        assert answer[KEYS + 2:-1] == [b"%d" % (KEYS + 1), *[b"OK"] * KEYS], answer
        assert answer[-1] == (b"OK" if self.issued % 2 else b"1"), answer
        self.answered = self.issued

    def settle(self, conn):
        """Whether a part of a transaction is there; then all of the next one is."""
        *values, parity = conn.pipeline(b"GET " + key for key in (*self.keys, self.parity))
        found = [0 if value == b"NOT_FOUND" else int(value.split(b"|")[0]) for value in values]
        assert set(found) <= {self.answered, self.issued}, (found, self.answered, self.issued)
        assert found == sorted(found, reverse=True), f"not in their order: {found}"
        # The last write of a transaction is there only if the others are.
        written = {b"NOT_FOUND": 0, b"1": 1}[parity]
        assert written == found[-1] % 2 or (written == self.answered % 2 and found[-1] == self.issued)
        in_part = len(set(found)) > 1 or written != found[-1] % 2
        self.issued = self.answered = found[0]
        if in_part:
            # Its DEL may find the key gone.
            conn.send(b"SET %s 1\n" % self.parity)
            assert conn.line() == b"OK"
            conn.send(self.request(random.Random(0)))
            self.read_answer(conn)
        return in_part


class Writer(threading.Thread):
    """Runs transactions, some of them at a time, each of another group, until the connection breaks."""

    def __init__(self, node, groups, seed):
        super().__init__(daemon=True)
        self.node, self.groups, self.source = node, groups, random.Random(seed)
        self.answered = 0
        self.failure = None

    def run(self):
        try:
            with self.node.connect(timeout_s=30) as conn:
                while True:
                    chosen = self.source.sample(self.groups, self.source.randint(1, 3))
                    conn.send(b"".join(group.request(self.source) for group in chosen))
                    for group in chosen:
                        group.read_answer(conn)
                        self.answered += 1
        except (Closed, OSError):
            pass  # the node was killed
        except Exception as error:  # a defect of this file must not pass for silence
            self.failure = error
            raise


def settle(node, groups):
    with node.connect(timeout_s=60) as conn:
        in_part = sum(group.settle(conn) for group in groups)
    written = [group for group in groups if group.answered]
    assert node.number("keys") == sum(KEYS + group.answered % 2 for group in written)
    return in_part


def test_kill_at_random_moments_loses_no_answered_transaction(kv, tmp_path):
    source = random.Random(SEED)
    node = kv.prepare(data_dir=tmp_path / "data", fsync="always", **TINY)
    parts = [[Group(b"%d:%d" % (writer, i)) for i in range(GROUPS)] for writer in range(WRITERS)]
    groups = [group for part in parts for group in part]
    answered = in_part = 0
    print(f"seed {SEED}")
    for _ in range(ROUNDS):
        ready(node.start())
        in_part += settle(node, groups)
        writers = [Writer(node, part, source.random()) for part in parts]
        for writer in writers:
            writer.start()
        # The moment is drawn: no condition to wait for could be as unkind.
        time.sleep(source.uniform(SHORTEST_S, LONGEST_S) * SLOWNESS)
        node.kill()
        for writer in writers:
            writer.join()
        assert all(writer.failure is None for writer in writers)
        answered += sum(writer.answered for writer in writers)
    ready(node.start())
    in_part += settle(node, groups)
    print(f"{ROUNDS} kills, {answered} transactions answered, none lost; of {in_part} unanswered ones a part was there")
    assert answered > 5 * ROUNDS / SLOWNESS


@pytest.mark.parametrize("call, when", [("pwrite", "before"), ("pwrite", "after"), ("fdatasync", "before"),
                                        ("fdatasync", "after")])
def test_kill_at_every_write_and_sync_loses_no_answered_transaction(kv, tmp_path, call, when):
    """ "after" a write is halfway through it: then a transaction is there in part."""
    faults = Faults(tmp_path / "faults")
    directory = tmp_path / "data"
    node = kv.prepare(data_dir=directory, fsync="always")
    kills = in_part = 0
    for number in range(1, 100):
        shutil.rmtree(directory, ignore_errors=True)
        group = Group(b"group")
        node.env = faults.killing(call, number, when)
        try:
            ready(node.start())
            with node.connect(timeout_s=30) as conn:
                for _ in range(10):
                    conn.send(group.request(random.Random(group.issued)))
                    group.read_answer(conn)
            node.send_signal(signal.SIGTERM)
        except (OSError, RuntimeError, Closed):
            pass  # as a kill is seen from outside; any other reason does not end the process
        if node.wait() == 0:
            break
        kills += 1
        restarted(node)
        in_part += settle(node, [group])
        node.kill()
    print(f"killed {when} each of {kills} calls of {call}; {in_part} times a part of a transaction was there")
    assert kills >= 10 and (in_part > 0) == ((call, when) == ("pwrite", "after"))
