"""Harness of the tests of kv-cli.sh."""

import signal
import socket
import subprocess
import threading
from contextlib import contextmanager

from kvtest import REPOSITORY, SLOWNESS, clean_environment

MISSING, USAGE, CONNECT, SERVER = 1, 2, 3, 4
CLI = REPOSITORY / "kv-cli.sh"


class Cli:
    """Runs kv-cli.sh with the given nodes as its cluster."""

    def __init__(self, nodes, script=CLI, **env):
        self.script = script
        self.env = {"KV_NODES": nodes_list(nodes), **env}

    def environment(self, extra=None):
        return {**clean_environment(self.env), **(extra or {})}

    def __call__(self, *arguments, stdin=b"", env=None, deadline_s=60):
        return subprocess.run([self.script, *arguments], input=stdin, capture_output=True,
                              env=self.environment(env), timeout=deadline_s * SLOWNESS)

    def out(self, *arguments, **options):
        """Its stdout, where nothing may go wrong."""
        done = self(*arguments, **options)
        assert (done.returncode, done.stderr) == (0, b""), done
        return done.stdout

    def start(self, *arguments):
        return subprocess.Popen([self.script, *arguments], env=self.environment(),
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, start_new_session=True,
                                preexec_fn=heed_interrupts)


def heed_interrupts():
    """A shell that runs the tests in the background lets them inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def nodes_list(nodes):
    return nodes if isinstance(nodes, str) else ",".join(
        f"{node.name}={node.host}:{node.port}" for node in nodes)


def fails(done, status, *words):
    """It ended with this status, nothing on stdout, and a message that holds these words."""
    assert (done.returncode, done.stdout) == (status, b""), done
    for word in words:
        assert word in done.stderr.decode(), done.stderr
    return done


def rows(text):
    lines = text.decode().splitlines()
    assert lines[0].split() == "NODE ADDRESS STATE KEYS PEERS LAG VERSION".split()
    return {line.split()[0]: line.split()[1:] for line in lines[1:-1]}, lines[-1]


@contextmanager
def answering(reply):
    """A server that gives everybody this reply and hangs up; yields it as a value of KV_NODES."""
    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)  # ends accept(), which close() would not
            thread.join()
