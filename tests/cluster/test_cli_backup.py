"""kv-cli.sh backup, restore, export and import."""

import json
import os
import pty
import shutil
import subprocess

import pytest

from backupfile import File
from clitest import CLI, CONNECT, MISSING, SERVER, USAGE, Cli, answering, fails, nodes_list
from kvtest import BINARY, REPOSITORY

TRICKY = [("plain", "value"), ('"qu\\"o\\\\te"', 'say "hi" \\ {}'), ('"a b"', ""),
          ("ümläut", "héé ☃"),
          (r'"\x00\xff"', b"\xff\xfe\x00binary"), (r'"new\x0aline"', "tab\there")]


@pytest.fixture
def node(kv):
    node = kv.node("a")
    with node.connect() as conn:
        for key, value in TRICKY:
            value = value if isinstance(value, bytes) else value.encode()
            assert conn.ask(b"SET " + key.encode() + b" " + value) == b"OK"
        assert conn.ask(b"SETEX short 1000 lived") == b"OK"
        assert conn.ask(b"SET gone x") == b"OK" and conn.ask(b"DEL gone") == b"1"
    return node


@pytest.fixture
def cli(node):
    return Cli([node], KV_BINARY=BINARY)


def live(node):
    with node.connect() as conn:
        conn.send(b"BACKUP\n")
        return File(conn.rest()).live()


def backup(cli, path):
    done = cli("backup", path)
    assert done.returncode == 0 and done.stdout == b"", done
    assert f"{path}: {path.stat().st_size} bytes" in done.stderr.decode()
    assert os.listdir(path.parent).count(path.name) == len(os.listdir(path.parent)), \
        "nothing else is left there"
    return path.read_bytes()


def test_backup_and_restore_by_way_of_a_file(kv, cli, node, tmp_path):
    (tmp_path / "d").mkdir()
    path = tmp_path / "d" / "all.backup"
    assert File(backup(cli, path)).live() == live(node)
    other = kv.node("b")
    assert Cli([other], KV_BINARY=BINARY).out("restore", "--yes", path) == b"OK 7 keys\n"
    assert live(other) == live(node)


def test_a_name_that_ends_in_zst_packs(kv, cli, node, tmp_path):
    (tmp_path / "d").mkdir()
    path = tmp_path / "d" / "all.backup.zst"
    packed = backup(cli, path)
    plain = subprocess.run(["zstd", "-dcq"], input=packed, capture_output=True, check=True).stdout
    assert File(plain).live() == live(node)
    other = kv.node("b")
    assert Cli([other], KV_BINARY=BINARY).out("restore", "--yes", path) == b"OK 7 keys\n"
    assert live(other) == live(node)


def test_backup_and_restore_by_way_of_a_pipe(kv, cli, node):
    data = cli.out("backup", "-")
    other = kv.node("b")
    assert Cli([other], KV_BINARY=BINARY).out("restore", "--yes", "-", stdin=data) == b"OK 7 keys\n"
    assert live(other) == live(node)


def test_without_the_program_beginning_and_end_of_a_file_are_looked_at(node, tmp_path):
    """A copy of the script alone, where neither a build nor a container is at hand."""
    shutil.copy(CLI, tmp_path)
    shutil.copytree(REPOSITORY / "src" / "cli", tmp_path / "src" / "cli")
    cli = Cli([node], script=tmp_path / "kv-cli.sh")
    (tmp_path / "d").mkdir()
    data = backup(cli, tmp_path / "d" / "x")
    assert File(data).live() == live(node)
    assert cli.out("restore", "--yes", tmp_path / "d" / "x") == b"OK 7 keys\n"
    for size in (0, 50, len(data) // 2, len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:size])
        fails(cli("restore", "--yes", tmp_path / "cut"), MISSING, "nothing was written")
    fails(cli("export"), MISSING, "needs the program simple-kv")


def tool(directory, name, body):
    """A program of that name that comes first in the PATH that is returned."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/bash\n{body}\n")
    (directory / name).chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def test_the_program_in_a_container_is_used_where_none_is_built(kv, node, tmp_path):
    shutil.copy(CLI, tmp_path)
    shutil.copytree(REPOSITORY / "src" / "cli", tmp_path / "src" / "cli")
    path = tool(tmp_path / "tools", "docker", f"""
        [[ $1 == exec ]] || exit 1
        shift
        [[ $1 != -i ]] || shift
        [[ $1 == simple-kv-a ]] || exit 1 # the container of the node
        shift
        [[ $1 != simple-kv ]] || {{ shift; set -- {BINARY} "$@"; }}
        exec "$@" """)
    cli = Cli([node], script=tmp_path / "kv-cli.sh", PATH=path)
    lines = cli.out("export")
    other = kv.node("b")
    there = Cli(f"{nodes_list([node])},b={other.host}:{other.port}",
                script=tmp_path / "kv-cli.sh", PATH=path)
    assert there.out("-n", "b", "import", stdin=lines) == b"OK 7 keys\n"
    assert live(other) == live(node)


def test_zstd_is_installed_or_asked_for(cli, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("bash", "cat", "dirname", "env", "head", "id", "mktemp", "readlink", "rm"):
        (bare / name).symlink_to(shutil.which(name))
    (bare / "apt-get").write_text('#!/bin/bash\necho "apt-get $*" >&2; exit 1\n')
    (bare / "apt-get").chmod(0o755)
    (bare / "sudo").symlink_to(bare / "env")
    done = cli("backup", tmp_path / "x.zst", env={"PATH": str(bare)})
    fails(done, MISSING, "apt-get install -y -qq zstd", "zstd is not installed")


def test_a_damaged_file_is_refused_before_anything_is_written(kv, cli, tmp_path):
    data = bytearray(cli.out("backup", "-"))
    data[len(data) // 2] ^= 1
    (tmp_path / "bad").write_bytes(data)
    fresh = kv.node("b")
    done = Cli([fresh], KV_BINARY=BINARY)("restore", "--yes", tmp_path / "bad")
    fails(done, MISSING, "damaged at offset", "nothing was written")
    assert fresh.cmd("COUNT") == "0"
    fails(cli("restore", "--yes", CLI), MISSING, "this is no backup", "nothing was written")
    fails(cli("restore", "--yes", tmp_path / "absent"), MISSING, "cannot read")


def test_restore_asks_first(cli, node, tmp_path):
    path = tmp_path / "all.backup"
    cli("backup", path)
    node.cmd("SET", "plain", "changed")
    fails(cli("restore", path), USAGE, "7 keys", "--yes")
    for answer, status, value in (("n", MISSING, "changed"), ("y", 0, "value")):
        main, side = pty.openpty()
        os.write(main, f"{answer}\n".encode())
        done = subprocess.run([CLI, "restore", path], stdin=side, capture_output=True,
                              env=cli.environment(), timeout=60)
        os.close(main)
        os.close(side)
        assert done.returncode == status, done
        assert b"nothing was written" in done.stderr or done.stdout == b"OK 7 keys\n"
        assert node.cmd("GET", "plain") == value


def test_export_and_import_keep_every_byte_and_expiry(kv, cli, node):
    lines = cli.out("export")
    assert len(lines.splitlines()) == 7
    objects = [json.loads(line) for line in lines.splitlines()]
    assert {"key": "plain", "value": "value"} in objects and {"key": "a b", "value": ""} in objects
    assert {"key_base64": "AP8=", "value_base64": "//4AYmluYXJ5"} in objects
    assert {"key": "ümläut", "value": "héé ☃"} in objects
    other = kv.node("b")
    assert Cli([other], KV_BINARY=BINARY).out("import", stdin=lines) == b"OK 7 keys\n"
    assert live(other) == live(node)
    assert 900 <= int(other.cmd("TTL", "short")) <= 1000 and other.cmd("TTL", "plain") == "-1"


@pytest.mark.parametrize("line, reason", [
    ("{", "no JSON object"), ("[1]", "expected one text"), ('{"key":"a"}', "value"),
    ('{"key":"","value":"x"}', "1 to 65535"), ('{"key":"a","value":1}', "value"),
    ('{"key":"a","key_base64":"YQ==","value":"x"}', "key"),
    ('{"key":"a","value_base64":"?"}', "no base64"),
    ('{"key":"a","value_base64":"YR=="}', "no base64"),
    ('{"key":"a","value":"x","expires_ms":0}', "expires_ms"),
    ('{"key":"a","value":"x","ttl":5}', "nothing but"),
])
def test_a_wrong_line_is_named_and_nothing_is_imported(cli, node, line, reason):
    before = node.cmd("COUNT")
    lines = '{"key":"new","value":"x"}\n\n' + line + "\n"
    fails(cli("import", stdin=lines.encode()), MISSING, "line 3: ", reason, "nothing was written")
    assert node.cmd("COUNT") == before


def test_what_the_server_says_and_what_does_not_answer(cli, tmp_path):
    path = tmp_path / "d"
    path.mkdir()
    with answering(b"ERROR LOADING 5 %\n") as nodes:
        fails(Cli(nodes, KV_BINARY=BINARY)("backup", path / "x"), SERVER, "LOADING")
    fails(Cli("127.0.0.1:1", KV_BINARY=BINARY)("backup", path / "x"), CONNECT, "cannot talk to")
    fails(cli("backup", tmp_path / "none" / "x"), MISSING, "cannot write")
    assert os.listdir(path) == []


def test_a_backup_that_is_cut_off_leaves_no_file(kv, cli, tmp_path):
    node = kv.node("b")
    node.write_many(((f"key{i}", "v" * 10000) for i in range(3000)), window=100)
    directory = tmp_path / "d"
    directory.mkdir()
    process = Cli([node], KV_BINARY=BINARY).start("backup", "-")
    process.stdout.read(100000)
    node.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == CONNECT and b"was not complete" in err, err
    with answering(b"+PONG\n+OK\n") as nodes:
        done = Cli(nodes, KV_BINARY=BINARY)("backup", directory / "x")
        assert done.returncode == SERVER, done
    assert os.listdir(directory) == []


def test_the_arguments(cli):
    done = subprocess.run([BINARY, "--export", "--import"], capture_output=True)
    assert done.returncode == 2 and b"expected one of them" in done.stderr
    fails(cli("backup"), USAGE, "backup takes the name of a file")
    fails(cli("restore", "a", "b"), USAGE, "restore takes the name of a file")
    fails(cli("backup", "--fast", "x"), USAGE, "does not know --fast")
    assert b"backup FILE|-" in cli.out("help")


