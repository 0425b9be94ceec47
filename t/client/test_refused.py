"""Agents and users that are refused with 429 and 503 ask again by themselves,
and their calls get through when there is room. The client of 1.0.0 obeys a
backoff of its own that doubles, not Retry-After, and does so `retries` times.
test_bounds.py has single messages."""

import asyncio
import collections

import aiohttp
import pytest
from academy.exchange import HttpExchangeFactory
from academy.exchange.cloud import client as cloud
from academy.handle import Handle
from academy.message import Message, PingRequest
from academy_nginx import PATIENCE, run
from agents import Adder, Counter

pytestmark = pytest.mark.nginx_only

CALLS = 24

# The waits of many that were refused together end together: as many get
# through each time as there is room for.
BOUND = 10

# Tried for ten seconds in all.
PATIENT = {"retries": 9, "initial_retry_backoff": 0.02}


@pytest.fixture
def refused(monkeypatch):
    """How often the client found a status that it asks again for."""
    counts = collections.Counter()
    is_transient = cloud._is_transient_error

    def counting(error):
        if isinstance(error, aiohttp.ClientResponseError):
            counts[error.status] += 1
            if error.status in (429, 503):
                # The first of its waits is as long, unless it is told else.
                assert error.headers["Retry-After"] == "1"
        return is_transient(error)

    monkeypatch.setattr(cloud, "_is_transient_error", counting)
    return counts


async def until(condition):
    async with asyncio.timeout(10 * PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def transport(at, **settings):
    """What is below the client, without a listener of its own."""
    return await HttpExchangeFactory(
        at.url, **settings)._create_transport()


async def put_aside(at):
    """An agent that does not run yet, with a mailbox."""
    there = await transport(at)
    registration = await there.register_agent(Counter)
    await there.close()
    return registration.agent_id


async def call_and_start(at, processes, refused, status, agent, room):
    """Many call at once, more than there is room for; then there is some."""
    factory = HttpExchangeFactory(at.url, **PATIENT)
    async with await factory.create_user_client() as client:
        handle = Handle(agent)
        calls = [asyncio.create_task(handle.count()) for _ in range(CALLS)]
        await until(lambda: refused[status] >= CALLS // 2)
        assert not any(call.done() for call in calls)
        await room()
        settings = {"url": at.url, "agent_id": agent.model_dump(mode="json"),
                    **PATIENT}
        await asyncio.to_thread(processes.agent, settings, "Counter")
        answers = await asyncio.wait_for(
            asyncio.gather(*calls), 20 * PATIENCE)
        stats = await client.agent_stats(agent)
    assert sorted(answers) == list(range(1, CALLS + 1))
    assert (stats.incoming, stats.completed, stats.queued) == (CALLS, CALLS, 0)
    assert processes.live() == 1, processes.errors()


def test_messages(exchange, processes, figures, refused):
    at = exchange(workers=2, server=f"academy_mailbox_messages {BOUND};")

    async def nothing():
        pass

    async def test():
        await call_and_start(at, processes, refused, 429,
                             await put_aside(at), nothing)

    run(test())
    figures(f"{CALLS} calls, {refused[429]} answers 429 to requests; "
            "none lost, none doubled")


@pytest.mark.zone_only("about a zone's memory")
def test_full_zone(exchange, processes, figures, refused):
    at = exchange(workers=2, zone="2m")

    async def test():
        agent, stuffed = await put_aside(at), await put_aside(at)
        there = await transport(at, retries=0)
        stuffing = 0
        for size in (100_000, 3000, 10):
            while True:
                message = Message.create(
                    there.mailbox_id, stuffed, PingRequest())
                text = message.model_dump_json()[:-1] + ',"stuff":"%s"}' % (
                    "x" * size)
                async with there._session.put(
                        there._message_url, json={"message": text}) as answer:
                    if answer.status != 200:
                        break
                stuffing += 1

        async def room():
            await there.terminate(stuffed)
            await there.close()

        await call_and_start(at, processes, refused, 503, agent, room)
        figures(f"{stuffing} messages fill the zone; {CALLS} calls, "
                f"{refused[503]} answers 503; none lost, none doubled")

    run(test())


@pytest.mark.zone_only("in Redis to be asked about is no use")
def test_mailboxes(nginx, figures, refused):
    """An agent's is asked for again. A user's is not, by this client."""
    at = nginx(workers=2, http="academy_gravestone_expiry 1s;",
               server="academy_client_mailboxes 3;")

    async def test():
        there = await transport(at, **PATIENT)
        first = await there.register_agent(Adder)
        second = await there.register_agent(Adder)

        async def use():
            while True:
                await there.update_heartbeat()
                await there.agent_stats(second.agent_id)
                await asyncio.sleep(0.2)

        using = asyncio.create_task(use())
        with pytest.raises(aiohttp.ClientResponseError) as error:
            await transport(at, **PATIENT)
        assert error.value.status == 429
        waits = asyncio.create_task(there.register_agent(Adder))
        await until(lambda: refused[429] >= 3)
        assert not waits.done()
        # Its gravestone counts until it expires.
        await there.terminate(first.agent_id)
        agent = (await asyncio.wait_for(waits, 10 * PATIENCE)).agent_id
        assert set(await there.discover(Adder)) == {agent, second.agent_id}
        using.cancel()
        figures(f"{refused[429]} answers 429 until there was room")
        await there.close()

    run(test())


def test_it_gives_up(exchange, figures, refused):
    """What a client gets that does not ask often enough: an error, and
    nothing of its message is there."""
    at = exchange(workers=2, server="academy_mailbox_messages 3;")

    async def test():
        agent = await put_aside(at)
        there = await transport(at, retries=1, initial_retry_backoff=0.01)
        done = 0
        for n in range(6):
            message = Message.create(there.mailbox_id, agent, PingRequest())
            if n < 3:
                await there.send(message)
                continue
            with pytest.raises(aiohttp.ClientResponseError) as error:
                await there.send(message)
            assert error.value.status == 429
            done += 1
        stats = await there.agent_stats(agent)
        assert stats.queued == 3 and stats.incoming == 3
        figures(f"{done} given up after {refused[429]} answers 429, "
                f"{stats.queued} stored")
        await there.close()

    run(test())
