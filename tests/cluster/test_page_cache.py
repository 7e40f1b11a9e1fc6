"""What a journal leaves in the memory of the machine."""

import subprocess

import pytest

from disktest import names, ready, restarted
from kvtest import eventually


def told(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def cached_bytes(path):
    return int(told("fincore", "--bytes", "--raw", "--noheadings", "--output", "RES", path))


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_what_is_complete_and_synced_leaves_it(kv, tmp_path, fsync):
    directory, written = tmp_path / "data", []
    node = ready(kv.node(data_dir=directory, fsync=fsync, segment_size="64KiB", snapshot_size="1GiB"))
    if "tmpfs" in told("stat", "-f", "-c", "%T", directory):
        pytest.skip("a tmpfs has its files in memory alone")

    def fills_segments():
        more = [(f"k{len(written) + i}", "x" * 100) for i in range(1000)]
        node.write_many(more)
        written.extend(more)
        return len(names(directory, "journal-")) > 8
    eventually(fills_segments, 10, "there are segments enough")
    complete = names(directory, "journal-")[:-3]  # the others: being synced, written, created ahead
    eventually(lambda: sum(cached_bytes(directory / name) for name in complete) == 0, 5,
               "their pages have left the cache")
    node.kill()
    restarted(node)
    assert int(node.cmd("COUNT")) == len(written)
    assert node.cmd("GET", "k0") == written[0][1]
