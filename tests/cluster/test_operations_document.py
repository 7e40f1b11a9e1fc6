"""docs/operations.md: its steps run as they stand, and it explains the log about the disk."""

import os
import re
import shutil
import subprocess

import pytest

from clitest import CLI, Cli
from kvtest import BINARY, REPOSITORY, SLOWNESS, Conn, eventually, free_ports

DOCUMENT = (REPOSITORY / "docs" / "operations.md").read_text()
FAKE_TOOLS = {"cmake": "exit 0", "dpkg-query": "printf installed"}
LITERAL = r'"(?:[^"\\\n]|\\.)*"'
RUN = re.compile(rf"{LITERAL}(?:\s*(?:PRI\w+|[A-Z_]+)?\s*{LITERAL})*")
SOURCES = ["src/core/storage*.c", "src/shell/persistence.c", "src/shell/periodic.c",
           "src/shell/unpack.c", "src/shell/file_disk.c"]


def steps():
    """{heading: its block of commands}, in order."""
    found = re.findall(r"^## ([^\n]+)\n(?:(?!^#).)*?^```bash\n(.*?)^```", DOCUMENT, re.M | re.S)
    return dict(found)


class Tree(Cli):
    """A source tree of its own, with the program under test as its build."""

    def __init__(self, directory):
        self.root = directory / "tree"
        (self.root / "build").mkdir(parents=True)
        (self.root / "build" / "simple-kv").symlink_to(BINARY)
        (self.root / "build" / "build.ninja").touch()
        shutil.copy(CLI, self.root)
        for part in "src/cli", "docker":
            shutil.copytree(REPOSITORY / part, self.root / part)
        tools = directory / "tools"
        tools.mkdir()
        for name, body in FAKE_TOOLS.items():
            (tools / name).write_text(f"#!/bin/sh\n{body}\n")
            (tools / name).chmod(0o755)
        self.ports = dict(zip(("node1", "node2", "node3"), free_ports(3)))
        super().__init__(",".join(f"{name}=localhost:{port}" for name, port in self.ports.items()),
                         script=self.root / "kv-cli.sh", PATH=f"{tools}:{os.environ['PATH']}")

    def run(self, commands):
        done = subprocess.run(["bash", "-e", "-c", commands], cwd=self.root, capture_output=True,
                              env=self.environment(), timeout=180 * SLOWNESS, text=True)
        assert done.returncode == 0, (commands, done.stdout, done.stderr)
        return done.stdout

    def ask(self, node, *words):
        with Conn("127.0.0.1", self.ports[node]) as conn:
            return conn.cmd(*words)

    def everywhere(self, key, value):
        for node in self.ports:
            eventually(lambda node=node: self.ask(node, "GET", key) == value, 30,
                       f"{key} is {value} on {node}")


@pytest.fixture
def tree(tmp_path):
    tree = Tree(tmp_path)
    yield tree
    tree.run("./kv-cli.sh down")


def test_every_step_does_what_it_says(tree):
    todo = steps()
    tree.run("./kv-cli.sh up")
    with Conn("127.0.0.1", tree.ports["node1"]) as conn:
        assert set(conn.pipeline(b"SET key%d old%d" % (i, i) for i in range(2000))) == {b"OK"}
    tree.everywhere("key1999", "old1999")

    def step(heading):
        return tree.run(todo.pop(heading))

    out = step("Make one, and verify it")
    assert "2000" in out
    step("Make them by themselves")
    assert (tree.root / "backups").is_dir() and tree.ask("node3", "GET", "key1") == "old1"

    tree.ask("node2", "DEL", "key1")
    tree.ask("node2", "SET", "key2", "wrong")
    tree.ask("node2", "SET", "since", "kept")
    tree.everywhere("since", "kept")
    step("Keys were deleted or overwritten by mistake")
    for key, value in (("key1", "old1"), ("key2", "old2"), ("since", "kept")):
        tree.everywhere(key, value)

    step("One node has lost its disk")
    tree.everywhere("key3", "old3")

    assert "3 of 3 up" in step("All nodes have lost their disks")
    tree.everywhere("key4", "old4")
    tree.everywhere("since", "NOT_FOUND")

    assert "keys" in step("The machine has lost power")
    tree.everywhere("key5", "old5")

    step("Move everything elsewhere, or into another program")
    assert len((tree.root / "all.jsonl").read_text().splitlines()) == 2000

    step("Restart all nodes without an interruption")
    tree.everywhere("key6", "old6")
    assert not todo, f"steps that this test does not run: {list(todo)}"


def messages(path):
    """What a source file may say: its texts of several words, their arguments left out."""
    source = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    source = re.sub(r"^#.*", "", source, flags=re.M)
    for run in RUN.finditer(source):
        text = re.sub(r'"\s*PRI\w+\s*"', "u", run.group())
        text = re.sub(r'"\s*[A-Z_]+\s*"', "%s", text)
        text = re.sub(r'"\s*"', "", text)[1:-1].replace('\\"', '"').replace("%%", "\0")
        parts = [part.replace("\0", "%").strip(' "') for part in
                 re.split(r"%[-.\d]*(?:l{0,2}|z)[a-z]", text)]
        if text.count(" ") >= 2:
            yield text, [part for part in parts if len(part) > 3]


def test_every_line_of_the_log_about_the_disk_is_explained():
    told = re.sub(r"\s+", " ", DOCUMENT)
    count = 0
    for pattern in SOURCES:
        paths = list(REPOSITORY.glob(pattern))
        assert paths, pattern
        for path in paths:
            for text, parts in messages(path):
                for part in parts:
                    assert re.sub(r"\s+", " ", part) in told, \
                        f"{path.name} can say {text!r}; docs/operations.md lacks {part!r}"
                count += 1
    assert count > 35
