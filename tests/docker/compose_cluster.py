"""What the tests in this directory share: running commands, and talking to the cluster's nodes.

Nothing here sleeps for a fixed time: `until` asks again and again up to a deadline. Nothing is
tried a second time after it has failed: only what is still on its way is waited for.
"""

import os
import pathlib
import pty
import select
import shutil
import socket
import subprocess
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NODES = ("node1", "node2", "node3")
PORTS = {"node1": 8081, "node2": 8082, "node3": 8083}
NETWORK = "simple-kv_kv-cluster"
VOLUMES = tuple(f"simple-kv_{node}-data" for node in NODES)

COMMAND_TIMEOUT_S = 60
BUILD_TIMEOUT_S = 600
READY_TIMEOUT_S = 30  # started, listening and linked to both peers
HEALTHY_TIMEOUT_S = 30  # the engine probes every 10 s
CONVERGE_TIMEOUT_S = 30
ASK_TIMEOUT_S = 10


def container(node):
    return f"simple-kv-{node}"


def service(node):
    return f"kv-{node}"


# -------------------------------------------------------------------------- commands


def run(*command, timeout_s=COMMAND_TIMEOUT_S, expect=0, stdin=""):
    """Run a command in the repository; return its stdout. `expect` None takes any exit code."""
    done = subprocess.run(
        command, cwd=REPOSITORY, input=stdin, text=True, timeout=timeout_s,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    if expect is not None:
        assert done.returncode == expect, (
            f"{' '.join(command)}: exit code {done.returncode}, not {expect}\n"
            f"{done.stdout}{done.stderr}"
        )
    return done.stdout


def compose_command():
    """KV_TEST_COMPOSE="docker compose" tries the other of the two programs. Asked for each time: the
    engine's start may have installed one."""
    known = "docker-compose" if shutil.which("docker-compose") else "docker compose"
    return os.environ.get("KV_TEST_COMPOSE", known).split()


def compose(*arguments, timeout_s=COMMAND_TIMEOUT_S):
    return run(*compose_command(), *arguments, timeout_s=timeout_s)


def docker(*arguments, timeout_s=COMMAND_TIMEOUT_S):
    return run("docker", *arguments, timeout_s=timeout_s)


def cli(*arguments, expect=0, timeout_s=COMMAND_TIMEOUT_S):
    return run("./kv-cli.sh", *arguments, expect=expect, timeout_s=timeout_s)


def in_terminal(*command, typed="", timeout_s=COMMAND_TIMEOUT_S):
    """Run a command as a person does, on a terminal, and type. Return (exit code, screen)."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    screen = b""
    try:
        if typed:
            os.write(ours, typed.encode())
        deadline = time.monotonic() + timeout_s
        while True:
            late = f"{command} still runs after {timeout_s} s:\n{screen!r}"
            assert time.monotonic() < deadline, late
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: the last process on the terminal has gone
                break
            if not piece:
                break
            screen += piece
        return process.wait(timeout=timeout_s), screen.decode(errors="replace")
    finally:
        end(process)
        os.close(ours)


def watch_until(command, enough, timeout_s=COMMAND_TIMEOUT_S):
    """Run a command that never ends until `enough(output so far)`; end it; return the output."""
    process = subprocess.Popen(
        command, cwd=REPOSITORY,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    output = b""
    deadline = time.monotonic() + timeout_s
    try:
        while not enough(output.decode(errors="replace")):
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{command}: not seen in {timeout_s} s:\n{output!r}"
            if select.select([process.stdout], [], [], left_s)[0]:
                piece = os.read(process.stdout.fileno(), 65536)
                assert piece, f"{command} ended:\n{output!r}"
                output += piece
        return output.decode(errors="replace")
    finally:
        end(process)


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def until(what, question, timeout_s=CONVERGE_TIMEOUT_S):
    """Ask `question` until it answers something true, and return that.

    A node that cannot be reached is "not yet".
    """
    deadline = time.monotonic() + timeout_s
    answer = None
    while True:
        try:
            answer = question()
            if answer:
                return answer
        except OSError as error:
            answer = error
        late = f"{what}: not within {timeout_s} s; the last answer was {answer!r}"
        assert time.monotonic() < deadline, late
        time.sleep(0.1)


# -------------------------------------------------------------------------- one node


class Client:
    """A connection to a node's published port, speaking the line protocol."""

    def __init__(self, node):
        self.socket = socket.create_connection(("localhost", PORTS[node]), timeout=ASK_TIMEOUT_S)
        self.reader = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.reader.close()
        self.socket.close()

    def line(self):
        line = self.reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the connection ended")
        return line[:-1].decode()

    def ask(self, command):
        self.socket.sendall(command.encode() + b"\n")
        return self.line()

    def ask_lines(self, command):
        return [self.line() for _ in range(int(self.ask(command)))]

    def ask_many(self, commands):
        """Send all commands at once; return one line of reply each."""
        request = "\n".join([*commands, ""]).encode()
        sender = threading.Thread(target=self.socket.sendall, args=(request,))
        sender.start()
        replies = [self.line() for _ in commands]
        sender.join()
        return replies


def ask(node, command):
    with Client(node) as client:
        return client.ask(command)


def info(node):
    with Client(node) as client:
        return fields(client.ask_lines("INFO"))


def fields(lines):
    return dict(line.split(":", 1) for line in lines if ":" in line)


def ask_inside(node, *commands):
    """Ask from inside the container, where a node without a network can be reached too.

    Returns all reply lines.
    """
    script = "nc -N localhost 8080"
    return run("docker", "exec", "-i", container(node), "sh", "-c", script,
               stdin="".join(f"{command}\n" for command in commands)).splitlines()


def info_inside(node):
    return fields(ask_inside(node, "INFO")[1:])


def health(node):
    return docker("inspect", "-f", "{{.State.Health.Status}}", container(node)).strip()


# -------------------------------------------------------------------------- the cluster


def linked(nodes=NODES):
    """Whether each of these nodes is linked, in both directions, to all others of them."""
    return all(int(info(node)["peers_linked"]) >= len(nodes) - 1 for node in nodes)


def wait_linked(nodes=NODES):
    until(f"{', '.join(nodes)} linked to each other", lambda: linked(nodes), READY_TIMEOUT_S)


def wait_healthy():
    def all_healthy():
        return all(health(node) == "healthy" for node in NODES)
    until("all containers healthy", all_healthy, HEALTHY_TIMEOUT_S)


def wait_equal(nodes=NODES):
    """Wait until these nodes hold identical data, and return the digest."""
    def equal():
        states = {(i["digest"], i["keys"]) for i in map(info, nodes)}
        return states.pop()[0] if len(states) == 1 else None
    return until("identical data on " + ", ".join(nodes), equal)


def wait_value(node, key, value):
    until(f"{key} = {value} on {node}", lambda: ask(node, f"GET {key}") == value)


class Writer(threading.Thread):
    """Writes keys of its own to one node, one by one, and remembers which were acknowledged.

    It keeps a moderate pace, so that the nodes and not the machine are what is tested. `lives`
    says that its node must be there all the time: losing the connection, or hearing that it still
    reads its data, is then a failure.
    """

    def __init__(self, node, name, lives=True):
        super().__init__(daemon=True)
        self.node, self.prefix, self.lives = node, name, lives
        self.acknowledged = {}
        self.failure = None
        self.finished = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.finished.set()
        self.join(timeout=2 * ASK_TIMEOUT_S)
        assert not self.is_alive()

    def run(self):
        number = 0
        while not self.finished.is_set():
            try:
                with Client(self.node) as client:
                    while not self.finished.wait(0.001):
                        number += 1
                        key, value = f"{self.prefix}:{number}", f"value-{number}-{self.node}"
                        reply = client.ask(f"SET {key} {value}")
                        if reply.startswith("ERROR LOADING") and not self.lives:
                            continue
                        if reply != "OK":
                            raise AssertionError(f"SET {key} on {self.node}: {reply}")
                        self.acknowledged[key] = value
            except OSError as error:
                if self.lives:
                    self.failure = error
                    return
                self.finished.wait(0.05)
            except AssertionError as error:
                self.failure = error
                return

    def wait_for_more(self, count=200):
        """Wait until so many more writes have been acknowledged."""
        goal = len(self.acknowledged) + count
        until(
            f"{count} more writes on {self.node}",
            lambda: self.failure or len(self.acknowledged) >= goal,
        )
        assert self.failure is None, f"writer on {self.node}: {self.failure!r}"


def missing_on(node, expected):
    """Which of these keys and values the node does not hold."""
    with Client(node) as client:
        replies = client.ask_many([f"GET {key}" for key in expected])
    return {key: reply for (key, value), reply in zip(expected.items(), replies) if reply != value}
