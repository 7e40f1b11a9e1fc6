"""Random Redis commands for test_conformance.py: what is sent, and how two replies are compared.

    FORMS     per command, the forms in which it is sent: lists of words, in which a pattern stands for
              a random choice
    Story     a random sequence from a seed
    same()    whether two servers' replies to one command are equal as far as they can be
"""

import random
import time

NEAR_S = 10  # what two servers may differ in a time: they are asked one after the other

KEYS = [b"k1", b"k2", b"k3", b"K1", b"num", b"float", b"a b", b"\x00\xff\r\n", b"q\"'\\", b"h[a]*?",
        b"long" * 90]
VALUES = [b"", b"0", b"1", b"-1", b"10", b"007", b"3.25", b"-0.5", b"1e3", b"9223372036854775806",
          b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b" 1", b"1 ",
          b"hello", b"hello world", b"\x00\x01\xfe\xff", b"two\r\nlines", b"OK", b"$-1\r\n", b"x" * 45,
          b"y" * 44, b"z" * 3000, "größe".encode()]
INTEGERS = [b"0", b"1", b"-1", b"2", b"10", b"100", b"-100", b"9223372036854775807",
            b"-9223372036854775808", b"9223372036854775808", b"+1", b"01", b"-0", b" 1", b"1 ", b"1.0",
            b"1e3", b"0x10", b"abc", b"", b"-", b"99999999999999999999"]
FLOATS = [b"0", b"1", b"-1", b"0.1", b"0.2", b"3.0e3", b"1e-3", b"-2.5", b"5.0e17", b"1e400", b"nan",
          b"inf", b"-inf", b"0x10", b"abc", b"", b" 1", b"1 ", b"1.", b".5", b"100000000000000000000",
          b"0.00000000000000001", b"1e308", b"-1e308", b"123456789.123456789", b"1e17", b"17179869184.5"]
OFFSETS = [b"0", b"1", b"3", b"5", b"-1", b"-3", b"40", b"100", b"536870911", b"536870912",
           b"9223372036854775807", b"-9223372036854775808", b"abc", b"1.5", b"-100", b""]
ODD_TTLS = [b"0", b"-1", b"-100", b"9223372036854775807", b"abc", b"1.5", b"-9223372036854775808",
            b"9223372036854775", b"99999999999999999999", b"18446744073709551616"]
# None that ends while a story goes on: two servers would not agree on whether it has.
TTLS = [b"100", b"1000", b"100000", b"5000", *ODD_TTLS]
MS_TTLS = [b"100000", b"200000", b"1000000", *ODD_TTLS]
WHENS = [b"NX", b"XX", b"GT", b"LT"]
PATTERNS = [b"*", b"k?", b"k*", b"[kK]1", b"[^k]*", b"k[1-2]", b"\\k1", b"h\\[a\\]*", b"h[a]*", b"", b"k",
            b"*1", b"**", b"?", b"k[", b"k[1", b"k\\", b"[a-", b"*b", b"a b", b"*[0-9]", b"[3-1]*", b"nu?"]
NAMES = [b"me", b"", b"with space", b"a\nb", b"x" * 60, "ä".encode()]
COMMANDS = [b"get", b"SET", b"mset", b"Del", b"nosuch", b"rename", b"ping", b"copy", b"getex"]


class Near:
    """A Unix time so many seconds from now, in a unit of so many a second."""

    def __init__(self, units):
        self.units = units

    def pick(self, rng):
        off = rng.choice((1000, 5000, 100000, -1000, None, None))
        if off is None:
            return rng.choice((b"0", b"-1", b"1", b"abc", b"1.5", b"99999999999999999999",
                               b"-9223372036854775808", b"9223372036854775807", b"9223372036854776"))
        return b"%d" % ((int(time.time()) + off) * self.units)


class Fresh:
    """A time to live like none before it: with the same again, GT and LT would tell by the millisecond in
    which each of the two servers takes the command."""

    def __init__(self, units):
        self.units = units

    def pick(self, rng):
        return b"%d" % (rng.randrange(200, 2_000_000) * self.units)


class Some:
    """Words of a list of choices, from `least` to `most` of them."""

    def __init__(self, choices, least=1, most=3):
        self.choices, self.least, self.most = choices, least, most

    def pick_all(self, rng):
        count = rng.randint(self.least, self.most)
        words = []
        for _ in range(count):
            chosen = rng.choice(self.choices)
            words += [pick(part, rng) for part in (chosen if isinstance(chosen, tuple) else (chosen,))]
        return words


def pick(part, rng):
    if isinstance(part, list):
        return rng.choice(part)
    return part.pick(rng) if hasattr(part, "pick") else part


SECONDS, MILLIS = Near(1), Near(1000)
EXPIRY = [(b"EX", TTLS), (b"PX", MS_TTLS), (b"EXAT", SECONDS), (b"PXAT", MILLIS)]
NUMBERS = [b"num", b"num", b"num", b"k1", b"float"]

# What is compared: "raw" bytes, or what same() says.
FORMS = {
    # strings
    "get": [[KEYS]],
    "getex": [[KEYS], [KEYS, Some(EXPIRY, 1, 1)], [KEYS, Some(EXPIRY + [b"PERSIST", b"FROB"], 0, 2)]],
    "getdel": [[KEYS]],
    "getset": [[KEYS, VALUES]],
    "set": [[KEYS, VALUES], [KEYS, VALUES], [NUMBERS, INTEGERS],
            [KEYS, VALUES, Some(EXPIRY, 1, 1)],
            [KEYS, VALUES, Some([b"NX", b"XX", b"GET", b"KEEPTTL", b"FROB", *EXPIRY], 1, 3)]],
    "setnx": [[KEYS, VALUES]],
    "msetnx": [[Some([(KEYS, VALUES)], 1, 3)]],
    "setex": [[KEYS, TTLS, VALUES]],
    "psetex": [[KEYS, MS_TTLS, VALUES]],
    "mset": [[Some([(KEYS, VALUES)], 1, 4)], [Some([(NUMBERS, INTEGERS)], 1, 3)]],
    "mget": [[Some(KEYS, 1, 4)]],
    "strlen": [[KEYS]],
    "append": [[KEYS, VALUES]],
    "setrange": [[KEYS, OFFSETS, VALUES]],
    "getrange": [[KEYS, OFFSETS, OFFSETS]],
    "substr": [[KEYS, OFFSETS, OFFSETS]],
    "incr": [[NUMBERS], [KEYS]],
    "decr": [[NUMBERS], [KEYS]],
    "incrby": [[NUMBERS, INTEGERS]],
    "decrby": [[NUMBERS, INTEGERS]],
    "incrbyfloat": [[NUMBERS, FLOATS], [[b"float"], FLOATS], [KEYS, FLOATS]],
    # keys
    "del": [[Some(KEYS, 1, 3)]],
    "unlink": [[Some(KEYS, 1, 3)]],
    "exists": [[Some(KEYS, 1, 4)]],
    "touch": [[Some(KEYS, 1, 4)]],
    "dbsize": [[]],
    "expire": [[KEYS, TTLS], [KEYS, Fresh(1), Some(WHENS, 1, 2)], [KEYS, ODD_TTLS, [b"NX", b"XX"]],
               [KEYS, TTLS, [b"frob"]]],
    "pexpire": [[KEYS, MS_TTLS], [KEYS, Fresh(1000), Some(WHENS, 1, 2)], [KEYS, ODD_TTLS, [b"NX", b"XX"]]],
    "expireat": [[KEYS, SECONDS], [KEYS, SECONDS, Some(WHENS, 1, 2)]],
    "pexpireat": [[KEYS, MILLIS], [KEYS, MILLIS, Some(WHENS, 1, 2)]],
    "persist": [[KEYS]],
    "ttl": [[KEYS]],
    "pttl": [[KEYS]],
    "expiretime": [[KEYS]],
    "pexpiretime": [[KEYS]],
    "type": [[KEYS]],
    "rename": [[KEYS, KEYS]],
    "renamenx": [[KEYS, KEYS]],
    "copy": [[KEYS, KEYS], [KEYS, KEYS, Some([b"REPLACE", (b"DB", [b"0", b"1", b"x"]), b"FROB"], 1, 2)]],
    "randomkey": [[]],
    "scan": [[b"0", b"COUNT", b"1000"], [b"0", b"COUNT", b"1000", b"MATCH", PATTERNS],
             [b"0", b"MATCH", PATTERNS, b"COUNT", [b"1000", b"0", b"-1", b"x"]],
             [[b"x", b"99999999999999999999999"]], [b"", b"COUNT", b"1000"],
             [b"0", b"COUNT", b"1000", b"TYPE", [b"string", b"STRING", b"list", b"hash"]],
             [b"0", [b"FROB", b"MATCH", b"COUNT"]]],
    "keys": [[PATTERNS]],
    "flushall": [[], [[b"ASYNC", b"sync", b"FROB"]]],
    "flushdb": [[], [[b"ASYNC", b"sync", b"FROB"]]],
    # connection
    "ping": [[], [VALUES]],
    "echo": [[VALUES]],
    "select": [[[b"0", b"1", b"-1", b"abc", b"00", b"99999999999", b""]]],
    "auth": [[VALUES], [[b"default", b"nobody"], VALUES]],
    "hello": [[], [[b"2", b"3"]], [[b"1", b"4", b"x", b"-1"]],
              [[b"2", b"3"], b"SETNAME", NAMES], [[b"2", b"3"], b"AUTH", [b"default", b"no"], VALUES],
              [[b"2", b"3"], [b"FROB", b"SETNAME", b"AUTH"]], [[b"2", b"3"], b"AUTH", b"default"]],
    "client": [[b"ID"], [b"SETNAME", NAMES], [b"GETNAME"], [b"INFO"], [b"LIST"],
               [b"LIST", b"TYPE", [b"normal", b"replica", b"pubsub", b"frob"]],
               [b"LIST", b"ID", [b"999999", b"x"]], [b"LIST", b"FROB"],
               [b"KILL", [b"1.2.3.4:5", b"x"]], [b"KILL", b"ID", [b"999999", b"x", b"0"]],
               [b"KILL", b"TYPE", [b"frob", b"pubsub"]], [b"KILL", b"ADDR", b"1.2.3.4:5"],
               [b"KILL", b"SKIPME", [b"frob"]], [b"KILL", b"USER", [b"nobody"]],
               [b"NO-EVICT", [b"on", b"OFF", b"frob"]], [b"REPLY", [b"on", b"frob"]],
               [b"FROB"], [b"GETNAME", b"x"]],
    "quit": [[]],
    "reset": [[]],
    # server
    "info": [[], [[b"server", b"CLIENTS", b"memory", b"stats", b"replication", b"all", b"default",
                   b"everything", b"keyspace", b"nosuch"]], [b"server", b"memory"]],
    "config": [[b"GET", [b"save", b"appendonly", b"maxmemory", b"databases", b"nosuch"]], [b"GET"],
               [b"RESETSTAT"], [b"SET", b"nosuch", b"1"], [b"SET"], [b"FROB"],
               [b"SET", b"slowlog-log-slower-than", [b"10000", b"x"]],
               [b"SET", b"slowlog-max-len", [b"128", b"x"]], [b"SET", b"slowlog-max-len"]],
    "command": [[b"COUNT"], [b"LIST"], [b"INFO", b"get"], [b"INFO", [b"nosuch", b"lpushh"]],
                [b"DOCS", b"get"], [b"DOCS", b"nosuch"], [b"FROB"],
                [b"GETKEYS", COMMANDS, Some(KEYS, 0, 3)]],
    "time": [[]],
    "memory": [[b"USAGE", KEYS], [b"USAGE", KEYS, b"SAMPLES", [b"0", b"5", b"-1", b"x"]],
               [b"USAGE"], [b"FROB"], [b"USAGE", KEYS, b"FROB"]],
    "object": [[b"ENCODING", KEYS], [b"FREQ", KEYS], [b"IDLETIME", KEYS], [b"FROB", KEYS],
               [b"ENCODING"], [b"REFCOUNT", KEYS]],
    "slowlog": [[b"LEN"], [b"GET"], [b"GET", [b"1", b"-1", b"-2", b"x"]], [b"RESET"], [b"FROB"]],
    "latency": [[b"LATEST"], [b"RESET"], [b"RESET", b"command"], [b"HISTORY", [b"command", b"nosuch"]],
                [b"FROB"]],
    "lastsave": [[]],
    "bgsave": [[], [[b"SCHEDULE", b"FROB"]]],
    "wait": [[b"0", [b"0", b"10"]], [b"1", b"1"], [[b"x", b"1.5", b"-1"], b"1"], [b"1", [b"-1", b"x"]]],
    "function": [[b"FLUSH"], [b"FLUSH", [b"async", b"SYNC"]], [b"FLUSH", b"FROB"], [b"FROB"]],
    "cluster": [[[b"INFO", b"nodes", b"SLOTS", b"MYID"]]],
    # transactions
    "multi": [[]],
    "exec": [[]],
    "discard": [[]],
    "watch": [[Some(KEYS, 1, 2)]],
    "unwatch": [[]],
}

# Commands that end in another state of the connection, or are compared in ways of their own, are sent
# outside a transaction only; and what a random change could turn into one that waits, or into one that
# keeps its reply back, is not changed.
CONNECTION = {"quit", "reset", "hello"}
UNCHANGED = {"quit", "reset", "hello", "client", "wait", "config", "function", "cluster", "bgsave",
             "auth", "scan", "slowlog", "command"}
SUBCOMMANDS = {"client", "cluster", "command", "config", "function", "latency", "memory", "object", "slowlog"}
NOT_QUEUED = CONNECTION | {"wait", "bgsave", "randomkey"}
RARE = {"flushall", "flushdb", "quit", "reset", "hello", "bgsave", "info", "cluster", "command"}
OFTEN = ["set", "set", "get", "incr", "append", "expire", "multi", "exec", "exec"]

# Integers of which both servers have their own, and those that count time.
OWN_NUMBERS = {("client", "id"), ("lastsave",), ("command", "count"), ("memory", "usage"),
               ("object", "idletime"), ("object", "refcount"), ("slowlog", "len")}
TIMES = {"ttl": 1, "pttl": 1000, "expiretime": 1, "pexpiretime": 1000}
# Replies whose contents are checked elsewhere: here their types are.
SHAPES = {("info",), ("client", "info"), ("client", "list"), ("command", "list"), ("command", "docs"),
          ("command", ""), ("command", "info"), ("config", "get"), ("slowlog", "get"),
          ("latency", "latest"), ("latency", "history"), ("time",), ("hello",)}
ENCODINGS = (b"int", b"embstr", b"raw")
SAVES = {b"+Background saving started\r\n", b"+Background saving scheduled\r\n",
         b"-ERR Background save already in progress\r\n"}


def name_of(words):
    return words[0].lower().decode("latin-1") if words else ""


def forms_of(name, rng):
    """Every form of a command once: what is sent."""
    return [command(name, form, rng) for form in FORMS[name]]


def command(name, form, rng):
    words = [name.encode()]
    for part in form:
        if isinstance(part, Some):
            words += part.pick_all(rng)
        else:
            words.append(pick(part, rng))
    return words


def in_random_case(word, rng):
    kind = rng.randrange(4)
    if kind == 0:
        return word.upper()
    if kind == 1:
        return bytes(rng.choice((c, c ^ 0x20)) if chr(c).isalpha() and c < 128 else c for c in word)
    return word


STRAY = [b"extra", b"1", b"NX", b"-1", b"0", b"GET", b"xx", b"\xff", b"frob"]


def changed(words, rng):
    """The same with a word too many, too few, doubled, or another one."""
    words = list(words)
    kind = rng.randrange(4)
    at = rng.randrange(1, len(words) + 1)
    if kind == 0 and len(words) > 1:
        del words[min(at, len(words) - 1)]
    elif kind == 1:
        words.insert(at, rng.choice(STRAY + [b"k1"]))
    elif kind == 2 and len(words) > 1:
        words.append(words[-1])
    elif len(words) > 1:
        words[min(at, len(words) - 1)] = rng.choice(STRAY + [b"k2"])
    return words


def unknown(rng):
    return [rng.choice([b"nosuch", b"NoSuch", b"frob\r\nx", b"x" * 200, b"\xffcommand", b"get ", b"pin"]),
            *Some(VALUES, 0, 4).pick_all(rng)]


# SET with a time gone by: to these commands, Redis has such a key until somebody asks for it.
COUNTING = ("dbsize", "memory")
EXPIRES_THEM = [b"EXISTS", *KEYS, *STRAY]


class Story:
    """Batches of commands for one of two connections: [(which, [words, …], inline), …]."""

    def __init__(self, seed, protocol, pipelined, length=120):
        self.seed, self.protocol, self.pipelined = seed, protocol, pipelined
        rng = random.Random(f"{seed} {protocol} {pipelined}")
        self.batches = []
        open_transactions = [False, False]
        names = [name for name in FORMS for _ in range(1 if name in RARE else 4)] + OFTEN * 4
        while length > 0:
            which = 0 if rng.random() < 0.8 else 1
            batch = []
            for _ in range(rng.randint(1, 12) if pipelined else 1):
                words = self.next_command(rng, names, open_transactions[which])
                if name_of(words) in COUNTING:
                    batch.append(EXPIRES_THEM)
                batch.append(words)
                open_transactions[which] = self.after(words, open_transactions[which])
                if name_of(words) in CONNECTION:
                    break
            inline = rng.random() < 0.1
            self.batches.append((which, batch, inline))
            length -= len(batch)

    @staticmethod
    def next_command(rng, names, in_transaction):
        while True:
            if rng.random() < 0.02:
                return unknown(rng)
            name = rng.choice(names)
            if in_transaction and name in NOT_QUEUED:
                continue
            words = command(name, rng.choice(FORMS[name]), rng)
            if name not in UNCHANGED and rng.random() < 0.06:
                words = changed(words, rng)
                if b"" in words:
                    continue  # it may have become a key, and here an empty key is none: docs/commands.md
            words[0] = in_random_case(words[0], rng)
            return words

    @staticmethod
    def after(words, in_transaction):
        """Whether a transaction is open then, as far as it can be told: too often is harmless."""
        name = name_of(words)
        if name == "multi":
            return True
        return in_transaction and not (name in ("exec", "discard", "reset", "quit") and len(words) == 1)


# --- comparing -------------------------------------------------------------------------------------


def shape(reply):
    """Types alone; errors in full."""
    if reply.is_error:
        return reply.raw
    return reply.kind, reply.value is None


def matches(words, table):
    name = name_of(words)
    return (name,) in table or (name, name_of(words[1:])) in table


def same(words, theirs, ours):
    """Whether ours is the reply that theirs tells us to give to these words."""
    if theirs.raw == ours.raw:
        return True
    name = name_of(words)
    if name == "bgsave":
        return {theirs.raw, ours.raw} <= SAVES
    if theirs.is_error or ours.is_error or theirs.kind != ours.kind:
        return False
    if name in TIMES:
        near = theirs.value > 0 and ours.value > 0
        return near and abs(theirs.value - ours.value) <= NEAR_S * TIMES[name]
    if name == "keys":
        return sorted(theirs.plain()) == sorted(ours.plain())
    if name == "scan":
        (their_cursor, their_keys), (our_cursor, our_keys) = theirs.plain(), ours.plain()
        return their_cursor == our_cursor == b"0" and sorted(their_keys) == sorted(our_keys)
    if matches(words, {("object", "encoding")}):
        # Redis' tells how a value came to be, ours what it is: docs/commands.md.
        return ours.value in ENCODINGS and (theirs.value != b"int" or ours.value == b"int")
    if name == "randomkey" or matches(words, SHAPES):
        return shape(theirs) == shape(ours)
    if matches(words, OWN_NUMBERS):
        return theirs.kind == ours.kind == ":" and ours.value >= 0
    return False


def same_list(commands, theirs, ours):
    """Likewise the reply to EXEC of these commands."""
    if theirs.raw == ours.raw:
        return True
    if theirs.kind != "*" or ours.kind != "*" or theirs.value is None or ours.value is None:
        return False
    return len(theirs.value) == len(ours.value) == len(commands) and all(
        same(words, their, our) for words, their, our in zip(commands, theirs.value, ours.value))
