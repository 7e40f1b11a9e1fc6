"""README.md and docs/protocol.md, part 1: their example sessions and the table of options are true."""

import re

from kvtest import REPOSITORY

SEVERAL_LINES = ("KEYS", "INFO", "PEERS", "HELP")


def readme_session():
    """[(request, its answer's lines)] of the session with nc."""
    block = re.search(r"^\$ nc localhost 8081\n(.*?)^```$", (REPOSITORY / "README.md").read_text(),
                      re.DOTALL | re.MULTILINE).group(1)
    lines = iter(block.splitlines())
    session = []
    for request in lines:
        answer = [next(lines)]
        if request.split()[0].upper() in SEVERAL_LINES:
            answer += [next(lines) for _ in range(int(answer[0]))]
        session.append((request, answer))
    return session


def protocol_session():
    session = []
    for sign, text in re.findall(r"^    ([<>]) (.*)$", (REPOSITORY / "docs/protocol.md").read_text(),
                                 re.MULTILINE):
        if sign == ">":
            session.append((text, []))
        else:
            session[-1][1].append(text)
    return session


def play(node, session):
    with node.connect() as conn:
        for request, expected in session:
            conn.send(request.encode() + b"\n")
            answer = [conn.line().decode() for _ in expected]
            if request == "PEERS":  # its figures are those of one moment
                answer, expected = ([re.sub(r"=\S+", "=", line) for line in lines]
                                    for lines in (answer, expected))
            if request.startswith("KEYS"):  # in no order
                answer, expected = sorted(answer), sorted(expected)
            assert answer == expected, request
        assert conn.rest() == b""


def test_the_session_of_the_readme(kv):
    session = readme_session()
    assert len(session) >= 9 and session[-1][0] == "QUIT"
    play(kv.node(), session)


def test_the_session_of_the_protocol(kv):
    session = protocol_session()
    assert len(session) >= 15 and session[-1][0] == "QUIT"
    play(kv.cluster(2)[0], session)


def test_the_readme_lists_every_option_with_its_default(kv):
    rows = dict(re.findall(r"^\| `--([a-z-]+)[^`]*`(?:, `--help`)? \| *(.*?) *\|",
                           (REPOSITORY / "README.md").read_text(), re.MULTILINE))
    told = dict(re.findall(r"^  --([a-z-]+).*?(?:\[([^][]*)\])?$", kv.run("--help").stdout,
                           re.MULTILINE))
    assert set(rows) | {"help"} == set(told)
    for option, default in told.items():
        if re.match(r"\d", default):
            assert rows[option].split(" ")[0] == default, option
