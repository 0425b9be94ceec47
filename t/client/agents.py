"""The agents of these tests. Both academy-py 1.0.0 and 0.5.0 run them."""

import asyncio

from academy.agent import Agent, action
from academy.handle import Handle


class Adder(Agent):
    """Computes, alone."""

    @action
    async def add(self, a, b):
        return a + b

    @action
    async def fail(self, text):
        raise ValueError(text)

    @action
    async def echo(self, value):
        return value

    @action
    async def length(self, value):
        return len(value)


class Counter(Agent):
    """Counts how often it was asked to."""

    def __init__(self):
        super().__init__()
        self.counted = 0

    @action
    async def count(self):
        self.counted += 1
        return self.counted

    @action
    async def tell(self):
        return self.counted


class Worker(Agent):
    """Notes each piece of work that it begins, in a file."""

    @action
    async def work(self, path, seconds):
        with open(path, "a") as f:
            f.write("begun\n")
        await asyncio.sleep(seconds)
        with open(path) as f:
            return f.read().count("begun")


class LoudAdder(Adder):
    """For discovery: a class below another one."""


class Player(Agent):
    """Calls a peer, which calls back, and so on."""

    @action
    async def play(self, me, peer, balls):
        if balls == 0:
            return [str(me.uid)]
        answer = await Handle(peer).play(peer, me, balls - 1)
        return [str(me.uid), *answer]

    @action
    async def ask(self, adder, a, b):
        return await Handle(adder).add(a, b)


class Peer(Agent):
    """Calls others, many times, and notes by whom it was called."""

    def __init__(self):
        super().__init__()
        self.heard = []

    @action
    async def answer(self, caller, n):
        self.heard.append((caller, n))
        return n + 1

    @action
    async def call(self, name, others, n, at_once):
        """Calls each of the others n times; how many answers were right."""
        calls = [(Handle(other), i) for i in range(n) for other in others]
        right = 0

        async def caller():
            nonlocal right
            while calls:
                handle, i = calls.pop()
                answer = await handle.answer(name, i)
                right += answer == i + 1

        await asyncio.gather(*(caller() for _ in range(at_once)))
        return right

    @action
    async def tell(self):
        """How often it was called, and how often by the same call."""
        return len(self.heard), len(self.heard) - len(set(self.heard))


class Sleeper(Agent):
    """Takes a request in and never answers it."""

    @action
    async def sleep(self):
        await asyncio.Event().wait()


class Finder(Agent):
    """Looks for others by itself."""

    @action
    async def find(self, name, allow_subclasses):
        found = await self.agent_exchange_client.discover(
            name, allow_subclasses=allow_subclasses)
        return sorted(str(aid.uid) for aid in found)
