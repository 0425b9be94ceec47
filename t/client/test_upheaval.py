"""Agents and users who go on working while nginx's workers are killed, while
it is reloaded, and while its binary is replaced.

ACADEMY_KILLS, ACADEMY_RELOADS, ACADEMY_UPGRADES    how many; `make kills` and
                                                    `make reloads` have more
"""

import asyncio
import contextlib
import os
import time

import pytest
from academy.exception import ExchangeError
from academy.exchange import HttpExchangeFactory
from academy.handle import Handle
from academy.identifier import AgentId
from academy_nginx import run
from academy_redis import STORE
from test_kills import Killer

KILLS = int(os.environ.get("ACADEMY_KILLS", 60))
RELOADS = int(os.environ.get("ACADEMY_RELOADS", 30))
UPGRADES = int(os.environ.get("ACADEMY_UPGRADES", 3))

pytestmark = [pytest.mark.nginx_only, pytest.mark.timeout(600)]


async def call(cast, over: asyncio.Event, times: list[float]) -> None:
    """A user's calls: of an agent, and of one that calls another."""
    adder, one, two = cast
    while not over.is_set():
        start = time.monotonic()
        assert await asyncio.wait_for(Handle(adder).add(1, 2), 20) == 3
        assert len(await asyncio.wait_for(
            Handle(one).play(one, two, 3), 20)) == 4
        times.append(time.monotonic() - start)


async def calls(exchange, cast, what) -> list[float]:
    """Four callers, who end when `what` has; how long each round took."""
    async with await HttpExchangeFactory(exchange.url).create_user_client():
        over = asyncio.Event()
        times: list[list[float]] = [[] for _ in range(4)]
        callers = [asyncio.create_task(call(cast, over, t)) for t in times]
        upheaval = asyncio.create_task(asyncio.to_thread(what))
        await asyncio.wait([upheaval, *callers],
                           return_when=asyncio.FIRST_COMPLETED)
        over.set()
        await asyncio.gather(*callers)
        await upheaval
        return sum(times, [])


def start(processes, exchange) -> list[AgentId]:
    return [AgentId(**processes.agent(exchange.url, kind))
            for kind in ("Adder", "Player", "Player")]


def test_kills(exchange, processes, figures):
    """Not a call fails, no agent's process ends."""
    at = exchange(workers=4)
    cast = start(processes, at)
    killer = Killer(at, KILLS)
    killer.start()

    def kill():
        killer.begun.set()
        killer.join()

    times = run(calls(at, cast, kill), 500)
    figures(f"{killer.killed} kills, {len(times) * 5} calls, none failed; "
            f"slowest round {max(times):.2f} s")
    assert processes.live() == 3, processes.errors()


def test_reloads(exchange, processes, figures):
    """Not a call fails, no agent's process ends, no old worker stays."""
    at = exchange(workers=2)
    cast = start(processes, at)
    first = set(at.workers())

    def reload():
        for _ in range(RELOADS):
            at.reload()

    times = run(calls(at, cast, reload), 500)
    figures(f"{RELOADS} reloads, {len(times) * 5} calls, none failed; "
            f"slowest round {max(times):.2f} s")
    assert processes.live() == 3, processes.errors()
    assert not first & set(at.workers())


def test_upgrades(exchange, processes, figures):
    """A new binary has a new zone, where there are zones. All calls are answered until it comes; from
    then on agents and users are to be started anew, and those are served when
    the old nginx has gone."""
    at = exchange(workers=2, daemon=True)
    counts = {when: [0, 0]
              for when in ("before", "with two zones", "after")}

    async def make_calls(adder, when, patience=20):
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            try:
                assert await asyncio.wait_for(
                    Handle(adder).add(1, 2), patience) == 3
                counts[when][0] += 1
            except (TimeoutError, ExchangeError):
                counts[when][1] += 1

    async def upgrade(adder):
        with contextlib.suppress(ExchangeError):
            async with await HttpExchangeFactory(
                    at.url).create_user_client():
                await make_calls(adder, "before")
                new = await asyncio.to_thread(at.upgrade)
                await make_calls(adder, "with two zones", 1)
                await asyncio.to_thread(at.succeed, new)
                await make_calls(adder, "after", 1)

    for _ in range(UPGRADES):
        adder = AgentId(**processes.agent(at.url, "Adder"))
        run(upgrade(adder), 60)
        processes.kill()
        processes.running.clear()

    figures(f"{UPGRADES} upgrades, " + ", ".join(
        f"{good} calls answered and {bad} failed {when}"
        for when, (good, bad) in counts.items()))
    assert counts["before"][0] and counts["before"][1] == 0
    if STORE == "redis":
        # The mailboxes are where they were.
        assert counts["with two zones"][1] == counts["after"][1] == 0
        assert counts["after"][0]
    else:
        assert counts["after"][1] and counts["after"][0] == 0
