"""Answers that get lost: the client asks again, and what it asked for is done
once."""

import asyncio
import contextlib

import pytest
from academy.exchange import HttpExchangeFactory
from academy.handle import Handle
from academy.identifier import AgentId
from academy_nginx import run
from aiohttp import ClientError

CALLS = 30


class Lossy:
    """A proxy that loses the answers of some PUT requests: it closes the
    client's connection when the exchange has answered."""

    def __init__(self, port, every):
        self.upstream, self.every = port, every
        self.puts = self.lost = 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *rest):
        self.server.close()

    async def serve(self, reader, writer):
        up_reader, up_writer = await asyncio.open_connection(
            "127.0.0.1", self.upstream)
        lose = False

        async def answers():
            while data := await up_reader.read(1 << 16):
                if lose:
                    self.lost += 1
                    writer.transport.abort()
                    break
                writer.write(data)

        answering = asyncio.create_task(answers())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if data.startswith(b"PUT /message"):
                    self.puts += 1
                    lose = self.puts % self.every == 0
                up_writer.write(data)
        # What the client does not wait for, the exchange has all the same.
        up_writer.close()
        answering.cancel()
        writer.close()


def settings(port):
    return {"url": f"http://127.0.0.1:{port}", "retries": 5,
            "initial_retry_backoff": 0.02}


@pytest.mark.nginx_only
def test_lost_answers(exchange, processes, figures):
    """Of requests and of responses, both of the 1.0.0 client."""
    at = exchange(workers=2)

    async def test():
        async with (Lossy(at.port, 3) as user_side,
                    Lossy(at.port, 2) as agent_side):
            counter = AgentId(**await asyncio.to_thread(
                processes.agent, settings(agent_side.port), "Counter"))
            factory = HttpExchangeFactory(**settings(user_side.port))
            async with await factory.create_user_client() as client:
                handle = Handle(counter)
                for n in range(CALLS):
                    assert await asyncio.wait_for(
                        handle.count(), 10) == n + 1
                stats = await client.agent_stats(counter)
            figures(f"{CALLS} calls, {user_side.lost} answers to requests and "
                    f"{agent_side.lost} to responses lost, "
                    f"{stats.completed} run")
            assert user_side.lost >= CALLS // 3
            assert agent_side.lost >= CALLS // 3
            assert (stats.incoming, stats.completed) == (CALLS, CALLS)

    run(test())
    assert processes.live() == 1, processes.errors()


@pytest.mark.nginx_only
def test_lost_answers_without(exchange, processes, figures):
    """Turned off, the action runs twice: the proxy does lose answers."""
    at = exchange(server="academy_deduplicate 0;")

    async def test():
        counter = AgentId(**await asyncio.to_thread(
            processes.agent, at.url, "Counter"))
        async with Lossy(at.port, 1) as proxy:
            factory = HttpExchangeFactory(
                **settings(proxy.port) | {"retries": 1})
            # Its listener could not bear the second response.
            async with await factory.create_user_client(
                    start_listener=False):
                with pytest.raises(ClientError):
                    await asyncio.wait_for(Handle(counter).count(), 10)
                lost = proxy.lost

        async with await HttpExchangeFactory(at.url).create_user_client():
            told = await Handle(counter).tell()
        figures(f"{lost} answers lost, {told} run")
        assert told == lost >= 2

    run(test())
