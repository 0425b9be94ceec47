"""What the logs say of messages: academy_log_deliveries, and the access log of
a client that goes while it waits or before it has all."""

import asyncio
import json
import re

import pytest
from academy_nginx import run, wait_until
from exchange import Client, deaf, left, mailbox, message
from h2client import Http2

FORMAT = """
    log_format said '$academy_route|$academy_result|$academy_message_tag|'
                    '$academy_message_size|$academy_wait_time';
"""

LOGGED = dict(
    http=FORMAT, server="access_log access.log said;",
    # Who asks too early finds nothing, and spoils nothing for the log.
    location="academy_log_deliveries on;"
             'set $early "$academy_result$academy_message_tag'
             '$academy_message_size$academy_wait_time";')


def access(server):
    return [tuple(line.split("|")) for line in
            (server.dir / "access.log").read_text().splitlines()
            if not line.startswith("-|")]


def told(server):
    """What the error log says: what became of which message."""
    return re.findall(r"\[notice\] .*message (\w+), tag: (\S+),", server.log())


def messages(box, n, size=10):
    """Their tags and the bodies of n requests that send them."""
    texts = [message(box, "x" * size) for _ in range(n)]
    return ([json.loads(text)["header"]["tag"] for text in texts],
            [{"message": text} for text in texts])


async def put(client, bodies):
    for body in bodies:
        assert (await client.request("PUT", "/message", body)).status == 200


def test_off(nginx):
    """By itself the error log says nothing of messages."""
    server = nginx()

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        await put(client, messages(box, 3)[1])
        stream = await (await Client.open(server.port)).stream(box)
        for _ in range(3):
            await stream.next()
        stream.close()
        client.close()

    run(test())
    assert "message" not in server.log()


@pytest.mark.parametrize("kind", ["http", "tls", "h2"])
def test_stream(nginx, kind):
    """Each message of a stream is sent and delivered, in order, and the access
    log has one line of it."""
    server = nginx(**LOGGED, tls=kind != "http",
                   listen=" http2" if kind == "h2" else "")
    tls = server.client_tls()
    box = mailbox()
    tags, bodies = messages(box, 20)

    async def http():
        client = await Client.open(server.port, tls=tls)
        await client.create(box)
        stream = await (await Client.open(server.port, tls=tls)).stream(box)
        await put(client, bodies)
        got = [await stream.next() for _ in tags]
        stream.close()
        client.close()
        return got

    async def h2():
        client = await Http2.open(server.port, tls)
        await client.request("POST", "/mailbox", {"mailbox": box})
        stream = client.start("GET", "/mailbox/listen", {"mailbox": box})
        await put(client, bodies)
        got = [await stream.event() for _ in tags]
        wait_until(lambda: len(told(server)) == 40, 10, "not all is told")
        await client.close()
        return got

    got = run(h2() if kind == "h2" else http())
    assert [json.loads(text)["header"]["tag"] for text in got] == tags
    for what in ("sent", "delivered"):
        wait_until(lambda: [t for w, t in told(server) if w == what] == tags,
                   10, f"not each is {what}")
    assert len(told(server)) == 2 * len(tags)
    wait_until(lambda: ("GET /mailbox/listen", "stream", "-", "-", "-")
               in access(server), 10, "the stream is not in the log")


def test_gone(nginx):
    """Who went while it waited, and who never took all of a message: that
    returns, and is another's then."""
    server = nginx(**LOGGED, listen=" sndbuf=16k")

    async def test():
        client = await Client.open(server.port)
        box = await client.new()
        waiter = await Client.open(server.port)
        waiter.send_get(box)
        await asyncio.sleep(0.3)
        waiter.close()
        await left(waiter)
        wait_until(lambda: any(line[1] == "gone" for line in access(server)),
                   10, "nobody has gone")

        (tag,), bodies = messages(box, 1, 400_000)
        await put(client, bodies)
        for path, words in [("/message", 1), ("/mailbox/listen", 2)]:
            sock = deaf(server.port, "GET", path, box)
            await asyncio.sleep(0.3)
            sock.close()
            wait_until(lambda: len(told(server)) == words, 10,
                       f"it has not returned: {path}")
        assert told(server) == [("returned", tag)] * 2
        assert (await client.get(box)).status == 200
        client.close()
        return tag, len(bodies[0]["message"])

    tag, size = run(test())
    wait_until(lambda: len(told(server)) == 3, 10, "it was not delivered")
    assert told(server)[-1] == ("delivered", tag)
    lines = [line for line in access(server) if line[0] == "GET /message"]
    assert [line[1] for line in lines] == ["gone", "returned", "delivered"]
    assert 0.25 < float(lines[0][4]) < 5, lines[0]
    assert lines[1][2:4] == lines[2][2:4] == (tag, str(size))
