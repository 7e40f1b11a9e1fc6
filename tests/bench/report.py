"""Tables, a plot and verdicts of what tests/bench/run has found: Markdown and SVG."""

import os
import platform
import re
import statistics
from collections import Counter
from html import escape

NAMES = {"floor": "floor", "simple-kv": "simple-kv", "with-peers": "simple-kv, 2 peers",
         "redis": "Redis", "with-replicas": "Redis, 2 replicas", "memcached": "memcached"}
COLOURS = {"floor": "#9aa0a6", "simple-kv": "#1a73e8", "with-peers": "#8ab4f8",
           "redis": "#d93025", "with-replicas": "#f28b82", "memcached": "#34a853"}
LOADS = {"set": "SET", "get": "GET", "mixed": "mixed"}
GETS_OF_MIXED = 0.8  # MIXED_GETS_OF_100 in load.c
BEGIN = "<!-- tests/bench/run writes from here -->"
END = "<!-- to here -->"


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        found = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.MULTILINE)
        if found:
            model = found.group(1)
    return f"{os.cpu_count()} × {model}, {platform.system()} {platform.release()}"


def digits(value):
    """Three significant digits, without an exponent."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Samples:
    """What was found, by its place."""

    def __init__(self, samples):
        self.samples = samples

    def select(self, **wanted):
        return [sample for sample in self.samples
                if all(sample[name] == value for name, value in wanted.items())]

    def median(self, figure, **wanted):
        """None when it was not measured."""
        found = [sample[figure] for sample in self.select(**wanted) if figure in sample]
        return statistics.median(found) if found else None

    def places(self, *names, **wanted):
        """The distinct values of some names, in the order in which they were measured."""
        return list(dict.fromkeys(tuple(sample[name] for name in names)
                                  for sample in self.select(**wanted)))

    def cpu(self, part, server, connections, pipeline):
        """Of one of the loads; the floor's for mixed is what its SETs and GETs make together."""
        place = {"connections": connections, "pipeline": pipeline, "server": server}
        if part == "mixed" and server == "floor":
            gets, sets = (self.median("cpu_us", part=other, load=other.upper(), **place)
                          for other in ("get", "set"))
            return None if gets is None or sets is None else \
                GETS_OF_MIXED * gets + (1 - GETS_OF_MIXED) * sets
        return self.median("cpu_us", part=part, load=LOADS[part], **place)


def rounds(samples, part):
    """How often, and how long, each load of a part was measured. (Filling takes as it takes.)"""
    timed = [sample for sample in samples.select(part=part)
             if sample["load"] in LOADS.values() and "seconds" in sample]
    place = ("load", "x", "connections", "pipeline", "server")
    counts = Counter(tuple(sample[name] for name in place) for sample in timed)
    count, seconds = max(counts.values()), statistics.median(s["seconds"] for s in timed)
    many = f"medians of {count} rounds" if count > 1 else "one round"
    return f"{many} of {seconds:.1f} s"


def times(value, base):
    return "–" if value is None or not base else f"{value / base:.2f}"


def table(header, rows):
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "".join("| " + " | ".join(map(str, cells)) + " |\n" for cells in lines) + "\n"


# --- SET, GET, mixed --------------------------------------------------------------------------


def cpu_table(samples, part, servers):
    header = ["conn.", "P"]
    for name in servers:
        header.append(NAMES[name])
        if name == "simple-kv" and "floor" in servers:
            header.append("× floor")
        if name == "with-peers" and "simple-kv" in servers:
            header.append("× alone")
        if name in ("redis", "memcached") and "simple-kv" in servers:
            header.append("× simple-kv")
        if name == "with-replicas" and "with-peers" in servers:
            header.append("× 2 peers")
    rows = []
    for place in samples.places("connections", "pipeline", part=part, load=LOADS[part]):
        cpu = {name: samples.cpu(part, name, *place) for name in servers}
        bases = {"simple-kv": "floor", "with-peers": "simple-kv", "redis": "simple-kv",
                 "memcached": "simple-kv", "with-replicas": "with-peers"}
        cells = list(place)
        for name in servers:
            cells.append(digits(cpu[name]))
            if bases.get(name) in servers:
                cells.append(times(cpu[name], cpu[bases[name]]))
        rows.append(cells)
    return table(header, rows)


def speed_table(samples, part, servers):
    rows = []
    for place in samples.places("connections", "pipeline", part=part, load=LOADS[part]):
        cells = list(place)
        for name in servers:
            wanted = {"part": part, "load": LOADS[part], "server": name,
                      "connections": place[0], "pipeline": place[1]}
            found = [samples.median(figure, **wanted)
                     for figure in ("ops_per_second", "p50_us", "p99_us", "p999_us")]
            cells.append("–" if found[0] is None else
                         f"{found[0] / 1000:.0f}; " +
                         " / ".join(digits(value / 1000) for value in found[1:]))
        rows.append(cells)
    return table(["conn.", "P"] + [NAMES[name] for name in servers], rows)


def loads_text(samples, servers):
    text = ""
    for part, load in LOADS.items():
        if samples.select(part=part):
            text += (f"### {load}\n\nServer CPU, µs per operation ({rounds(samples, part)}):\n\n"
                     f"{cpu_table(samples, part, servers)}"
                     "Throughput in thousands a second; p50 / p99 / p99.9 of a batch in ms:\n\n"
                     f"{speed_table(samples, part, servers)}")
    new = [[NAMES[name], digits(samples.median("cpu_us", part="set", load="SET, new keys",
                                               server=name))] for name in servers]
    if samples.select(part="set"):
        text += "### SET of new keys, P=64\n\n" + table(["", "µs/op"], new)
    delay = samples.select(part="set", load="delay")
    if delay:
        found = delay[-1]
        text += ("Replication delay, from a SET sent to one node until GET shows it on both "
                 f"others: p50 {found['p50_us']:.0f} µs, p99 {found['p99_us']:.0f} µs over "
                 f"{found['writes']:.0f} writes (a SET's own round trip: p50 "
                 f"{found['set_p50_us']:.0f} µs, p99 {found['set_p99_us']:.0f} µs).\n\n")
    return text


# --- memory, growth ---------------------------------------------------------------------------


def memory_text(samples):
    if not samples.select(part="memory"):
        return ""
    redis = samples.median("bytes_per_key", part="memory", server="redis")
    rows = [[NAMES[name], f"{value:.1f}", times(value, redis)]
            for (name,) in samples.places("server", part="memory")
            for value in [samples.median("bytes_per_key", part="memory", server=name)]]
    count = samples.select(part="memory")[0]["operations"]
    return (f"### Memory\n\nGrowth of the resident set by {count:,.0f} keys:\n\n" +
            table(["", "bytes a key", "× Redis"], rows))


def size(value):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= unit and value % unit == 0:
            return f"{value // unit} {name}"
    return f"{value:,}"


def growth_table(samples, part, what, columns):
    """columns: (server, load, figure) or (server, load, figure, pipeline)."""
    shown = {"cpu_us": "", "bytes_per_key": " bytes a key"}
    header = [what] + [NAMES[column[0]] + ("" if column[2] == "bytes_per_key" else
                                           f" {column[1]}") + shown[column[2]] +
                       (f" P={column[3]}" if len(column) > 3 else "") for column in columns]
    rows = []
    for x in sorted({x for (x,) in samples.places("x", part=part) if x is not None}):
        cells = [size(x) if part == "values" else f"{x:,}"]
        for column in columns:
            wanted = {"part": part, "x": x, "server": column[0], "load": column[1]}
            if len(column) > 3:
                wanted["pipeline"] = column[3]
            cells.append(digits(samples.median(column[2], **wanted)))
        rows.append(cells)
    return table(header, rows)


def title(samples, part, place):
    return f"### {part.capitalize()}\n\nµs per operation{place} ({rounds(samples, part)}):\n\n"


def growth_text(samples):
    text = ""
    both = [(server, load, "cpu_us") for load in ("SET", "GET")
            for server in ("floor", "simple-kv", "redis")]
    if samples.select(part="keys"):
        memory = [(name, "SET, new keys", "bytes_per_key") for name in ("simple-kv", "redis")]
        text += (title(samples, "keys", ", 50 connections, P=16") +
                 growth_table(samples, "keys", "keys", both + memory))
    if samples.select(part="connections"):
        text += (title(samples, "connections", ", P=1") +
                 growth_table(samples, "connections", "connections", both[:3]))
    if samples.select(part="values"):
        text += (title(samples, "values", ", 50 connections, P=1") +
                 growth_table(samples, "values", "bytes", both))
    if samples.select(part="peers"):
        pipelines = [p for (p,) in samples.places("pipeline", part="peers", load="SET")]
        text += (title(samples, "peers", " of the node that is written to, 50 connections") +
                 growth_table(samples, "peers", "peers",
                              [("simple-kv", "SET", "cpu_us", p) for p in pipelines]))
    for found in samples.select(part="pauses"):
        text += (f"### Pauses\n\n`tests/bench/pauses`, {found['keys']:,} keys: how long one client "
                 f"waits while the node works through its whole store.\n\n```\n{found['text']}```\n"
                 "\n")
    return "## Growth\n\n" + text if text else ""


# --- verdicts ---------------------------------------------------------------------------------


def verdicts(samples, results):
    """(what, found, target, whether met) for those that were measured."""
    def cpu(server, pipeline):
        return samples.cpu("set", server, 50, pipeline)

    def ratio(one, other):
        return one / other if one is not None and other else None

    memories = [samples.median("bytes_per_key", part="memory", server=name)
                for name in ("simple-kv", "redis")]
    found = [(f"SET P={p}: CPU over the floor's", ratio(cpu("simple-kv", p), cpu("floor", p)), "≤",
              most) for p, most in ((1, 1.10), (16, 1.4), (64, 2.2))]
    found.append(("SET P=64: Redis' CPU over ours", ratio(cpu("redis", 64), cpu("simple-kv", 64)),
                  "≥", 2.2))
    found += [(f"SET P={p}: CPU with two peers over without",
               ratio(cpu("with-peers", p), cpu("simple-kv", p)), "≤", most)
              for p, most in ((1, 1.30), (16, 1.25), (64, 1.25))]
    if results.get("memory_keys") == 5_000_000:
        found.append(("memory over Redis', 5,000,000 keys", ratio(*memories), "≤", 0.85))
    return [[what, f"{value:.2f}", f"{sign} {target:.2f}",
             "yes" if (value <= target if sign == "≤" else value >= target) else "**no**"]
            for what, value, sign, target in found if value is not None]


def spread_remark(samples):
    """How far the rounds are apart, so that nobody reads more into a table than is there."""
    found = []
    for place in samples.places("part", "load", "server", "connections", "pipeline"):
        part, load, server, connections, pipeline = place
        values = [sample["cpu_us"] for sample in samples.select(
            part=part, load=load, server=server, connections=connections, pipeline=pipeline)
            if "cpu_us" in sample]
        if part in LOADS and load == LOADS[part] and len(values) > 1:
            found.append(((max(values) - min(values)) / statistics.median(values), place))
    if not found:
        return []
    found.sort()
    worst, (_, load, server, connections, pipeline) = found[-1]
    return [f"Spread of CPU between rounds (max - min): {found[len(found) // 2][0]:.0%} of the "
            f"median in the middle, {worst:.0%} at worst ({NAMES[server]}, {load}, {connections} "
            f"connections, P={pipeline})."]


def report(results):
    samples = Samples(results["samples"])
    servers = [name for name in NAMES if samples.select(server=name)]
    met = verdicts(samples, results)
    text = "".join(f"- {line}\n" for line in results["about"] + spread_remark(samples) +
                   results["notes"]) + "\n"
    if met:
        text += "## Targets\n\n" + table(["", "measured", "target", "met"], met)
    tables = loads_text(samples, servers) + memory_text(samples)
    if tables:
        text += "## Loads\n\n" + tables
    return text + growth_text(samples)


# --- the plot ---------------------------------------------------------------------------------

PANEL_WIDTH, LEFT, BAR, GAP = 250, 130, 16, 5


def panel(samples, servers, part, pipeline, at):
    """Bars of one load at one pipeline, the longest as wide as the panel."""
    x, y = at
    cpu = {name: samples.cpu(part, name, 50, pipeline) for name in servers}
    known = [value for value in cpu.values() if value is not None]
    if not known:
        return []
    parts = [f'<text x="{x}" y="{y}" font-weight="bold">{LOADS[part]}, P={pipeline}</text>']
    for index, name in enumerate(servers):
        top = y + 10 + index * (BAR + GAP)
        if cpu[name] is None:
            continue
        width = cpu[name] / max(known) * (PANEL_WIDTH - 60)
        parts += [f'<rect x="{x}" y="{top}" width="{width:.1f}" height="{BAR}" '
                  f'fill="{COLOURS[name]}"/>',
                  f'<text x="{x + width + 4:.1f}" y="{top + BAR - 4}">{digits(cpu[name])}</text>']
    return parts


def plot(results):
    """An SVG of server CPU per operation: a row for each load, a column for each pipeline."""
    samples = Samples(results["samples"])
    servers = [name for name in NAMES if samples.select(server=name)]
    parts = [part for part in LOADS if samples.select(part=part)]
    pipelines = sorted({p for part in parts for c, p in
                        samples.places("connections", "pipeline", part=part, load=LOADS[part])
                        if c == 50})
    row = len(servers) * (BAR + GAP) + 40
    width, height = LEFT + len(pipelines) * PANEL_WIDTH + 10, 50 + len(parts) * row
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             '<text x="10" y="22" font-size="15">Server CPU per operation in µs, 50 connections '
             '(shorter is better)</text>']
    for down, part in enumerate(parts):
        y = 50 + down * row
        lines += [f'<text x="10" y="{y + 10 + index * (BAR + GAP) + BAR - 4}">'
                  f'{escape(NAMES[name])}</text>' for index, name in enumerate(servers)]
        for across, pipeline in enumerate(pipelines):
            lines += panel(samples, servers, part, pipeline, (LEFT + across * PANEL_WIDTH, y))
    return "\n".join([*lines, "</svg>"]) + "\n"


def write(path, results):
    """Puts the report between its marks in a document, the rest of which stays, and the plot beside
    it."""
    with open(path, encoding="utf-8") as file:
        before, begin, rest = file.read().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise OSError(f"{path}: has no lines '{BEGIN}' and '{END}'")
    picture = os.path.splitext(path)[0] + ".svg"
    with open(picture, "w", encoding="utf-8") as file:
        file.write(plot(results))
    link = f"![Server CPU per operation]({os.path.basename(picture)})\n\n"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n\n{link}{report(results)}{END}{after}")
