"""What a scene is played on: the reference instead of the module, if asked
for, and agents and users in processes of their own."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from academy_nginx import PATIENCE, ROOT, free_port, wait_until

HERE = Path(__file__).resolve().parent

# Whether the test is right is asked of the reference first.
REFERENCE = bool(os.environ.get("ACADEMY_REFERENCE"))

PYTHON = {
    "1.0.0": sys.executable,
    "0.5.0": os.environ.get(
        "ACADEMY_PYTHON_050", str(ROOT / "build/venv-0.5.0/bin/python")),
}


def proxy(port, pieces):
    """A location that passes everything on, without the prefix."""
    slash = "" if pieces.get("prefix", "/") == "/" else "/"
    return (f"proxy_pass http://127.0.0.1:{port}{slash};"
            "proxy_http_version 1.1; proxy_buffering off;"
            "client_max_body_size 4m;")


@contextlib.contextmanager
def reference(listen_timeout, identity, redis=None):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, HERE / "reference.py", str(port), str(listen_timeout),
         "identity" if identity else "nobody", *([str(redis)] * bool(redis))],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def listens():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, 20, "the reference does not listen")
        yield port
    finally:
        process.kill()
        process.wait(10)


class Processes:
    """Agents and users in processes of their own."""

    def __init__(self, directory):
        self.directory = directory
        self.running = []

    def agent(self, settings, kind, version="1.0.0"):
        """Starts an agent and waits until it runs; its id, as JSON has it."""
        return self._id(self._start("agent", settings, kind, version))

    def user(self, settings, ids, version="1.0.0"):
        """Plays the user's scene to its end; what the user saw."""
        process = self._start("user", settings, json.dumps(ids), version)
        out, _ = process.communicate(timeout=90 * PATIENCE)
        self.running.remove(process)
        assert process.returncode == 0, self.errors()
        return json.loads(out)

    def cast(self, settings, version="1.0.0"):
        """The agents that the scene needs."""
        kinds = {"adder": "Adder", "one": "Player", "two": "Player",
                 "sleeper": "Sleeper"}
        started = {name: self._start("agent", settings, kind, version)
                   for name, kind in kinds.items()}
        return {name: self._id(p) for name, p in started.items()}

    def live(self):
        """How many of the agents have not ended."""
        return sum(p.poll() is None for p in self.running)

    def errors(self):
        """What all of them have complained about."""
        return "".join(f.read_text() for f in self.directory.glob("stderr.*"))

    def _id(self, process):
        line = process.stdout.readline()
        assert line, self.errors()
        return json.loads(line)

    def _start(self, what, settings, argument, version):
        if isinstance(settings, str):
            settings = {"url": settings}
        name = self.directory / f"stderr.{len(list(self.directory.iterdir()))}"
        process = subprocess.Popen(
            [PYTHON[version], HERE / "process.py", what, json.dumps(settings),
             argument], stdout=subprocess.PIPE, stderr=name.open("w"))
        self.running.append(process)
        return process

    def kill(self):
        for process in self.running:
            process.kill()
            process.wait(10)
            process.stdout.close()
