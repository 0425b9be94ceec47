"""Requests that outlive their agent: its process is killed with an action half
done, and another one, with the same id, takes its place."""

import asyncio

import pytest
from academy.exchange import HttpExchangeFactory
from academy.handle import Handle
from academy.identifier import AgentId
from academy_nginx import run

TIMEOUT = 2
zone_only = pytest.mark.zone_only("requests are put back in a zone only")
ON = f"academy_redeliver on; academy_agent_timeout {TIMEOUT}s;"

pytestmark = [
    pytest.mark.nginx_only,
    pytest.mark.zone_only("requests are put back in a zone only"),
]


def begun(path):
    return path.read_text().count("begun") if path.exists() else 0


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "setting", [pytest.param("on", marks=zone_only), "off"])
def test_another_in_its_place(exchange, processes, figures, tmp_path, setting):
    at = exchange(workers=2, server=ON if setting == "on" else "")
    path = tmp_path / "work"
    settings = {"url": at.url, "heartbeat_interval": 0.2}

    async def test():
        given = processes.agent(settings, "Worker")
        worker = AgentId(**given)
        async with await HttpExchangeFactory(
                at.url).create_user_client() as client:
            calls = [asyncio.create_task(
                Handle(worker).work(str(path), 1)) for _ in range(3)]
            await until(lambda: begun(path) == 3)
            processes.running[0].kill()
            # Its connection ends, and what it had received stays received.
            await asyncio.sleep(TIMEOUT + 0.5)
            assert (await client.agent_stats(worker)).in_progress == 3

            again = processes.agent(settings | {"agent_id": given}, "Worker")
            assert again == given
            done, waits = await asyncio.wait(calls, timeout=5)
            stats = await client.agent_stats(worker)
            for call in waits:
                call.cancel()
            figures(f"{begun(path)} begun, {len(done)} of 3 answered: "
                    f"{sorted(call.result() for call in done)}")
            assert stats.incoming == 3
            return len(done), stats.completed

    assert run(test()) == ((3, 3) if setting == "on" else (0, 0))
    assert begun(path) == (6 if setting == "on" else 3)


@zone_only
def test_not_while_it_lives(exchange, processes, figures, tmp_path):
    """An action takes longer than silence may, and the agent beats."""
    at = exchange(workers=2, server=ON)
    path = tmp_path / "work"
    settings = {"url": at.url, "heartbeat_interval": 0.2,
                "request_timeout_s": 0.5}

    async def test():
        worker = AgentId(**processes.agent(settings, "Worker"))
        async with await HttpExchangeFactory(at.url).create_user_client():
            assert await asyncio.wait_for(
                Handle(worker).work(str(path), 2.5 * TIMEOUT), 30) == 1
        figures(f"{begun(path)} begun")

    run(test())


@zone_only
def test_reloads_and_deaths_of_workers(exchange, processes, tmp_path):
    """What is kept is the zone's: no worker has it."""
    at = exchange(workers=2, server=ON)
    at.expect(r"exited on signal 9")
    path = tmp_path / "work"
    settings = {"url": at.url, "heartbeat_interval": 0.2}

    async def test():
        given = processes.agent(settings, "Worker")
        worker = AgentId(**given)
        async with await HttpExchangeFactory(
                at.url, retries=5, initial_retry_backoff=0.1
                ).create_user_client():
            call = asyncio.create_task(Handle(worker).work(str(path), 1))
            await until(lambda: begun(path) == 1)
            await asyncio.sleep(0.5)
            processes.running[0].kill()
            await asyncio.to_thread(at.reload)
            for pid in at.workers():
                at.signal(9, pid)
            await asyncio.sleep(TIMEOUT + 0.5)
            processes.agent(settings | {"agent_id": given}, "Worker")
            assert await asyncio.wait_for(call, 20) == 2

    run(test())
    assert begun(path) == 2
