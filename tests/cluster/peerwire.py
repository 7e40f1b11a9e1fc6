"""The peer protocol spoken by hand, as docs/protocol.md draws it: for what no real node would say.

    Peer(node.connect())    a dialling peer: hello(), send(), receive()
"""

import ctypes
import struct
import time

MAGIC = b"\x00KVP"
VERSION = 2
PARTITIONS = 4096
(HELLO, REFUSED, HEARTBEAT, MEMBERS, STREAM, GAP, RECORDS, ACK_WANTED, DELTA_REQUEST, DELTA_BEGIN,
 DELTA_RECORDS, DELTA_LIST, DELTA_MARK, DELTA_END, DIGESTS_WANTED, DIGEST) = range(1, 17)
TYPES = range(HELLO, DIGEST + 1)
TOMBSTONE, EXPIRES = 1, 2

# apt itself depends on this library, so every Debian has it.
_xxhash = ctypes.CDLL("libxxhash.so.0")
_xxhash.XXH3_64bits.restype = ctypes.c_uint64
_xxhash.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def checksum(data):
    return _xxhash.XXH3_64bits(data, len(data)) & 0xffffffff


def header(kind, payload_bytes, guarded=b""):
    """A frame's header. payload_bytes need not be true."""
    rest = struct.pack("<IB3x", payload_bytes, kind)
    return struct.pack("<I", checksum(rest + guarded)) + rest


def frame(kind, payload=b""):
    guarded = {RECORDS: payload[:16], DELTA_RECORDS: b""}.get(kind, payload)
    return header(kind, len(payload), guarded) + payload


def text(data):
    return struct.pack("<H", len(data)) + data


def vector(entries=()):
    return struct.pack("<I", len(entries)) + b"".join(struct.pack("<QQ", *e) for e in entries)


def stamp_now(ahead_ms=0):
    """A hybrid stamp: milliseconds above a counter of 16 bits."""
    return (int(time.time() * 1000) + ahead_ms) << 16


def hello(name=b"byhand", cluster=b"simple-kv", version=VERSION, origin=0x1234, floor=0, host=b"",
          port=0, known=()):
    return frame(HELLO, struct.pack("<HHQQQ", version, 0, origin, int(time.time() * 1000), floor)
                 + text(cluster) + text(name) + text(host) + struct.pack("<H", port)
                 + vector(known))


def record(key, value, stamp, origin=0x1234, flags=0, expires_ms=None, key_bytes=None,
           value_bytes=None):
    """A record with a right checksum. Sizes may be overridden to be wrong."""
    body = struct.pack("<IHBBQQ", len(value) if value_bytes is None else value_bytes,
                       len(key) if key_bytes is None else key_bytes, flags, 0, stamp, origin)
    if expires_ms is not None:
        body += struct.pack("<Q", expires_ms)
    body += key + value
    return struct.pack("<I", checksum(body)) + body


def records(after, through, *encoded):
    return frame(RECORDS, struct.pack("<QQ", after, through) + b"".join(encoded))


def heartbeat(known=(), durable=()):
    return frame(HEARTBEAT, struct.pack("<Q", int(time.time() * 1000)) + vector(known)
                 + vector(durable))


def members(entries):
    packed = [text(name) + text(host) + struct.pack("<HQ", port, 0) for name, host, port in entries]
    return frame(MEMBERS, struct.pack("<H", len(packed)) + b"".join(packed))


class Peer:
    """One connection with a node at its other end; `conn` is a Conn or a socket."""

    def __init__(self, conn):
        self.sock = getattr(conn, "sock", conn)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def _need(self, size):
        while len(self.buffer) < size:
            chunk = self.sock.recv(1 << 18)
            if not chunk:
                raise ConnectionError("the node has ended the link")
            self.buffer += chunk

    def skip_magic(self):
        self._need(len(MAGIC))
        assert self.buffer.startswith(MAGIC)
        self.buffer = self.buffer[len(MAGIC):]

    def receive(self, wanted=None):
        """The next frame (type, payload); with `wanted`, the next one of that type."""
        while True:
            self._need(12)
            size, kind = struct.unpack_from("<IB", self.buffer, 4)
            self._need(12 + size)
            whole, self.buffer = self.buffer[:12 + size], self.buffer[12 + size:]
            payload = whole[12:]
            assert whole == frame(kind, payload), "a frame of the node has a wrong checksum"
            if wanted in (None, kind):
                return kind, payload

    def ended(self, within_s=3):
        """Whether the node ends the link, and not only because it heard nothing for 5 s; what it
        still says is dropped."""
        end = time.monotonic() + within_s
        try:
            while self.sock.recv(1 << 18):
                pass
        except ConnectionError:
            pass
        return time.monotonic() < end
