"""A redis-server for a test, and exchanges on it in place of zones.

With ACADEMY_STORE=redis each `Nginx` has its exchange on one redis-server that
all tests of the run share, under a prefix of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

STORE = os.environ.get("ACADEMY_STORE", "zone")
if STORE not in ("zone", "redis"):
    raise RuntimeError("ACADEMY_STORE is zone or redis")

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class RedisServer:
    """One redis-server with a directory of its own, on a Unix socket and, with
    `port`, on that port of 127.0.0.1. Settings are as in its configuration:
    `RedisServer(appendonly="yes", appendfsync="always")`."""

    def __init__(self, port: int = 0, **settings: str) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="academy-redis-"))
        self.dir.chmod(0o755)
        self.port = port
        self.socket = self.dir / "redis.sock"
        self.settings = {
            "port": str(port), "bind": "127.0.0.1",
            "unixsocket": str(self.socket), "unixsocketperm": "777",
            "dir": str(self.dir), "save": "", "appendonly": "no",
            "enable-debug-command": "yes", "repl-diskless-sync-delay": "0",
            "logfile": str(self.dir / "log"),
        } | {name.replace("_", "-"): value for name, value in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> str:
        """As `academy_redis server=` takes it."""
        return f"127.0.0.1:{self.port}" if self.port else f"unix:{self.socket}"

    def start(self) -> RedisServer:
        empty = '""'
        (self.dir / "redis.conf").write_text("".join(
            f"{name} {value or empty}\n"
            for name, value in self.settings.items()))
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["redis-server", str(self.dir / "redis.conf")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent)
        end = time.monotonic() + 20
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError("redis-server does not answer: " + (
                    self.dir / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.01)
        return self

    def kill(self) -> None:
        """SIGKILL: what it has not written to its files is gone."""
        if self.process:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *rest: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(2)
                s.connect(str(self.socket))
                s.sendall(b"PING\r\n")
                return s.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


_shared: RedisServer | None = None
_starts = 0


def shared() -> RedisServer:
    """The one that the exchanges of this run are on."""
    global _shared
    if _shared is None:
        _shared = RedisServer().start()
        atexit.register(_shared.stop)
    return _shared


def directive(name: str, size: str) -> str:
    """What makes an exchange, by the store that the run is about."""
    global _starts
    if STORE == "zone":
        return f"academy_zone zone={name}:{size};"
    _starts += 1
    return (f"academy_redis name={name} server={shared().server} "
            f"prefix={os.getpid()}.{_starts}:;")


# What is there for as long as a mailbox is, and no longer, or for as long as a
# message is. The rest has a time of its own.
_KINDS = ("active", "owner", "agent", "share", "queue", "request",
          "academy:lease")


def keys_of(pid: int) -> dict[str, int]:
    """How many keys of each kind an nginx's exchange has."""
    def conf(pid: int) -> str | None:
        found = re.search(r"-c (\S+)", Path(
            f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
        return found and found[1]

    master = re.search(
        r"PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]
    text = Path(conf(pid) or conf(int(master))).read_text()
    prefix = re.search(r"academy_redis .*prefix=([^; ]*)", text)[1]
    found: Counter[str] = Counter()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(shared().socket))
        lines = s.makefile("rwb")

        def ask(*words: str) -> object:
            lines.write(b"*%d\r\n" % len(words) + b"".join(
                b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode())
                for w in words))
            lines.flush()
            return answer()

        def answer() -> object:
            line = lines.readline()
            if line[:1] == b"*":
                return [answer() for _ in range(int(line[1:]))]
            return lines.read(int(line[1:]) + 2)[:-2].decode()

        cursor = "0"
        while True:
            cursor, keys = ask("SCAN", cursor, "MATCH", prefix + "*",
                               "COUNT", "1000")
            found.update(kind for kind in _KINDS for key in keys
                         if key.startswith(f"{prefix}{kind}:"))
            if cursor == "0":
                return dict(found)
