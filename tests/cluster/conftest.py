"""pytest wiring of the harness in kvtest.py."""

import os

import pytest

from kvtest import BINARY, Lab

LOG_LINES_SHOWN = 80


def pytest_sessionstart(session):
    if not os.access(BINARY, os.X_OK):
        pytest.exit(f"{BINARY} is not there: build it first, or name it in KV_BINARY", returncode=2)


@pytest.fixture
def kv(tmp_path):
    """Starts nodes; see Lab. They all end with the test, and cleanly."""
    lab = Lab(tmp_path)
    try:
        yield lab
    finally:
        lab.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the end of every node's log below a failure."""
    outcome = yield
    report = outcome.get_result()
    lab = getattr(item, "funcargs", {}).get("kv")
    if not report.failed or lab is None:
        return
    for node in lab.nodes:
        tail = "\n".join(node.log_lines()[-LOG_LINES_SHOWN:])
        report.sections.append((f"log of {node.name} ({node.log_path})", tail))
