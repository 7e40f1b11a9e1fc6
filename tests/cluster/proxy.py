"""A TCP proxy that is slow, for a link of so many bytes a second.

    with SlowLink(net["proxy"], rate=1000) as link:
        link.listen(port, host, target_port)     what dials here is led there
        link.rate = None                         as fast as it goes from now on

The rate holds for each direction of the whole link, whatever its connections. Little is buffered on
the way, so that a sender soon finds its socket full."""

import socket
import threading
import time

from kvtest import eventually

CHUNK_BYTES = 4096
SOCKET_BUFFER_BYTES = 4096  # the kernel makes some more of it
TURN_S = 0.02


class _Way:
    """One direction of one connection."""

    def __init__(self, source, target, towards_target):
        self.source, self.target, self.towards_target = source, target, towards_target
        self.pending = b""
        self.ended = False


class SlowLink:
    def __init__(self, host, rate):
        self.host, self.rate = host, rate
        self.passed_bytes = {True: 0, False: 0}
        self._allowed = {True: 0.0, False: 0.0}
        self._listeners, self._ways = {}, []
        self._turns = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def listen(self, port, target_host, target_port):
        with self.host.entered():
            listener = socket.create_server((self.host.address, port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        listener.setblocking(False)
        self._listeners[listener] = (target_host, target_port)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        for way in self._ways:
            way.source.close()
            way.target.close()
        for listener in self._listeners:
            listener.close()

    def slow_down(self, rate):
        """Changes the rate, and waits until nothing passes at the old one any more."""
        self.rate = rate
        begin = self._turns
        eventually(lambda: self._turns > begin + 1, 5, "the line is slow")

    def _run(self):
        last = time.monotonic()
        while not self._ended.wait(TURN_S if self.rate else 0.001):
            now = time.monotonic()
            for direction in self._allowed:
                self._allowed[direction] = (CHUNK_BYTES * 64.0 if self.rate is None else
                                            min(self._allowed[direction] + (now - last) * self.rate,
                                                max(self.rate * 0.1, 64)))
            last = now
            self._turns += 1
            for listener, target in self._listeners.items():
                self._accept(listener, target)
            for way in list(self._ways):
                self._pass_on(way)
            self._ways = self._ways[1:] + self._ways[:1]  # nobody is always the first

    def _accept(self, listener, target):
        try:
            source, _ = listener.accept()
        except BlockingIOError:
            return
        with self.host.entered():
            onward = socket.socket()
        for sock in (source, onward):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        onward.settimeout(1)
        try:
            onward.connect(target)
        except OSError:
            source.close()
            onward.close()
            return
        source.setblocking(False)
        onward.setblocking(False)
        self._ways += [_Way(source, onward, True), _Way(onward, source, False)]

    def _pass_on(self, way):
        """As many bytes as may pass now. An end of either kind ends the connection both ways."""
        while not way.ended:
            allowed = int(self._allowed[way.towards_target])
            try:
                if not way.pending:
                    if allowed < 1:
                        return
                    way.pending = way.source.recv(min(CHUNK_BYTES, allowed))
                    if not way.pending:
                        way.ended = True
                        break
                sent = way.target.send(way.pending)
            except BlockingIOError:
                return
            except OSError:
                way.ended = True
                break
            way.pending = way.pending[sent:]
            self._allowed[way.towards_target] -= sent
            self.passed_bytes[way.towards_target] += sent
        for other in [other for other in self._ways
                      if other.source in (way.source, way.target)]:
            self._ways.remove(other)
            other.source.close()
