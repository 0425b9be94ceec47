"""Instructions that a put and a get take, by valgrind's callgrind.

    instructions.py MODULE [MODULE]

A single process serves one connection. Messages have sixteen sizes in turn,
for what a size costs depends on how its memory is cut. Two runs of different
lengths are compared, so that starting does not count. With two modules, such as
one without counting and one with it, the difference is said too.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

SHORT, LONG = 480, 2400
SIZES = [20, 50, 77, 100, 150, 201, 250, 313, 400, 555, 800, 1111, 1500, 2000,
         2500, 3001]
CONFIG = """load_module {module};
master_process off;
daemon off;
error_log {dir}/error.log warn;
pid {dir}/pid;
events {{ worker_connections 100; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path b;
    proxy_temp_path p;
    fastcgi_temp_path f;
    uwsgi_temp_path u;
    scgi_temp_path s;
    academy_zone zone=x:16m;
    server {{
        listen 127.0.0.1:{port};
        location / {{ academy_exchange x; }}
    }}
}}
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(sock, stream, method: str, path: str, body: dict) -> None:
    data = json.dumps(body).encode()
    sock.sendall(b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                 % (method.encode(), path.encode(), len(data), data))
    status, length = stream.readline(), 0
    assert b" 200" in status, status
    while (line := stream.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    stream.read(length)


def instructions(module: str, pairs: int) -> int:
    where = Path(tempfile.mkdtemp(prefix="academy-"))
    port = free_port()
    (where / "nginx.conf").write_text(CONFIG.format(
        module=Path(module).absolute(), dir=where, port=port))
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    with (where / "said").open("w") as said:
        process = subprocess.Popen(
            ["valgrind", "--tool=callgrind",
             f"--callgrind-out-file={where}/out", nginx, "-p", where,
             "-c", where / "nginx.conf"], stderr=said)
    try:
        for _ in range(300):
            try:
                sock = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.1)
        stream = sock.makefile("rb")
        box = {"uid": str(uuid.UUID(int=1)), "role": "agent"}
        header = {"src": {"uid": str(uuid.UUID(int=2)), "role": "user"},
                  "dest": box, "label": None, "kind": "response"}
        ask(sock, stream, "POST", "/mailbox", {"mailbox": json.dumps(box)})
        for n in range(pairs):
            tag = {"tag": str(uuid.UUID(int=n + (1 << 64)))}
            ask(sock, stream, "PUT", "/message", {"message": json.dumps(
                {"header": header | tag,
                 "body": "x" * SIZES[n % len(SIZES)]})})
            ask(sock, stream, "GET", "/message",
                {"mailbox": json.dumps(box), "timeout": 1})
    finally:
        process.terminate()
        process.wait(60)
    text = (where / "said").read_text()
    shutil.rmtree(where)
    return int(re.search(r"Collected : (\d+)", text)[1])


def main() -> int:
    found = []
    for module in sys.argv[1:]:
        short, long = (min(instructions(module, n) for _ in range(2))
                       for n in (SHORT, LONG))
        found.append((long - short) / (LONG - SHORT))
        print(f"{module}: {found[-1]:.0f} instructions for a put and a get",
              flush=True)
    if len(found) == 2:
        more = found[1] / found[0] - 1
        print(f"the second takes {more:+.2%}; at most 1 % may be")
        return more > 0.01
    return 0


if __name__ == "__main__":
    sys.exit(main())
