"""Two nginx and a Python exchange on one Redis: agents on each call agents on
the others, and what happens on one is seen on all.

ACADEMY_TOGETHER is the number of calls between agents, 300 unless set.
"""

import asyncio
import contextlib
import os
import signal
import time
import uuid

import pytest
import redis
from academy.exception import (AgentTerminatedError, ForbiddenError,
                               MailboxTerminatedError)
from academy.exchange import HttpExchangeFactory
from academy.handle import Handle
from academy.identifier import AgentId
from academy_nginx import run, wait_until
from agents import Adder, Sleeper
from stage import Processes, reference
from together import REFERENCE, nginx_on, redis_server, three

from scripts import fill, new

CALLS = int(os.environ.get("ACADEMY_TOGETHER", 300))

# What a Python exchange has made is to be found by then.
WITHIN = 10


@pytest.fixture
def processes(tmp_path):
    directory = tmp_path / "processes"
    directory.mkdir()
    started = Processes(directory)
    yield started
    started.kill()


@pytest.mark.timeout(120 + CALLS / 20)
def test_calls(nginx, processes, figures):
    with three(nginx) as (urls, _):
        peers = {name: AgentId(**processes.agent(url, "Peer"))
                 for name, url in urls.items()}
        n = -(-CALLS // 6)
        took = {}

        async def call(name, n):
            others = [peer for other, peer in peers.items() if other != name]
            begin = time.monotonic()
            async with await HttpExchangeFactory(
                    urls[name]).create_user_client():
                right = await Handle(peers[name]).call(name, others, n, 8)
            assert right == 2 * n
            took[name] = time.monotonic() - begin

        async def play():
            await asyncio.gather(*(call(name, n) for name in urls))
            for name, url in urls.items():
                async with await HttpExchangeFactory(
                        url).create_user_client() as client:
                    peer = Handle(peers[name])
                    assert tuple(await peer.tell()) == (2 * n, 0)
                    stats = await client.agent_stats(peers[name])
                    # its answer is on its way when it is counted
                    assert stats.queued == 0
                    assert stats.outgoing == 2 * n
                    assert stats.incoming == 2 * n + 2

        begin = time.monotonic()
        run(play(), 60 + CALLS / 20)
        seconds = time.monotonic() - begin
        figures(f"{6 * n} calls between agents on three exchanges in "
                f"{seconds:.1f} s, none lost, none twice; of {2 * n} calls "
                "each: " + ", ".join(f"by {name}'s in {spent:.1f} s"
                                     for name, spent in took.items()))
        assert processes.live() == 3


GROUP = str(uuid.uuid4())


def factory(url, who):
    return HttpExchangeFactory(
        url, additional_headers={"X-Client": who, "X-Groups": GROUP})


class Users:
    """A user of each client on each exchange."""

    def __init__(self, urls):
        self.urls = urls

    async def __aenter__(self):
        self.stack = contextlib.AsyncExitStack()
        self.of = {}
        self.consoles = []
        for who in "alice", "bob":
            self.of[who] = [
                await self.stack.enter_async_context(
                    await factory(url, who).create_user_client())
                for url in self.urls.values()]
        for url in self.urls.values():
            self.consoles.append(await factory(url, "alice").console())
            self.stack.push_async_callback(self.consoles[-1].close)
        return self

    async def __aexit__(self, *_):
        await self.stack.aclose()


async def there(client, agent):
    """Whether it has a mailbox; no process of its own says that it lives."""
    return (await client.status(agent)).value in ("ACTIVE", "INACTIVE")


async def found(client, kind, agent, within=WITHIN):
    """The seconds until an agent is discovered."""
    begin = time.monotonic()
    async with asyncio.timeout(within):
        while agent not in await client.discover(kind):
            await asyncio.sleep(0.01)
    return time.monotonic() - begin


def test_seen_by_all(nginx, figures):
    """Each exchange in turn is where an agent is registered; it is shared on
    the next one, no longer shared on the one after that, and so on."""
    async def play(urls):
        async with Users(urls) as users:
            alice, bob = users.of["alice"], users.of["bob"]
            late = []
            for i in range(3):
                after, behind = (i + 1) % 3, (i + 2) % 3
                agent = (await alice[i].register_agent(Adder)).agent_id
                for client in alice:
                    assert await there(client, agent)
                for client in bob:
                    with pytest.raises(ForbiddenError):
                        await client.status(agent)
                late.append([await found(client, Adder, agent)
                             for client in alice])

                await users.consoles[after].share_mailbox(
                    agent, uuid.UUID(GROUP))
                for client, console in zip(bob, users.consoles):
                    assert await there(client, agent)
                    assert [str(g) for g in await console.get_shared_groups(
                        agent)] == [GROUP]
                    assert agent in await client.discover(Adder)

                await users.consoles[behind].remove_shared_group(
                    agent, uuid.UUID(GROUP))
                for client in bob:
                    with pytest.raises(ForbiddenError):
                        await client.status(agent)
                    assert agent not in await client.discover(Adder)

                await alice[after].terminate(agent)
                for client in alice:
                    assert (await client.status(agent)).value == "TERMINATED"
                    assert agent not in await client.discover(Adder)
            figures("an agent is discovered after: " + ", ".join(
                f"made on {name}, " + "/".join(f"{each:.2f}" for each in row)
                + " s" for name, row in zip(urls, late)))

    with three(nginx, identity=True) as (urls, _):
        run(play(urls))


def test_made_slowly(nginx):
    """A Python exchange makes a mailbox by several commands, and may take its
    time."""
    async def play(urls, db):
        agent = AgentId.new()
        async with await HttpExchangeFactory(
                urls["two"]).create_user_client() as client:
            for key, value in (
                    ("active:", "ACTIVE"), ("agent:", "m.Slow,m.Base"),
                    ("owner:", "_")):
                assert agent not in await client.discover("m.Base")
                db.set(key + str(agent.uid), value)
                await asyncio.sleep(0.6)
            await found(client, "m.Base", agent)

    if REFERENCE:
        pytest.skip("it has no index")
    with three(nginx) as (urls, socket):
        with redis.Redis(unix_socket_path=socket) as db:
            run(play(urls, db))


def test_terminated(nginx, figures):
    """Requests from all three get their answer when it is terminated on any of
    them, the last one just before; and its listeners end."""
    async def play(urls):
        async with Users(urls) as users:
            alice = users.of["alice"]
            longest = {}
            for i, name in enumerate(urls):
                agent = (await alice[i - 1].register_agent(Sleeper)).agent_id
                calls = [asyncio.create_task(Handle(
                    agent, exchange=client, ignore_context=True).sleep())
                    for client in alice for _ in range(5)]
                while (await alice[i].agent_stats(agent)).incoming < 15:
                    await asyncio.sleep(0.05)
                await alice[i].terminate(agent)
                begin = time.monotonic()
                for call in calls:
                    with pytest.raises(AgentTerminatedError):
                        await asyncio.wait_for(call, WITHIN)
                longest[name] = time.monotonic() - begin
                for client in alice:
                    stats = await client.agent_stats(agent)
                    assert stats.in_progress == 0
            figures("15 open requests were answered after: " + ", ".join(
                f"{spent:.2f} s on {name}" for name, spent in longest.items()))

    with three(nginx, identity=True) as (urls, _):
        run(play(urls))


@pytest.mark.parametrize("place", ["one", "two", "python"])
def test_listeners_end(nginx, place):
    """One listener on each of the nginx, and termination on any exchange."""
    async def play(urls):
        async with Users(urls) as users:
            alice = dict(zip(urls, users.of["alice"]))
            agent = (await alice["one"].register_agent(Adder)).agent_id
            transports = [
                await factory(urls[name], "alice")._create_transport(
                    mailbox_id=agent) for name in ("one", "two")]

            async def listen(transport):
                async for _ in transport.listen(timeout=30):
                    pass

            listening = [asyncio.create_task(listen(t)) for t in transports]
            await asyncio.sleep(0.3)
            assert not any(task.done() for task in listening)
            await alice[place].terminate(agent)
            for task in listening:
                with pytest.raises(MailboxTerminatedError):
                    await asyncio.wait_for(task, 5)
            for transport in transports:
                await transport.close()

    if REFERENCE:
        pytest.skip("the reference ends one listener only")
    with three(nginx, identity=True) as (urls, _):
        run(play(urls))


def test_an_agent_moves(nginx, processes):
    """An agent that was killed goes on, by its id, at another exchange, and
    nothing that was sent meanwhile is lost."""
    async def play(urls):
        async with await HttpExchangeFactory(
                urls["python"]).create_user_client() as client:
            agent = (await client.register_agent(Adder)).agent_id
            early = []
            for name in "one", "two", "one", "python":
                processes.agent({"url": urls[name],
                                 "agent_id": agent.model_dump(mode="json")},
                                "Adder")
                for call in early:
                    assert await asyncio.wait_for(call, 10) == 5
                assert await asyncio.wait_for(Handle(agent).add(1, 2), 10) == 3
                processes.kill()
                processes.running.clear()
                early = [asyncio.create_task(Handle(agent).add(2, 3))
                         for _ in range(10)]
                await asyncio.sleep(0.1)
            for call in early:
                call.cancel()

    if REFERENCE:
        pytest.skip("what the reference has taken for a dead listener is lost")
    with three(nginx) as (urls, _):
        run(play(urls))


@pytest.mark.parametrize("others", [0, 100_000])
def test_another_one_leads(nginx, figures, others):
    """The nginx that did the common work is killed; what a Python exchange
    makes and sends then is seen by the other one in time, however many keys
    that one looks at first."""
    async def play(python, two, kill):
        async with await HttpExchangeFactory(
                python).create_user_client() as client, \
                await HttpExchangeFactory(two).create_user_client() as other:
            agent = (await client.register_agent(Sleeper)).agent_id
            await found(other, Sleeper, agent)
            kill()
            agent = (await client.register_agent(Sleeper)).agent_id
            call = asyncio.create_task(Handle(
                agent, exchange=client, ignore_context=True).sleep())
            # by the clock of a busy machine it takes longer to see all keys
            seen = await found(other, Sleeper, agent, WITHIN * (
                1 + bool(others)))
            async with asyncio.timeout(WITHIN):
                while (await other.agent_stats(agent)).incoming < 1:
                    await asyncio.sleep(0.01)
            await other.terminate(agent)
            with pytest.raises(AgentTerminatedError):
                await asyncio.wait_for(call, 5)
            figures(f"seen {seen:.2f} s later")

    if REFERENCE:
        pytest.skip("it has no leader")
    with contextlib.ExitStack() as stack:
        port, socket = stack.enter_context(redis_server())
        db = stack.enter_context(redis.Redis(unix_socket_path=socket))
        fill(db, [new() for _ in range(others)], "m.Mine,m.Base")
        one = nginx_on(nginx, port)
        wait_until(lambda: db.get("academy:leader"), 10, "nobody leads")
        leader = db.get("academy:leader")
        two = nginx_on(nginx, port)
        stack.callback(two.stop)

        def kill():
            assert db.get("academy:leader") == leader
            pids = [one.process.pid, *one.workers()]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

        python = "http://127.0.0.1:%d" % stack.enter_context(
            reference(60, False, port))
        run(play(python, two.url, kill))
        assert db.get("academy:leader") not in (None, leader)
