"""Everything at once: five nodes in network namespaces, clients on all of them, and a plan of faults
drawn from a seed. What is judged is told in chaos.py.

KV_CHAOS_SECONDS  how long [120]; tests/run.sh --long takes an hour
KV_CHAOS_SEED     the plan of a run that is to be repeated; the nodes' own timing is not repeated

Needs root for network namespaces."""

import os
import random
import time

import pytest

import chaos
import netns
from kvtest import Cluster, free_ports

SECONDS = float(os.environ.get("KV_CHAOS_SECONDS") or 120)
SEED = int(os.environ.get("KV_CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
NAMES = ["a", "b", "c", "d", "e"]
FAULTS_SHOWN = 20


@pytest.fixture
def net():
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    network = netns.Network(NAMES)
    yield network
    network.close()


@pytest.fixture
def nodes(net, kv, tmp_path):  # kv after net: the nodes end before their network does
    source = random.Random(SEED)
    clocks = chaos.clocks_for(tmp_path, NAMES, source)
    ports = dict(zip(NAMES, free_ports(len(NAMES))))
    peers = ",".join(f"{net[name].address}:{ports[name]}" for name in NAMES)
    limits = source.choice([{}, {"journal_memory": "1MiB"}])
    made = [kv.prepare(name, host=net[name].address, port=ports[name], peers=peers, net=net[name],
                       clock=clocks.get(name), min_acks=1, **limits) for name in NAMES]
    Cluster([node.start() for node in made]).wait_linked()
    return made


def test_chaos_ends_equal_with_nothing_lost_and_nothing_back(net, nodes):
    begin = time.monotonic()

    def say(text):
        print(f"{time.monotonic() - begin:7.1f} s: {text}", flush=True)
    clocked = [node.name for node in nodes if node.clock]
    plan = chaos.draw_plan(SEED, NAMES, clocked, SECONDS)
    faults = chaos.Faults(net, {node.name: node for node in nodes})
    say(f"seed {SEED}, {SECONDS:.0f} s, clocks to set on {clocked}")
    settled = []
    with chaos.Clients(nodes, SEED) as clients:
        for window in plan:
            if time.monotonic() - begin > SECONDS:
                break
            clients.go()
            faults.run(window, say)
            mended = time.monotonic()
            faults.mend_all()
            clients.pause()
            took_s, missing = chaos.settle(nodes, mended)
            settled.append(took_s)
            say(f"mended, and equal {took_s:.1f} s later (last: {missing or '-'}); "
                f"{dict(clients.counts())}")
            assert not clients.faults()
        judged = chaos.judge(nodes, clients)
        states = list(clients.ledger.states.values())
    say(f"{len(settled)} windows, {dict(faults.counts)}; clients: {dict(clients.counts())}; "
        f"written once {len(states)}: there {states.count('there')}, gone {states.count('gone')}; "
        f"to converge {min(settled):.1f} to {max(settled):.1f} s")
    assert not judged, "\n".join([f"seed {SEED}: {len(judged)} faults", *judged[:FAULTS_SHOWN]])
