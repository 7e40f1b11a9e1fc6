"""Options: flags, environment, configuration file, their order, and what bad ones are told."""

import json

import pytest

from kvtest import eventually, free_ports

BAD_OPTIONS = [
    ("--port", "65536"), ("--port", "-1"), ("--port", "abc"), ("--port", ""), ("--port", "80x"),
    ("--port", "8080 "), ("--port", "99999999999999999999"),
    ("--bind", "999.1.1.1"), ("--bind", ""),
    ("--name", ""), ("--name", "two words"), ("--name", "line\nbreak"),
    ("--cluster", ""),
    ("--peers", "noport"), ("--peers", "host:"), ("--peers", "host:0"), ("--peers", "host:70000"),
    ("--peers", ":8080"), ("--peers", "a:1,,b:2"), ("--peers", "a:1,b"), ("--peers", "a:x"),
    ("--advertise", "noport"), ("--advertise", "host:0"), ("--advertise", "host:99999"),
    ("--min-acks", "-1"), ("--min-acks", "abc"), ("--min-acks", "1.5"), ("--min-acks", ""),
    ("--ack-timeout", "10x"), ("--ack-timeout", "-5"), ("--ack-timeout", "abc"),
    ("--ack-timeout", ""), ("--ack-timeout", "1KiB"), ("--ack-timeout", "1e3"),
    ("--ack-timeout", "99999999999999999999d"),
    ("--max-memory", "5XiB"), ("--max-memory", "abc"), ("--max-memory", "-1"),
    ("--max-memory", "10s"), ("--max-memory", "99999999999999999999GiB"),
    ("--max-value", "513MiB"), ("--max-value", "1GiB"), ("--max-value", "abc"),
    ("--max-clients", "-1"), ("--max-clients", "many"), ("--max-clients", "1MiB"),
    ("--journal-memory", "abc"), ("--journal-memory", "-1"),
    ("--keys-limit", "-1"), ("--keys-limit", "abc"),
    ("--max-output", "abc"), ("--max-output", "1m"),
    ("--output-timeout", "abc"), ("--output-timeout", "5MiB"),
    ("--shutdown-timeout", "abc"), ("--shutdown-timeout", "-1s"),
    ("--fsync", "sometimes"), ("--fsync", ""), ("--segment-size", "1KiB"),
    ("--snapshot-size", "abc"), ("--snapshot-percent", "-1"), ("--check", ""),
    ("--log-level", "verbose"), ("--log-level", ""), ("--log-format", "xml"),
]


def refused(result, *named, status=2):
    """The program ended with this status and one line that names all of these."""
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.endswith("\n") and result.stderr.count("\n") == 1, result.stderr
    for word in named:
        assert word in result.stderr, (word, result.stderr)


@pytest.mark.parametrize("option,value", BAD_OPTIONS)
def test_a_bad_value_is_named_with_its_option(kv, option, value):
    shown = value.split("\n", maxsplit=1)[0]
    refused(kv.run(option, value), option, shown)


@pytest.mark.parametrize("option,value", [("--port", "abc"), ("--ack-timeout", "10x"),
                                          ("--peers", "noport")])
def test_a_bad_value_may_be_joined_with_an_equals_sign(kv, option, value):
    refused(kv.run(f"{option}={value}"), option, value)


@pytest.mark.parametrize("arguments", [["--frobnicate"], ["--frobnicate", "1"],
                                       ["--http-port", "1"], ["--por", "1"], ["-x"], ["stray"]])
def test_an_unknown_option_is_named(kv, arguments):
    refused(kv.run(*arguments), arguments[0])


@pytest.mark.parametrize("option", ["--port", "--peers", "--config"])
def test_an_option_without_its_value_is_named(kv, option):
    refused(kv.run(option), option)


def test_a_bad_value_in_the_environment_is_named(kv):
    refused(kv.run(env={"KV_ACK_TIMEOUT": "soon"}), "KV_ACK_TIMEOUT", "soon")
    refused(kv.run(env={"KV_PORT": "http"}), "KV_PORT", "http")


def test_an_unknown_key_in_the_configuration_is_named(kv, tmp_path):
    config = tmp_path / "kv.ini"
    config.write_text("port = 0\nfrobnicate = 7\n")
    refused(kv.run("--config", config), "frobnicate", str(config))


def test_a_bad_value_in_the_configuration_is_named(kv, tmp_path):
    config = tmp_path / "kv.ini"
    config.write_text("ack-timeout = soon\n")
    refused(kv.run("--config", config), "ack-timeout", "soon", str(config))


def test_a_line_that_is_no_setting_in_the_configuration_is_named(kv, tmp_path):
    config = tmp_path / "kv.ini"
    config.write_text("port = 0\nwhatever\n")
    refused(kv.run("--config", config), "whatever", str(config))


def test_a_configuration_file_that_is_missing_is_named(kv, tmp_path):
    refused(kv.run("--config", tmp_path / "none.ini"), str(tmp_path / "none.ini"))


def test_flag_comes_before_environment_before_file_before_default(kv, tmp_path):
    config = tmp_path / "kv.ini"
    config.write_text("# a comment\n; another\n\nname = from-file\ncluster=from-file\n"
                      "ack-timeout = 100ms\nmin-acks = 1\n")
    node = kv.prepare("log", config=config, env={"KV_CLUSTER": "from-environment"})
    del node.options["name"]
    info = node.start().info()
    assert (info["name"], info["cluster"]) == ("from-file", "from-environment")
    assert "of 1 peers confirmed within 100 ms" in node.cmd("SET", "k", "v")
    node.stop()
    node.env["KV_NAME"] = "from-environment"
    node.options["cluster"] = "from-flag"
    info = node.start().info()
    assert (info["name"], info["cluster"]) == ("from-environment", "from-flag")
    node.stop()
    del node.options["config"], node.options["cluster"]
    node.env.clear()
    info = node.start().info()
    assert (info["name"].rpartition(":")[2], info["cluster"]) == (str(node.port), "simple-kv")


def test_the_configuration_file_may_be_named_in_the_environment(kv, tmp_path):
    config = tmp_path / "kv.ini"
    config.write_text("cluster = from-file\n")
    assert kv.node(env={"KV_CONFIG": str(config)}).info()["cluster"] == "from-file"


def test_sizes_and_times_take_units(kv):
    node = kv.node(max_value="1KiB", min_acks=1, ack_timeout="200ms")
    assert "within 200 ms" in node.cmd("SET", "k", "v" * 1024)
    assert node.cmd("SET", "k", "v" * 1025).startswith("ERROR ")
    assert "within 250 ms" in kv.node(min_acks=1, ack_timeout=250).cmd("SET", "k", "v")
    for options in ({"max_memory": "1GiB", "journal_memory": "32MiB"}, {"max_value": "512MiB"},
                    {"output_timeout": "2m", "shutdown_timeout": "1h"}, {"ack_timeout": "1d"}):
        assert kv.node(**options).cmd("PING") == "+PONG"


def test_help_shows_every_option_with_its_default(kv):
    result = kv.run("--help")
    assert result.returncode == 0 and result.stderr == ""
    for option, default in (
            ("port", "8080"), ("bind", "127.0.0.1"), ("name", ""), ("peers", ""),
            ("advertise", ""), ("cluster", "simple-kv"), ("data-dir", ""), ("fsync", "everysec"),
                ("segment-size", "64"), ("snapshot-size", "64MiB"), ("snapshot-percent", "150"),
                ("salvage", ""), ("check", ""), ("repair-tail", ""), ("min-acks", "0"),
            ("ack-timeout", "1000"), ("max-memory", "0"), ("max-value", "16"),
            ("max-clients", "10000"), ("journal-memory", "64"), ("keys-limit", "100000"),
            ("max-output", "1"), ("output-timeout", "60"), ("shutdown-timeout", "5"),
            ("log-level", "info"), ("log-format", "text"), ("config", ""), ("healthcheck", ""),
            ("version", ""), ("help", "")):
        lines = [line for line in result.stdout.splitlines() if f"--{option}" in line]
        assert lines, option
        paragraph = result.stdout[result.stdout.index(lines[0]):][:400]
        assert default in paragraph, (option, default)
    assert "http-port" not in result.stdout


def test_version_is_that_of_info(kv):
    result = kv.run("--version")
    assert result.returncode == 0 and result.stderr == "" and result.stdout.count("\n") == 1
    assert kv.node().info()["version"] in result.stdout


def test_a_port_in_use_is_one_clear_line_and_status_1(kv):
    node = kv.node()
    result = kv.run("--port", node.port)
    refused(result, str(node.port), status=1)
    assert "in use" in result.stderr
    assert node.cmd("PING") == "+PONG"


def test_an_address_that_is_not_ours_is_one_clear_line_and_status_1(kv):
    refused(kv.run("--port", 0, "--bind", "192.0.2.1"), "192.0.2.1", status=1)


def test_port_0_takes_any_free_port(kv):
    one, two = kv.node(port=0), kv.node(port=0)
    assert 0 not in (one.port, two.port) and one.port != two.port
    assert one.cmd("PING") == two.cmd("PING") == "+PONG"


def test_an_ipv6_address_works_as_any_other(kv):
    port = free_ports(1)[0]
    try:
        node = kv.node(host="::1", port=port)
    except RuntimeError as error:
        if "cannot listen on [::1]" in str(error):
            pytest.skip("this machine has no IPv6")
        raise
    other = kv.node(host="::1", peers=f"[::1]:{port}")
    node.cmd("SET", "k", "v")
    eventually(lambda: other.cmd("GET", "k") == "v", 10, "the peers link up")
    assert kv.run("--healthcheck", "--bind", "::1", "--port", port).returncode == 0


def test_the_node_listens_only_where_it_was_told(kv):
    node = kv.node()
    assert node.cmd("PING") == "+PONG"
    node.host = "127.0.0.2"
    with pytest.raises(ConnectionRefusedError):
        node.connect()
    anywhere = kv.node(bind="0.0.0.0")
    for host in ("127.0.0.1", "127.0.0.2"):
        anywhere.host = host
        with anywhere.connect() as conn:
            assert conn.cmd("PING") == "+PONG"


def test_the_healthcheck_tells_a_live_node_from_none(kv):
    node = kv.node()
    before = node.log_lines()
    for _ in range(5):
        assert kv.run("--healthcheck", "--port", node.port).returncode == 0
    assert kv.run("--healthcheck", env={"KV_PORT": str(node.port)}).returncode == 0
    assert kv.run("--healthcheck", "--port", node.port, "--bind", "0.0.0.0").returncode == 0
    assert node.log_lines() == before
    result = kv.run("--healthcheck", "--port", free_ports(1)[0])
    assert result.returncode == 1 and result.stderr.count("\n") == 1


def test_the_healthcheck_fails_on_a_node_that_hangs(kv):
    node = kv.node()
    node.pause()
    try:
        result = kv.run("--healthcheck", "--port", node.port, deadline_s=8)
    finally:
        node.resume()
    assert result.returncode == 1 and result.stderr.count("\n") == 1


def test_json_logs_are_one_object_a_line(kv):
    node = kv.node("json", log_format="json", peers="127.0.0.1:1", log_level="debug",
                   cluster='quo"te\\')
    with node.connect() as conn:
        conn.send(b"\x00KVP garbage \xff\x00\n")
        conn.half_close()
        conn.rest()
    eventually(lambda: len(node.log_lines()) >= 2, 5, "some log lines")
    node.stop()
    entries = [json.loads(line) for line in node.log_lines()]
    assert all({"time", "level", "message"} <= set(entry) for entry in entries)
    assert {entry["level"] for entry in entries} <= {"debug", "info", "warn", "error"}
    assert any("listening on" in entry["message"] for entry in entries)


def test_the_log_level_silences_what_is_below_it(kv):
    node = kv.prepare("quiet", log_level="error")
    node._listening = lambda: True
    node.start()
    eventually(lambda: node.cmd("PING") == "+PONG", 10, "the quiet node answers")
    node.stop()
    assert node.log() == ""
