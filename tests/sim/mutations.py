"""Breaks the rules one at a time, and shows which invariant finds it.

    mutations.py SIMULATOR [NAME…]          a table; exits with 1 if a mutation is not caught, or if an
                                            invariant has caught none
    mutations.py --lines SIMULATOR [NAME…]  instead, lines for the list of regressions: of each mutation
                                            the first seed that is caught and passes with the rule whole,
                                            shrunk

SIMULATOR is simple-kv-sim-mutants. A mutation that nobody catches, or an invariant that is never
broken, is a hole in the checker.

What is known to catch a mutation stands in tests/sim/regressions, behind the mutation's name, and is
tried first. When the code has changed, the same seed may tell another story; then fresh ones are
searched.
"""

import pathlib
import re
import shlex
import subprocess
import sys
import time

INVARIANTS = range(1, 19)
LIMIT_S = 60  # for searching one mutation
LINES_LIMIT_S = 300  # likewise, when that is what is wanted
FAILED = re.compile(r"seed (\d+) FAILED, invariant (\d+): (.*)")
SHRUNK = re.compile(r"shrunk: invariant (\d+): (.*)")
REGRESSIONS = pathlib.Path(__file__).parent / "regressions"


def known_lines():
    """Of each mutation the options that are known to show it."""
    known = {}
    for line in REGRESSIONS.read_text(encoding="utf-8").splitlines():
        options, _, told = line.partition("#")
        name = told.strip().partition(":")[0]
        if options.strip() and re.fullmatch("[A-Z_]+", name):
            known.setdefault(name, []).append(shlex.split(options))
    return known


def run(simulator, options, limit_s):
    """What the simulator says, up to its first failure or the limit."""
    lines, deadline = [], time.monotonic() + limit_s
    with subprocess.Popen([simulator, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                lines.append(line.strip())
                if "simple-kv-sim --seed" in line or time.monotonic() > deadline:
                    break
        finally:
            process.kill()
    return lines


def failure(simulator, options, limit_s):
    """The first failure: (seed, invariant, text), or None."""
    for line in run(simulator, [*options, "--no-shrink"], limit_s):
        found = FAILED.match(line)
        if found:
            return int(found[1]), int(found[2]), found[3]
    return None


def search(simulator, name, limit_s):
    """The first of fresh seeds that fails with the mutation and passes without: (seed, invariant, text)."""
    seed, deadline = 1, time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = failure(simulator, ["--mutate", name, "--seed", str(seed), "--seeds", "100"],
                        deadline - time.monotonic())
        if found is None:
            seed += 100
            continue
        if failure(simulator, ["--seed", str(found[0])], LIMIT_S) is None:
            return found
        print(f"seed {found[0]} fails without any mutation", file=sys.stderr)
        seed = found[0] + 1
    return None


def catch(simulator, name, known):
    for options in known.get(name, []):
        found = failure(simulator, ["--mutate", name, *options], LIMIT_S)
        if found:
            return found
    return search(simulator, name, LIMIT_S)


def print_line(simulator, name):
    found = search(simulator, name, LINES_LIMIT_S)
    if found is None:
        print(f"# {name}: no seed found", flush=True)
        return
    lines = run(simulator, ["--mutate", name, "--seed", str(found[0])], LINES_LIMIT_S)
    options = [line for line in lines if line.startswith("simple-kv-sim ")]
    shrunk = [match for match in map(SHRUNK.match, lines) if match]
    if not options or not shrunk:
        print(f"# {name}: seed {found[0]} was not shrunk in time", flush=True)
    else:
        print(f"{options[0].partition(' ')[2]}  # {name}: {shrunk[0][2]}", flush=True)


def print_table(simulator, names, every):
    known, caught, missed = known_lines(), set(), 0
    print(f"{'mutation':24} {'inv.':>4} {'seed':>8}  what was seen")
    for name in names:
        found = catch(simulator, name, known)
        if found is None:
            missed += 1
            print(f"{name:24} {'-':>4} {'-':>8}  NOT CAUGHT", flush=True)
        else:
            caught.add(found[1])
            print(f"{name:24} {found[1]:>4} {found[0]:>8}  {found[2]}", flush=True)
    print(f"{len(names) - missed} of {len(names)} mutations caught")
    idle = [str(invariant) for invariant in INVARIANTS if every and invariant not in caught]
    if idle:
        print(f"invariants that caught none: {', '.join(idle)}")
    return 1 if missed or idle else 0


def main():
    words = sys.argv[1:]
    lines = words[0] == "--lines"
    simulator = words[1] if lines else words[0]
    listed = subprocess.run([simulator, "--mutations"], capture_output=True, text=True, check=True)
    names = words[2 if lines else 1:]
    every = not names
    names = names or listed.stdout.split()
    if not lines:
        return print_table(simulator, names, every)
    for name in names:
        print_line(simulator, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
