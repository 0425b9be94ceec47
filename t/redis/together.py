"""Two nginx and a Python exchange on one Redis."""

import contextlib
import os

from academy_nginx import MODULE, free_port
from stage import reference

from scripts import server

# With ACADEMY_REFERENCE all three are Python's: whether a test is right, the
# reference is asked first.
REFERENCE = bool(os.environ.get("ACADEMY_REFERENCE"))

NGINX = """
    academy_redis name=exchange server=127.0.0.1:%d;
    academy_listen_timeout 60s;
"""

IDENTITY = """
    academy_auth variables;
    academy_client_id $http_x_client;
    academy_client_groups $http_x_groups;
"""


@contextlib.contextmanager
def redis_server():
    """Yields its port and its socket."""
    port = free_port()
    with server("--port", str(port), "--bind", "127.0.0.1") as socket:
        yield port, socket


def nginx_on(nginx, port, identity=False, http="", **pieces):
    return nginx(
        exchange=False, location="academy_exchange exchange;",
        http=NGINX % port + IDENTITY * identity + http,
        **pieces | {"main": f"load_module {MODULE};" + pieces.get("main", "")})


@contextlib.contextmanager
def three(nginx, identity=False, workers=2):
    """Yields their names and base URLs, and Redis's socket."""
    with contextlib.ExitStack() as stack:
        port, socket = stack.enter_context(redis_server())
        urls = {}
        for name in "one", "two":
            if REFERENCE:
                urls[name] = "http://127.0.0.1:%d" % stack.enter_context(
                    reference(60, identity, port))
                continue
            server = nginx_on(nginx, port, identity, workers=workers)
            # before Redis: what it asks of that one would keep it
            stack.callback(server.stop)
            urls[name] = server.url
        urls["python"] = "http://127.0.0.1:%d" % stack.enter_context(
            reference(60, identity, port))
        yield urls, socket
