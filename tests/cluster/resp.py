"""The Redis protocol for tests: a client that keeps replies byte for byte, and a real redis-server."""

import shlex
import socket
import subprocess

from kvtest import SLOWNESS, Closed, eventually, free_ports, to_bytes


def encode(words):
    """A command as clients send it."""
    words = [to_bytes(word) for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word)
                                              for word in words)


def encode_inline(words):
    """Likewise as a person types it into a connection: every byte that is not plain is escaped."""
    def quoted(word):
        plain = bytes(range(0x21, 0x7f)).translate(None, b"\"'\\")
        if word and not word.strip(plain):
            return word
        return b'"' + b"".join(bytes([c]) if c in plain or c == 0x20 else b"\\x%02x" % c
                               for c in word) + b'"'
    return b" ".join(quoted(to_bytes(word)) for word in words) + b"\r\n"


class Reply:
    """One reply: its type, what it holds, and its bytes."""

    def __init__(self, kind, value, raw):
        self.kind, self.value, self.raw = kind, value, raw

    @property
    def is_error(self):
        return self.kind == "-"

    def plain(self):
        """Without types: bytes, int, None, and lists of them; a map is a list of pairs' halves."""
        return [part.plain() for part in self.value] if isinstance(self.value, list) else self.value

    def __repr__(self):
        return repr(self.raw if len(self.raw) < 400 else self.raw[:400] + b"...")


class Resp:
    """One connection."""

    def __init__(self, host, port, protocol=2, timeout_s=15):
        self.address = (host, port)
        self.timeout_s = timeout_s
        self.protocol = protocol
        self.open()

    def open(self):
        self.sock = socket.create_connection(self.address, timeout=self.timeout_s * SLOWNESS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        if self.protocol == 3:
            hello = self.ask("HELLO", "3")
            assert hello.kind == "%", hello

    def close(self):
        self.sock.close()

    def reopen(self):
        self.close()
        self.open()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.sock.sendall(data)

    def _more(self):
        chunk = self.sock.recv(1 << 18)
        if not chunk:
            raise Closed(f"connection ended; unfinished reply: {bytes(self.buffer[:200])!r}")
        self.buffer += chunk

    def _take(self, at, size):
        while len(self.buffer) < at + size:
            self._more()
        return bytes(self.buffer[at:at + size])

    def _line(self, at):
        while (end := self.buffer.find(b"\r\n", at)) < 0:
            self._more()
        return bytes(self.buffer[at:end]), end + 2

    def _read(self, at):
        """The reply at that offset: kind, value, the offset behind it."""
        line, end = self._line(at)
        kind, rest = chr(line[0]) if line else "", line[1:]
        if kind in "$=!":
            if rest == b"-1":
                return kind, None, end
            size = int(rest)
            assert self._take(end + size, 2) == b"\r\n", bytes(self.buffer[:200])
            return kind, bytes(self.buffer[end:end + size]), end + size + 2
        if kind in "*~%>":
            if rest == b"-1":
                return kind, None, end
            parts = []
            for _ in range(int(rest) * (2 if kind == "%" else 1)):
                start = end
                part_kind, value, end = self._read(start)
                parts.append(Reply(part_kind, value, bytes(self.buffer[start:end])))
            return kind, parts, end
        assert kind and kind in "+-:_,#(", f"no reply: {bytes(self.buffer[:200])!r}"
        if kind == ":":
            return kind, int(rest), end
        return kind, None if kind == "_" else rest, end

    def reply(self):
        kind, value, end = self._read(0)
        reply = Reply(kind, value, bytes(self.buffer[:end]))
        del self.buffer[:end]
        return reply

    def rest(self):
        """All bytes until the connection ends. A reset counts as an end: what a server did not read is
        lost that way."""
        try:
            while chunk := self.sock.recv(1 << 18):
                self.buffer += chunk
        except ConnectionResetError:
            pass
        data, self.buffer = bytes(self.buffer), bytearray()
        return data

    def ask(self, *words):
        self.send(encode(words))
        return self.reply()

    def value(self, *words):
        """The plain value of a reply that is no error."""
        reply = self.ask(*words)
        assert not reply.is_error, (words, reply)
        return reply.plain()


class RedisServer:
    """A real redis-server of this machine, in memory only."""

    def __init__(self, directory, *options):
        self.host, self.port = "127.0.0.1", free_ports(1)[0]
        self.log_path = directory / "redis-server.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", str(self.port), "--bind", self.host, "--save", "",
                 "--dir", str(directory), "--databases", "1", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(self._answers, 15, "redis-server answers")

    def _answers(self):
        assert self.process.poll() is None, self.log_path.read_text()
        with self.connect() as conn:
            return conn.ask("PING").raw == b"+PONG\r\n"

    def connect(self, **options):
        return Resp(self.host, self.port, **options)

    def close(self):
        self.process.terminate()
        self.process.wait(30)


def words_of(text):
    """A command as documents show it."""
    return shlex.split(text)
