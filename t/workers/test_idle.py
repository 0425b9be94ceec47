"""Ten thousand listeners that have nothing to do."""

import json
import os
import resource
import socket
import time

from academy_nginx import (
    ASAN,
    PATIENCE,
    cpu_seconds,
    resident_bytes,
    run,
)
from academy_redis import STORE
from exchange import Client, message

STREAMS = int(os.environ.get("ACADEMY_STREAMS", 1000 if ASAN else 10_000))


def test_idle_streams_cost_nothing(nginx, figures):
    """No CPU, and a message to each of them arrives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(STREAMS, hard - 200)
    server = nginx(
        workers=2, zone="64m", connections=count + 200,
        main=f"worker_rlimit_nofile {count + 1000};",
        http="academy_ping_interval 1h;")
    before = sum(map(resident_bytes, server.workers()))

    async def boxes():
        client = await Client.open(server.port)
        made = [await client.new() for _ in range(count)]
        client.close()
        return made

    mailboxes = run(boxes())
    sockets = []
    try:
        for box in mailboxes:
            sockets.append(listening(server.port, box))
        for sock in sockets:
            read_until(sock, b"retry:")

        each = (sum(map(resident_bytes, server.workers())) - before) / count
        used = sum(map(cpu_seconds, server.workers()))
        time.sleep(5)
        used = sum(map(cpu_seconds, server.workers())) - used

        async def to_all():
            client = await Client.open(server.port)
            for n, box in enumerate(mailboxes):
                await client.request(
                    "PUT", "/message", {"message": message(box, n)})
            client.close()

        start = time.monotonic()
        run(to_all())
        for n, sock in enumerate(sockets):
            assert b'"body": %d}' % n in read_until(sock, b"}\n\n")
        took = time.monotonic() - start
        figures(f"{count} parked streams, {used:.2f} s of CPU in 5 s, "
                f"{each / 1024:.1f} KB of the workers' own memory each; "
                f"a message to each in {took:.1f} s")
        # The kernel counts in hundredths of a second.
        # On Redis each worker says once a second that it lives.
        assert used <= (0.08 if STORE == "redis" else 0.03) * PATIENCE
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def listening(port, box):
    body = json.dumps({"mailbox": box, "timeout": 60}).encode()
    sock = socket.create_connection(("127.0.0.1", port), 10 * PATIENCE)
    sock.sendall(b"GET /mailbox/listen HTTP/1.1\r\nHost: x\r\n"
                 b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    return sock


def read_until(sock, mark):
    data = b""
    while mark not in data:
        part = sock.recv(4096)
        assert part, f"the stream ended: {data!r}"
        data += part
    return data
