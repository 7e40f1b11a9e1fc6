"""`docker network disconnect` cuts node3 off, both sides are written to, and it is connected again.

After a short cut the old connections go on as if nothing had happened. `cut_until_noticed` waits
until both sides have given them up, so that the nodes must find each other again and exchange what
each has missed.
"""

import pytest

import compose_cluster as kv

pytestmark = pytest.mark.usefixtures("cluster")

LOST_PEER_TIMEOUT_S = 20
KEYS_EACH_SIDE = 2000


class Network:
    """Takes node3 off the network, and puts it back."""

    is_cut = False

    def cut(self):
        kv.docker("network", "disconnect", kv.NETWORK, kv.container("node3"))
        self.is_cut = True

    def cut_until_noticed(self):
        self.cut()

        def noticed():
            linked = [kv.info(node)["peers_linked"] for node in ("node1", "node2")]
            return linked == ["1", "1"] and kv.info_inside("node3")["peers_linked"] == "0"
        kv.until("both sides to miss each other", noticed, LOST_PEER_TIMEOUT_S)

    def heal(self):
        kv.docker("network", "connect", kv.NETWORK, kv.container("node3"))
        self.is_cut = False


@pytest.fixture
def network():
    network = Network()
    yield network
    if network.is_cut:
        network.heal()
    kv.wait_linked()


def values(key):
    """What each node, asked through its published port, holds under the key."""
    return [kv.ask(node, f"GET {key}") for node in kv.NODES]


def test_both_sides_of_a_cut_network_take_writes(network):
    network.cut()
    with pytest.raises(OSError):  # without a network its published port leads nowhere
        kv.ask("node3", "PING")
    assert kv.ask("node1", "SET majority yes") == "OK"
    kv.wait_value("node2", "majority", "yes")
    seen = kv.ask_inside("node3", "SET minority yes", "GET minority", "GET majority")
    assert seen == ["OK", "yes", "NOT_FOUND"]
    assert kv.ask("node2", "GET minority") == "NOT_FOUND"
    network.heal()
    for node in kv.NODES:
        kv.wait_value(node, "majority", "yes")
        kv.wait_value(node, "minority", "yes")
    kv.wait_equal()


def test_a_node_that_is_cut_off_stays_healthy(network):
    network.cut_until_noticed()
    kv.wait_healthy()  # it still serves; being alone is no illness
    network.heal()


def test_a_node_that_returns_with_another_address_is_found(network):
    address = address_of("node3")
    network.cut_until_noticed()
    assert kv.ask("node1", "SET moved yes") == "OK"
    stranger = "simple-kv-test-stranger"
    kv.docker("run", "-d", "--name", stranger, "--network", kv.NETWORK, "--ip", address,
              "-e", "KV_CLUSTER=other", "simple-kv")
    try:
        network.heal()
        assert address_of("node3") != address
        kv.wait_linked()
        kv.wait_value("node3", "moved", "yes")
        kv.wait_equal()
    finally:
        kv.docker("rm", "-f", "-v", stranger)


def address_of(node):
    template = "{{(index .NetworkSettings.Networks \"" + kv.NETWORK + "\").IPAddress}}"
    return kv.docker("inspect", "-f", template, kv.container(node)).strip()


def test_conflicting_writes_end_equal_and_the_later_one_wins(network):
    network.cut_until_noticed()
    # all have one machine's clock, so a write that follows the other's reply is surely later
    assert kv.ask("node1", "SET set_set first") == "OK"
    assert kv.ask_inside("node3", "SET set_set second") == ["OK"]
    assert kv.ask_inside("node3", "SET set_set_other first") == ["OK"]
    assert kv.ask("node2", "SET set_set_other second") == "OK"
    network.heal()
    kv.wait_linked()
    kv.wait_equal()
    assert values("set_set") == ["second"] * 3
    assert values("set_set_other") == ["second"] * 3


def test_conflicting_deletes_end_equal_and_nothing_comes_back(network):
    # both sides know these keys when the network is cut
    keys = ("set_then_del", "del_then_set", "del_del", "untouched_del")
    for key in keys:
        assert kv.ask("node1", f"SET {key} before") == "OK"
    kv.wait_equal()
    network.cut_until_noticed()
    assert kv.ask("node1", "SET set_then_del after") == "OK"
    assert kv.ask_inside("node3", "DEL set_then_del") == ["1"]
    assert kv.ask("node2", "DEL del_then_set") == "1"
    assert kv.ask_inside("node3", "SET del_then_set after") == ["OK"]
    assert kv.ask("node1", "DEL del_del") == "1"
    assert kv.ask_inside("node3", "DEL del_del") == ["1"]
    assert kv.ask_inside("node3", "DEL untouched_del") == ["1"]
    network.heal()
    kv.wait_linked()
    kv.wait_equal()
    assert values("set_then_del") == ["NOT_FOUND"] * 3
    assert values("del_then_set") == ["after"] * 3
    assert values("del_del") == ["NOT_FOUND"] * 3
    assert values("untouched_del") == ["NOT_FOUND"] * 3


def sets(data):
    return [f"SET {key} {value}" for key, value in data.items()]


def test_many_writes_on_both_sides_reach_all(network):
    network.cut_until_noticed()
    majority = {f"many:a:{n}": f"a{n}" for n in range(KEYS_EACH_SIDE)}
    minority = {f"many:b:{n}": f"b{n}" for n in range(KEYS_EACH_SIDE)}
    with kv.Client("node1") as client:
        assert set(client.ask_many(sets(majority))) == {"OK"}
    assert set(kv.ask_inside("node3", *sets(minority))) == {"OK"}
    network.heal()
    kv.wait_linked()
    kv.wait_equal()
    for node in kv.NODES:
        assert kv.missing_on(node, majority | minority) == {}


def test_a_node_restarted_while_cut_off_rejoins(network):
    assert kv.ask("node3", "SET written_before yes") == "OK"
    kv.wait_equal()
    network.cut()
    assert kv.ask("node1", "SET written_meanwhile yes") == "OK"
    kv.docker("restart", kv.container("node3"))
    kv.until("node3 to answer", lambda: ask_lone("PING") == ["+PONG"], kv.READY_TIMEOUT_S)
    assert ask_lone("GET written_before") == ["yes"]  # from its volume: nobody is there to ask
    assert ask_lone("GET written_meanwhile") == ["NOT_FOUND"]
    network.heal()
    kv.wait_linked()
    kv.wait_equal()
    assert values("written_meanwhile") == ["yes"] * 3


def ask_lone(command):
    """Ask node3 from inside while it may still be starting."""
    script = f"echo {command} | nc -N localhost 8080"
    command = ("docker", "exec", kv.container("node3"), "sh", "-c", script)
    return kv.run(*command, expect=None).splitlines()
