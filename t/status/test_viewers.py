"""Who looks: at the same time, in the middle of a reload, and not to the
end."""

import asyncio
import contextlib
import signal
import socket
import time

import pytest
from academy_nginx import (
    ASAN, PATIENCE, Connection, cpu_seconds, run, wait_until)
from exchange import Client, mailbox
from look import STATUS, look


async def fill(port, count):
    async def some(n):
        client = await Client.open(port)
        for _ in range(n):
            await client.request("POST", "/mailbox", {"mailbox": mailbox()})
        client.close()
    await asyncio.gather(*(some(count // 10) for _ in range(10)))


@contextlib.asynccontextmanager
async def at_once(server, query, count):
    """That many clients have asked before the worker sees the first one. It
    does when the block ends; their answers are then in the list."""
    worker, = server.workers()
    clients = [await Connection.open(server.port) for _ in range(count)]
    for client in clients:
        await client.request("GET", "/status?view=history")
    found = []
    server.signal(signal.SIGSTOP, worker)
    try:
        for client in clients:
            client.send("GET", f"/status?{query}")
            await client.writer.drain()
        yield found
    finally:
        server.signal(signal.SIGCONT, worker)
    for client in clients:
        answer = await client.answer()
        assert answer.status == 200
        found.append(answer.json())
        client.close()


@pytest.mark.zone_only("Redis looks in another way")
def test_many_at_once(nginx, figures):
    """Who asks while somebody looks gets what that one finds. It is a look
    at as many buckets as a large zone has, most of them empty."""
    count = 1000
    server = nginx(server=STATUS, zone="1g")

    async def test():
        worker, = server.workers()
        await fill(server.port, count)

        async def cost(query):
            await asyncio.sleep(1.2)
            before = cpu_seconds(worker)
            async with at_once(server, query, 200) as found:
                pass
            return cpu_seconds(worker) - before, found

        listing, pages = await cost("view=mailboxes&limit=1")
        whole, pictures = await cost("format=json")
        figures(f"{count} mailboxes, 200 viewers at once: {whole:.2f} s of "
                f"CPU for the picture, {listing:.2f} s for a table")
        assert {p["total"] for p in pages} == {count}
        assert {p["mailboxes"]["active"] for p in pictures} == {count}
        assert ASAN or whole < listing / 2

    run(test(), 100)


@pytest.mark.zone_only("Redis looks in another way")
def test_reload_while_many_look(nginx):
    """A worker that exits answers first."""
    count = 2000 if ASAN else 8000
    server = nginx(server=STATUS, zone="64m")

    async def test():
        await fill(server.port, count)
        for query in "view=mailboxes", "format=json":
            await asyncio.sleep(1.1)
            async with at_once(server, query, 20) as found:
                server.signal(signal.SIGHUP)
                await asyncio.to_thread(
                    wait_until, lambda: len(server.workers()) == 2, 10,
                    "no new worker")
            assert len(found) == 20
            await asyncio.to_thread(
                wait_until, lambda: len(server.workers()) == 1, 10,
                "the old worker stays")

    run(test(), 100)


def test_client_that_goes_away_from_where_something_is_to_follow(nginx):
    """nginx would redirect its request, and forget that it looks."""
    silent = socket.create_server(("127.0.0.1", 0))
    server = nginx(server="""
        location = /status { academy_status exchange; post_action /after; }
        location = /after { proxy_pass http://127.0.0.1:%d; }
    """ % silent.getsockname()[1])

    async def test():
        before = server.workers()
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /status?view=events HTTP/1.0\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.close()
        await asyncio.sleep(1.5)
        look(server.port)
        assert server.workers() == before

    with silent:
        run(test())


def test_a_picture_a_minute(nginx):
    """A worker that exits does not wait for the next one."""
    server = nginx(server=STATUS)

    async def test():
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port)
        writer.write(
            b"GET /status?view=events&interval=60 HTTP/1.0\r\n\r\n")
        begun = await reader.readuntil(b"\n\n")
        assert b"\r\n\r\ndata: {" in begun
        await asyncio.to_thread(server.reload)
        assert await reader.read() == b""
        writer.close()

    run(test())


def test_a_picture_each_two_seconds(nginx):
    server = nginx(server=STATUS)

    async def test():
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port)
        writer.write(b"GET /status?view=events&interval=2 HTTP/1.0\r\n\r\n")
        await reader.readuntil(b"\n\n")
        begin = time.monotonic()
        for _ in range(2):
            await reader.readuntil(b"\n\n")
        assert 3.5 < time.monotonic() - begin < 4.5 + 2 * PATIENCE
        writer.close()

    run(test())
