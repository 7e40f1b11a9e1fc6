"""The table of all commands in docs/commands.md, as a running node tells it.

    /usr/bin/python3 tests/cluster/commandtable.py HOST PORT
"""

import re
import sys

from resp import Resp

GROUPS = ("string", "generic", "connection", "server", "transactions")
REDIS_7_0 = """append auth bgsave client cluster command config copy dbsize decr decrby del discard echo
exec exists expire expireat expiretime flushall flushdb function get getdel getex getrange getset hello
incr incrby incrbyfloat info keys lastsave latency memory mget mset msetnx multi object persist pexpire
pexpireat pexpiretime ping psetex pttl quit randomkey rename renamenx reset role scan select set setex
setnx setrange shutdown slowlog strlen substr time touch ttl type unlink unwatch wait watch""".split()
HEADINGS = ("command", "words", "what it does", "in Redis 7.0")


def row(*cells):
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def of_node(node):
    with Resp(node.host, node.port) as conn:
        docs = conn.value("COMMAND", "DOCS")
    commands = {}
    for name, pairs in zip(docs[::2], docs[1::2]):
        fields = {key.decode(): value for key, value in zip(pairs[::2], pairs[1::2])}
        commands[name.decode()] = fields
    text = ""
    for group in dict.fromkeys([*GROUPS, *sorted(fields["group"].decode()
                                                 for fields in commands.values())]):
        rows = [row(f"`{name.upper()}`", words_of(fields), fields["summary"].decode(),
                    "yes" if name in REDIS_7_0 else "no")
                for name, fields in sorted(commands.items()) if fields["group"].decode() == group]
        text += f"\n### {group}\n\n" + row(*HEADINGS) + "|---" * len(HEADINGS) + "|\n" + "".join(rows)
    return text.strip()


def words_of(fields):
    """What follows the command's name, in one line."""
    words = []
    for argument in fields.get("arguments", []):
        told = {key.decode(): value for key, value in zip(argument[::2], argument[1::2])}
        name = told["name"].decode()
        words.append(f"[{name}]" if b"optional" in told.get("flags", []) else name)
    return f"`{' '.join(words)}`" if words else ""


def read(document):
    """The rows of the document's table."""
    found = re.findall(r"^\| `([A-Z]+)` \| (.*) \| (.*) \| (yes|no) \|$", document, re.M)
    return [dict(zip(HEADINGS, cells)) for cells in found]


class Address:
    def __init__(self, host, port):
        self.host, self.port = host, int(port)


if __name__ == "__main__":
    print(of_node(Address(*sys.argv[1:3])))
