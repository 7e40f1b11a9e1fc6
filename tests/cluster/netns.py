"""Hosts in network namespaces on one bridge, whose cables can be pulled: iproute2 and nftables.

    net = Network(["a", "b", "c"])
    net["a"].address            where a node in it listens
    with net["a"].entered():    sockets and processes made here belong to that host
    net.unplug("a")             the host's cable is out: nobody hears it, it hears nobody
    net.part("a", "b")          these two do not hear each other; every other pair still does
    net.deafen("a", "b")        a hears nothing of b; b still hears a
    net.bar("a", "b")           no connection dialled by a leads to b; those that b dials do
    net.undo_deafen, net.undo_bar   take back one of them; one made twice must be taken back twice
    net.restore()               undoes every deafen and bar

What is lost is lost silently, as behind a dead switch: no reset, no unreachable.
"""

import ctypes
import os
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
LISTENING_PORTS = "10000-32000"  # of nodes; what dials has a port above
_libc = ctypes.CDLL(None, use_errno=True)


def why_not():
    """Why namespaces cannot be made here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if not shutil.which(program):
            return f"network namespaces need {program} ({package})"
    probe = f"kv{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True,
                          check=False)
    if made.returncode != 0:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    _ip("netns", "del", probe)
    return None


def _ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _enter(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Host:
    def __init__(self, name, address):
        self.name, self.address = name, address

    @contextmanager
    def entered(self):
        """For the calling thread."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _enter(there)
            try:
                yield
            finally:
                _enter(home)
        finally:
            os.close(there)
            os.close(home)


class Network:
    def __init__(self, names):
        prefix = f"kv{os.getpid()}"
        self.hub = f"{prefix}hub"
        self.hosts = {name: Host(f"{prefix}{name}", f"10.213.7.{i + 1}")
                      for i, name in enumerate(names)}
        self._made = []
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _namespace(self, name):
        _ip("netns", "add", name)
        self._made.append(name)
        _ip("-n", name, "link", "set", "lo", "up")

    def _make(self):
        self._drops = {name: Counter() for name in self.hosts}
        self._namespace(self.hub)
        _ip("-n", self.hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", self.hub, "link", "set", "br0", "up")
        for name, host in self.hosts.items():
            self._namespace(host.name)
            _ip("-n", self.hub, "link", "add", "dev", f"to-{name}", "type", "veth",
                "peer", "name", "eth0", "netns", host.name)
            self._cable(name, "master", "br0")
            self._cable(name, "up")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "eth0", "up")

    def __getitem__(self, name):
        return self.hosts[name]

    def _cable(self, name, *setting):
        _ip("-n", self.hub, "link", "set", "dev", f"to-{name}", *setting)

    def unplug(self, name):
        self._cable(name, "down")

    def plug(self, name):
        self._cable(name, "up")

    def part(self, *names):
        for name in names:
            self._cable(name, "type", "bridge_slave", "isolated", "on")

    def rejoin(self, *names):
        for name in names:
            self._cable(name, "type", "bridge_slave", "isolated", "off")

    def deafen(self, hearer, *speakers):
        self._drop(hearer, *(f"ip saddr {self[name].address}" for name in speakers))

    def bar(self, dialler, *listeners):
        for name in listeners:
            self._drop(name, f"ip saddr {self[dialler].address} tcp dport {LISTENING_PORTS}")
            self._drop(dialler, f"ip saddr {self[name].address} tcp sport {LISTENING_PORTS}")

    def undo_deafen(self, hearer, *speakers):
        self._allow(hearer, *(f"ip saddr {self[name].address}" for name in speakers))

    def undo_bar(self, dialler, *listeners):
        for name in listeners:
            self._allow(name, f"ip saddr {self[dialler].address} tcp dport {LISTENING_PORTS}")
            self._allow(dialler, f"ip saddr {self[name].address} tcp sport {LISTENING_PORTS}")

    def restore(self):
        for name, drops in self._drops.items():
            if drops:
                drops.clear()
                self._filter(name)

    def _drop(self, name, *matches):
        self._drops[name].update(matches)
        self._filter(name)

    def _allow(self, name, *matches):
        self._drops[name] -= Counter(matches)
        self._filter(name)

    def _filter(self, name):
        """Give the host exactly the drops that were noted for it, in one step."""
        rules = "".join(f"add rule ip kv heard {match} drop\n" for match in self._drops[name])
        script = ("add table ip kv\ndelete table ip kv\nadd table ip kv\n"
                  "add chain ip kv heard { type filter hook input priority 0; }\n" + rules)
        with self[name].entered():
            done = subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True,
                                  check=False)
        if done.returncode != 0:
            raise RuntimeError(f"nft: {done.stderr.strip()}")

    def close(self):
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        self._made = []
