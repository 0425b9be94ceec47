"""What the pytest suites share: an nginx for a test, and the figures that the
tests found, which are printed at the end."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "lib"), str(HERE / "auth"), str(HERE / "status")]
sys.path.append(str(HERE / "workers"))

from academy_nginx import PATIENCE, Nginx  # noqa: E402
from academy_redis import STORE  # noqa: E402
from provider import Provider  # noqa: E402

# A proxy of the machine's has no place between two processes on loopback.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "nginx_only: what the Python reference cannot be asked")
    config.addinivalue_line(
        "markers", "zone_only(reason): what is not so where the store is Redis")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name in ("auth", "client", "workers", "faults",
                                     "redis", "status"):
            item.add_marker(pytest.mark.timeout(120 * PATIENCE))
        if STORE == "redis" and (mark := item.get_closest_marker("zone_only")):
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))


@pytest.fixture
def nginx(request):
    """A function that starts an nginx, which is stopped and judged when the
    test is over."""
    started: list[Nginx] = []

    def start(**pieces) -> Nginx:
        started.append(Nginx(**pieces).start())
        return started[-1]

    yield start

    for server in reversed(started):
        server.stop()


@pytest.fixture
def provider():
    """An identity provider that tokens can be asked about."""
    with Provider() as started:
        yield started


@pytest.fixture
def figures(request):
    """A function that notes a line of figures under the test's name. With a
    report they come from another process, where tests run in several."""
    node = request.node
    return lambda line: node.user_properties.append(
        ("figures", f"{node.name}: {line}"))


def pytest_terminal_summary(terminalreporter):
    lines = [
        line for reports in terminalreporter.stats.values()
        for report in reports if getattr(report, "when", "") == "teardown"
        for name, line in report.user_properties if name == "figures"]
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
