"""Load for tests that look at something else meanwhile.

    with Load(nodes, rate=2000) as load:    a thread a node sets new keys, so many a second each
    with Probe(nodes) as probe:             a thread a node asks one thing at a time; probe.slowest_s
"""

import threading
import time

from kvtest import RECORD_HEADER_BYTES

BATCH = 50


class _Threads:
    def __init__(self, nodes):
        self.ended = threading.Event()
        self.failures = []
        self.threads = [threading.Thread(target=self._guarded, args=(i, node), daemon=True)
                        for i, node in enumerate(nodes)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def _guarded(self, index, node):
        while not self.ended.is_set():
            try:
                self._run(index, node)
            except OSError as error:
                if self.strict:
                    self.failures.append(f"{node.name}: {error!r}")
                    return
                self.ended.wait(0.02)  # the node is down; the next connection tells


class Load(_Threads):
    """strict: a connection that breaks is a failure; else the node may be down at times."""

    def __init__(self, nodes, rate=2000, value_bytes=100, prefix="load", strict=False):
        super().__init__(nodes)
        self.rate, self.prefix, self.strict = rate, prefix, strict
        self.value = b"v" * value_bytes
        self.sent = [0] * len(nodes)
        self.confirmed = [0] * len(nodes)
        self.sent_bytes = [0] * len(nodes)  # as records

    @property
    def writes(self):
        return sum(self.confirmed)

    def _run(self, index, node):
        with node.connect(timeout_s=10) as conn:
            while not self.ended.is_set():
                begin = time.monotonic()
                keys = [b"%s%d-%d" % (self.prefix.encode(), index, self.sent[index] + i)
                        for i in range(BATCH)]
                self.sent[index] += BATCH
                self.sent_bytes[index] += sum(RECORD_HEADER_BYTES + len(key) + len(self.value)
                                              for key in keys)
                replies = conn.pipeline(b"SET %s %s" % (key, self.value) for key in keys)
                refused = [reply for reply in replies if reply != b"OK"]
                if refused:
                    self.failures.append(f"{node.name}: {refused[0][:100]}")
                self.confirmed[index] += len(replies) - len(refused)
                self.ended.wait(max(BATCH / self.rate - (time.monotonic() - begin), 0))


class Probe(_Threads):
    """What one client sees that sets and gets one key, one request at a time."""

    strict = True

    def __init__(self, nodes):
        super().__init__(nodes)
        self.slowest_s = 0.0
        self.asked = 0

    def _run(self, index, node):
        with node.connect(timeout_s=30) as conn:
            while not self.ended.is_set():
                begin = time.monotonic()
                assert conn.ask(b"SET probe%d %d" % (index, self.asked)) == b"OK"
                conn.ask(b"GET probe%d" % index)
                self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
                self.asked += 1
                self.ended.wait(0.002)
