"""One process and no master: a reload goes on in the same process."""

import json
import signal
import socket

from academy_nginx import PATIENCE, run, wait_until
from exchange import Client, taken

FAILED = "still could not bind"


def test_a_reload_that_fails_changes_nothing(nginx, figures):
    """The new configuration is read, its zones are attached to, and then a
    port is taken: all that was made for it is freed again."""
    server = nginx(workers=0, main="master_process off;")
    server.expect(r"bind\(\) to .* failed", FAILED)

    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        port = taker.getsockname()[1]
        server.change(servers=f"server {{ listen 127.0.0.1:{port}; }}")

        async def test():
            sender = await Client.open(server.port)
            waiter = await Client.open(server.port)
            box = await sender.new()
            waiter.send_get(box, 30)
            stream = await (await Client.open(server.port)).stream(
                other := await sender.new())
            for _ in range(2):
                server.signal(signal.SIGHUP)
                seen = server.log().count(FAILED)
                wait_until(
                    lambda: server.log().count(FAILED) > seen
                    or server.process.poll() is not None,
                    20 * PATIENCE, "the reload does not fail")
            # its sweep, every second, is the first to look
            start = await sender.stats(box)
            await sender.put(box, "after")
            assert taken(await waiter.answer()) == "after"
            await sender.put(other, "after")
            event = await stream.next()
            assert json.loads(event)["body"] == "after"
            await sender.terminate(other)
            await sender.terminate(box)
            figures(f"{start} before, delivered after two reloads that failed")

        run(test())
