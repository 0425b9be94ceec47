"""What 1.0.0 clients rely on, one thing at a time. The user is this process,
the agents have their own."""

import asyncio
import time

import pytest
from academy.exception import (
    AgentInactiveError,
    AgentTerminatedError,
    BadEntityIdError,
    MailboxTerminatedError,
)
from academy.exchange import HttpExchangeFactory
from academy.exchange.client_config import ExchangeClientConfig
from academy.handle import Handle
from academy.identifier import AgentId
from academy.manager import Manager
from academy.message import ActionRequest, Message, PingRequest
from academy_nginx import run
from aiohttp import ClientResponseError
from agents import Adder, LoudAdder, Player, Sleeper


def user(exchange, **settings):
    return HttpExchangeFactory(exchange.url, **settings).create_user_client()


def agent_id(given):
    return AgentId(**given)


async def until(condition, seconds=5):
    """Waits for something that another process does."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


# ------------------------------------------------------------------ discovery


def test_discovery(exchange, processes):
    at = exchange(workers=2)
    adder = agent_id(processes.agent(at.url, "Adder"))
    loud = agent_id(processes.agent(at.url, "LoudAdder"))
    finder = agent_id(processes.agent(at.url, "Finder"))

    async def test():
        async with await user(at) as client:
            async def find(*args, **kwargs):
                return set(await client.discover(*args, **kwargs))

            assert await find(Adder) == {adder, loud}
            assert await find(Adder, allow_subclasses=False) == {adder}
            assert await find(LoudAdder) == {loud}
            assert await find("agents.Adder") == {adder, loud}
            assert await find("Adder") == set()
            assert await find(Sleeper) == set()
            assert await find("academy.agent.Agent") == {adder, loud, finder}
            assert await find(
                "academy.agent.Agent", allow_subclasses=False) == set()

            # An agent looks for others as a user does.
            assert await Handle(finder).find("agents.Adder", False) == [
                str(adder.uid)]

            await client.terminate(loud)
            assert await find(Adder) == {adder}
            # Who is gone does not come back.
            assert await find(LoudAdder) == set()

    run(test())


def test_discovered_agent_is_called(exchange, processes):
    """An id out of discovery has no name, and is the same agent."""
    at = exchange()
    processes.agent(at.url, "Adder")

    async def test():
        async with await user(at) as client:
            (found,) = await client.discover(Adder)
            assert await Handle(found).add(20, 22) == 42

    run(test())


# ---------------------------------------------------------------- termination


def test_terminate_while_requests_are_worked_on(exchange, processes):
    at = exchange(workers=2)
    sleeper = agent_id(processes.agent(at.url, "Sleeper"))

    async def test():
        async with await user(at) as one, await user(at) as two:
            calls = [
                asyncio.create_task(
                    Handle(sleeper, exchange=u, ignore_context=True).sleep())
                for u in (one, two) for _ in range(5)]

            async def all_taken():
                return (await one.agent_stats(sleeper)).in_progress == 10

            await until(all_taken)
            # Neither of the two who wait ends it, but a third.
            async with await user(at) as three:
                await three.terminate(sleeper)
            for call in calls:
                with pytest.raises(MailboxTerminatedError) as e:
                    await asyncio.wait_for(call, 5)
                assert e.value.uid == sleeper

    run(test())


def test_terminate_while_requests_are_queued(exchange):
    """No process has ever listened on this mailbox."""
    at = exchange(workers=2)

    async def test():
        async with await user(at) as client:
            nobody = (await client.register_agent(Sleeper)).agent_id
            handle = Handle(nobody)
            calls = [asyncio.create_task(handle.sleep()) for _ in range(5)]

            async def all_there():
                return (await client.agent_stats(nobody)).queued == 5

            await until(all_there)
            await client.terminate(nobody)
            for call in calls:
                with pytest.raises(AgentTerminatedError):
                    await asyncio.wait_for(call, 5)

    run(test())


def test_terminated_mailbox_refuses(exchange):
    at = exchange()

    async def test():
        async with await user(at) as client:
            gone = (await client.register_agent(Sleeper)).agent_id
            await client.terminate(gone)
            with pytest.raises(AgentTerminatedError):
                await Handle(gone).ping(timeout=5)
            with pytest.raises(MailboxTerminatedError):
                await client.heartbeat_status(gone)
            # To end it twice, or to end nobody, is no error.
            await client.terminate(gone)
            await client.terminate(AgentId.new())
            with pytest.raises(BadEntityIdError):
                await Handle(AgentId.new()).ping(timeout=5)

    run(test())


def test_agent_ends_on_request(exchange, processes):
    """Handle.shutdown(): the agent answers, terminates its mailbox, exits."""
    at = exchange()
    given = processes.agent(at.url, "Adder")

    async def test():
        async with await user(at) as client:
            await Handle(agent_id(given)).shutdown()

            async def ended():
                return (await client.status(agent_id(given))
                        ).value == "TERMINATED"

            await until(ended, 10)

    run(test())
    assert processes.running[0].wait(10) == 0


def test_user_leaves(exchange):
    """A user's mailbox ends with the user."""
    at = exchange()

    async def test():
        async with await user(at) as stays:
            async with await user(at) as leaves:
                async def active():
                    return (await stays.status(leaves.client_id)
                            ).value == "ACTIVE"

                await until(active)
            assert (await stays.status(leaves.client_id)
                    ).value == "TERMINATED"

    run(test())


def test_listener_of_a_terminated_mailbox_ends(exchange):
    """The stream ends, the next one is refused with 419: the client's listen
    raises at once, it does not wait for its timeout."""
    at = exchange(workers=2)

    async def test():
        factory = HttpExchangeFactory(at.url)
        async with await user(at) as client:
            registration = await client.register_agent(Sleeper)
            transport = await factory._create_transport(registration.agent_id)

            received = asyncio.Queue()

            async def listen():
                async for message in transport.listen():
                    received.put_nowait(message)

            listening = asyncio.create_task(listen())

            # What comes through it shows that the stream is open.
            await client.send(Message.create(
                src=client.client_id, dest=registration.agent_id,
                body=PingRequest()))
            await asyncio.wait_for(received.get(), 5)
            await client.terminate(registration.agent_id)
            with pytest.raises(MailboxTerminatedError):
                await asyncio.wait_for(listening, 5)
            await transport.close()

    run(test())


# ------------------------------------------------- heartbeat, status and stats


def test_heartbeat_and_status(exchange, processes):
    at = exchange(workers=2)
    settings = {"url": at.url, "heartbeat_interval": 0.2}
    running = agent_id(processes.agent(settings, "Adder"))
    config = ExchangeClientConfig(
        heartbeat_interval=0.2, stale_heartbeat_threshold=5)

    async def test():
        async with await user(at, config=config) as client:
            unborn = (await client.register_agent(Adder)).agent_id

            async def status(of):
                return (await client.status(of)).value

            async def beaten():
                return await client.heartbeat_status(running) is not None

            await until(beaten)
            assert await status(running) == "ACTIVE"
            assert 0 <= await client.heartbeat_status(running) < 1
            assert await status(unborn) == "INACTIVE"
            assert await client.heartbeat_status(unborn) is None
            assert await status(AgentId.new()) == "MISSING"

            # It beats again and again: its age falls back.
            age = 0.0

            async def younger():
                nonlocal age
                before, age = age, await client.heartbeat_status(running)
                return age < before

            for _ in range(3):
                await until(younger)

            handle = Handle(running, polling_interval=0.1,
                            reject_on_inactive=True)
            assert await handle.add(1, 1) == 2
            processes.running[0].kill()

            async def inactive():
                return await status(running) == "INACTIVE"

            await until(inactive, 10)
            with pytest.raises(AgentInactiveError):
                async with asyncio.timeout(10):
                    while True:
                        await handle.agent_status()
                        await asyncio.wait_for(handle.add(1, 1), 1)
            handle.reject_on_inactive = False

            await client.terminate(running)
            assert await status(running) == "TERMINATED"

    run(test())


def test_stats(exchange, processes):
    at = exchange(workers=2)
    adder = agent_id(processes.agent(at.url, "Adder"))
    sleeper = agent_id(processes.agent(at.url, "Sleeper"))
    player = agent_id(processes.agent(at.url, "Player"))

    async def test():
        async with await user(at) as client:
            async def stats(of):
                s = await client.agent_stats(of)
                return (s.incoming, s.outgoing, s.completed, s.in_progress,
                        s.queued)

            async def stays(of, *expected):
                async def there():
                    return await stats(of) == expected
                await until(there)

            assert await stats(adder) == (0, 0, 0, 0, 0)
            for n in range(3):
                await Handle(adder).add(n, n)
            assert await stats(adder) == (3, 0, 3, 0, 0)
            await Handle(player).ask(adder, 1, 2)
            assert await stats(adder) == (4, 0, 4, 0, 0)
            assert await stats(player) == (1, 1, 1, 0, 0)
            assert (await stats(client.client_id))[1] == 4

            call = asyncio.create_task(Handle(sleeper).sleep())
            await stays(sleeper, 1, 0, 0, 1, 0)
            call.cancel()
            # The cancel is a request as well, and both are answered.
            await stays(sleeper, 2, 0, 2, 0, 0)

            nobody = (await client.register_agent(Adder)).agent_id
            for _ in range(2):
                await client.send(Message.create(
                    src=client.client_id, dest=nobody, body=PingRequest()))
            assert await stats(nobody) == (2, 0, 0, 0, 2)
            await client.terminate(nobody)
            assert await stats(nobody) == (0, 0, 0, 0, 0)
            assert await stats(AgentId.new()) == (0, 0, 0, 0, 0)

    run(test())


# ------------------------------------------------------------------- messages


def test_message_at_the_limit(exchange):
    """A message of almost 512 KiB passes, and the client's reader takes it; one
    above is refused, and the caller is told."""
    at = exchange()
    limit = 512 * 1024

    async def test():
        async with await user(at, retries=0) as client:
            registration = await client.register_agent(Adder)

            def request(size):
                def build(fill):
                    return Message.create(
                        src=client.client_id, dest=registration.agent_id,
                        body=ActionRequest(action="length", kargs="",
                                           pargs="x" * fill,
                                           serialization="json"))
                return build(size - len(build(0).model_dump_json()))

            transport = await HttpExchangeFactory(at.url)._create_transport(
                registration.agent_id)
            message = request(limit - 1024)
            await client.send(message)
            async for received in transport.listen(timeout=10):
                assert received.tag == message.tag
                assert received.body["pargs"] == message.body.pargs
                break
            with pytest.raises(ClientResponseError) as e:
                await client.send(request(limit + 1024))
            assert e.value.status == 413
            # And the connection is good for the next.
            await client.send(request(1000))
            await transport.close()

    run(test())


def test_order(exchange, processes):
    """What one client sends to a mailbox comes in that order."""
    at = exchange(workers=2)

    async def test():
        async with await user(at) as client:
            registration = await client.register_agent(Adder)
            transport = await HttpExchangeFactory(at.url)._create_transport(
                registration.agent_id)
            sent = []
            for _ in range(200):
                message = Message.create(
                    src=client.client_id, dest=registration.agent_id,
                    body=PingRequest())
                await client.send(message)
                sent.append(message.tag)
            received = []
            async for message in transport.listen(timeout=10):
                received.append(message.tag)
                if len(received) == len(sent):
                    break
            assert received == sent
            await transport.close()

    run(test())


def test_calls_go_on_over_the_ends_of_streams(exchange, processes, figures):
    """Streams that end every second, as the agent asks: no call notices."""
    at = exchange(workers=2, listen_timeout=1)
    settings = {"url": at.url, "request_timeout_s": 1}
    adder = agent_id(processes.agent(settings, "Adder"))

    async def test():
        async with await user(at, request_timeout_s=1):
            handle = Handle(adder)
            end = time.monotonic() + 5
            times = []
            while time.monotonic() < end:
                # A pause now and then lets the streams run into their timeout,
                # and the next call into the moment between two of them.
                await asyncio.sleep(1.03 if len(times) % 20 == 19 else 0)
                start = time.monotonic()
                assert await asyncio.wait_for(handle.add(1, 2), 10) == 3
                times.append(time.monotonic() - start)
            return times

    times = run(test())
    assert processes.live() == 1
    figures(f"{len(times)} calls, slowest {max(times) * 1000:.0f} ms")


def test_manager_with_agents_in_this_process(exchange):
    """Manager.launch, as the documentation of Academy begins."""
    at = exchange(workers=2)

    async def test():
        async with await Manager.from_exchange_factory(
                HttpExchangeFactory(at.url)) as manager:
            adder = await manager.launch(Adder)
            one = await manager.launch(Player)
            two = await manager.launch(Player)
            assert await adder.add(1, 2) == 3
            assert len(await one.play(one.agent_id, two.agent_id, 9)) == 10
            # `wait` is over when the agent has shut itself down.
            await manager.shutdown(adder, blocking=True)
            with pytest.raises(AgentTerminatedError):
                await adder.add(1, 2)

    run(test())


# ------------------------------------------------------- what happens to nginx


@pytest.mark.nginx_only
def test_reloads_go_unnoticed(exchange, processes, figures):
    """An agent and its callers live through reloads: the calls are answered,
    the agent's process does not end."""
    at = exchange(workers=2)
    cast = [agent_id(processes.agent(at.url, kind))
            for kind in ("Adder", "Player", "Player")]

    async def test():
        async with await user(at) as client:
            async def call(times):
                adder, one, two = (Handle(aid) for aid in cast)
                while len(times) < reloads * 10 or not over.is_set():
                    start = time.monotonic()
                    assert await adder.add(1, 2) == 3
                    assert len(await one.play(
                        cast[1], cast[2], 3)) == 4
                    times.append(time.monotonic() - start)

            reloads = 10
            over = asyncio.Event()
            times = [[] for _ in range(4)]
            callers = [asyncio.create_task(call(t)) for t in times]
            for _ in range(reloads):
                await asyncio.to_thread(at.reload)
                await asyncio.sleep(0.1)
            over.set()
            await asyncio.wait_for(asyncio.gather(*callers), 60)
            assert (await client.status(cast[0])).value == "ACTIVE"
            return sum(times, [])

    times = run(test(), 90)
    assert processes.live() == 3, processes.errors()
    figures(f"{len(times)} rounds over 10 reloads, slowest "
            f"{max(times):.2f} s")


@pytest.mark.nginx_only
def test_killed_worker_costs_no_agent(exchange, processes):
    """SIGKILL cuts every stream of the worker; its agents listen again."""
    at = exchange(workers=2)
    at.expect(r"exited on signal 9")
    adders = [agent_id(processes.agent(at.url, "Adder")) for _ in range(3)]

    async def test():
        async with await user(at):
            for _ in range(2):
                for worker in at.workers():
                    at.signal(9, worker)
                for adder in adders:
                    assert await asyncio.wait_for(
                        Handle(adder).add(1, 2), 20) == 3

    run(test())
    assert processes.live() == 3, processes.errors()
