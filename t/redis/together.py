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
def three(nginx, identity=False, workers=2):
    """Yields their names and base URLs, and Redis's socket."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        socket = stack.enter_context(
            server("--port", str(port), "--bind", "127.0.0.1"))
        urls = {}
        for name in "one", "two":
            if REFERENCE:
                urls[name] = "http://127.0.0.1:%d" % stack.enter_context(
                    reference(60, identity, port))
                continue
            urls[name] = nginx(
                exchange=False, main=f"load_module {MODULE};", workers=workers,
                http=NGINX % port + IDENTITY * identity,
                location="academy_exchange exchange;").url
        urls["python"] = "http://127.0.0.1:%d" % stack.enter_context(
            reference(60, identity, port))
        yield urls, socket
