"""The exchange that the tests of this room run against, and processes."""

import contextlib

import pytest
from stage import REFERENCE, Processes, proxy, reference

IDENTITY = """
    academy_auth variables;
    academy_client_id $http_x_client;
    academy_client_groups $http_x_groups;
"""


def pytest_collection_modifyitems(config, items):
    """The reference is no nginx: what tests reloads is left out for it."""
    if REFERENCE:
        for item in items:
            if item.get_closest_marker("nginx_only"):
                item.add_marker(pytest.mark.skip(reason="about nginx"))


@pytest.fixture
def exchange(nginx):
    """A function that starts an exchange and gives it back; it has a `url`."""
    with contextlib.ExitStack() as stack:

        def start(*, identity=False, listen_timeout=60, **pieces):
            if REFERENCE:
                port = stack.enter_context(
                    reference(listen_timeout, identity))
                return nginx(exchange=False, location=proxy(port, pieces),
                             **pieces)
            http = f"academy_listen_timeout {listen_timeout}s;"
            if identity:
                http += IDENTITY
            return nginx(http=http, **pieces)

        yield start


@pytest.fixture
def processes(tmp_path, exchange):
    """After `exchange`: agents end before the exchange does."""
    directory = tmp_path / "processes"
    directory.mkdir()
    started = Processes(directory)
    yield started
    started.kill()
