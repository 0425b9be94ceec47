import sys
from pathlib import Path

import pytest
import redis

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "client")]

from scripts import Exchange, server  # noqa: E402


@pytest.fixture(scope="session")
def socket():
    """The socket of a redis-server that these tests share."""
    with server() as path:
        yield path


@pytest.fixture
def db(socket):
    with redis.Redis(unix_socket_path=socket, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def x(db):
    """The scripts, as an nginx calls them, on an empty Redis."""
    return Exchange(db)
