"""The scripts of src/store/redis/scripts on a redis-server of their own."""

import contextlib
import os
import pathlib
import subprocess
import tempfile
import time

import redis

SCRIPTS = pathlib.Path(__file__).parents[2] / "src/store/redis/scripts"

(OK, MISSING, TERMINATED, FORBIDDEN, FULL, SHARED, MANY_MESSAGES, MANY_BYTES,
 MANY_MAILBOXES) = range(9)


def names():
    return sorted(path.stem for path in SCRIPTS.glob("*.lua")
                  if not path.stem.startswith("common"))


def text(name):
    """A script as the build embeds it."""
    return subprocess.run(["sh", SCRIPTS / "assemble.sh", name], check=True,
                          capture_output=True, text=True).stdout


@contextlib.contextmanager
def server(*options):
    """A redis-server with nothing on disk; yields the path of its socket."""
    with tempfile.TemporaryDirectory(prefix="academy-redis-") as path:
        socket = os.path.join(path, "redis.sock")
        process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", socket,
             "--dir", path, "--save", "", "--appendonly", "no",
             "--notify-keyspace-events", "Kgl$x", *options],
            stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(unix_socket_path=socket) as client:
                for _ in range(500):
                    with contextlib.suppress(redis.ConnectionError):
                        client.ping()
                        break
                    time.sleep(0.01)
                else:
                    raise RuntimeError("no redis-server")
            yield socket
        finally:
            process.kill()
            process.wait()


class Scripts:
    """Calls scripts by name: scripts.status(uid, "alice", "").

    The prefix is put before the arguments, and what there is for a while has a
    default: the times in seconds, the limits.
    """

    texts = {}

    def __init__(self, client, prefix=""):
        self.client = client
        self.prefix = prefix

    def __getattr__(self, name):
        if name not in names():
            raise AttributeError(name)

        return lambda *args: self.run(name, *args)

    def run(self, name, *args):
        if name not in self.texts:
            self.texts[name] = self.client.register_script(text(name))
        return self.texts[name](args=[self.prefix, *args], client=self.client)
