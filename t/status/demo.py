"""An exchange with life in it, to be looked at: agents of a laboratory that
ask each other, an orchestrator that hands out work in waves, one that is too
slow for what it is asked, one that fell silent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import time
import uuid

from academy_nginx import Connection
from exchange import Client, message

BASES = "academy.agent.Agent"

# name, class, how many, requests a second to each, seconds to answer one
KINDS = [
    ("Planner", "lab.planning.Planner", 2, 6, 0.02),
    ("Simulator", "lab.simulation.Simulator", 12, 2.5, 0.12),
    ("Beamline", "lab.instruments.Beamline", 3, 3, 0.05),
    ("Robot arm", "lab.instruments.RobotArm", 4, 1.5, 0.25),
    ("Spectrometer", "lab.instruments.Spectrometer", 2, 2, 0.08),
    ("Surrogate model", "lab.learning.Surrogate", 4, 5, 0.03),
    ("Trainer", "lab.learning.Trainer", 2, 0.5, 0.9),
    ("Archive", "lab.data.Archive", 1, 9, 0.01),
    ("Literature", "lab.data.Literature", 2, 0.8, 0.5),
    ("Optimizer", "lab.planning.Optimizer", 1, 1.8, 0.42),
]
USERS = ["Ada", "Grace", "Rosalind", "Chien-Shiung", "Notebook 7"]


def named(name: str | None, role: str = "agent") -> str:
    return json.dumps({"uid": str(uuid.uuid4()), "name": name, "role": role})


class Demo:
    """`run()` lives until it is cancelled, or for so many seconds."""

    def __init__(self, port: int, pace: float = 1) -> None:
        self.port = port
        self.pace = pace
        self.random = random.Random(1)
        self.begun = time.monotonic()
        self.agents: list[tuple[str, float]] = []
        self.users: list[str] = []

    async def run(self, seconds: float = 3600) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
                await self.people(tasks)
                for name, kind, number, rate, takes in KINDS:
                    for n in range(number):
                        box = named(f"{name} {n + 1}" if number > 1 else name)
                        async with self.client() as client:
                            await client.create(box, f"{kind},{BASES}")
                        self.agents.append((box, rate))
                        tasks.create_task(self.agent(box, takes))
                        tasks.create_task(self.beats(box))
                await self.others()
                tasks.create_task(self.mistakes())
                for box, rate in self.agents:
                    tasks.create_task(self.asks(box, rate))

    @contextlib.asynccontextmanager
    async def client(self):
        client = await Client.open(self.port)
        try:
            yield client
        finally:
            client.close()

    async def people(self, tasks: asyncio.TaskGroup) -> None:
        for name in USERS:
            box = named(name, "user")
            async with self.client() as client:
                await client.create(box)
            self.users.append(box)
            tasks.create_task(self.reads(box))

    async def others(self) -> None:
        """Who is there and does nothing, and who is no more."""
        async with self.client() as client:
            for n in range(160):
                await client.create(named(f"Sensor {n + 1:03}"),
                                    f"lab.sensors.Sensor,{BASES}")
            silent = await client.create(
                named("Centrifuge"), f"lab.instruments.Centrifuge,{BASES}")
            await client.request("POST", "/mailbox/heartbeat",
                                 {"mailbox": silent})
            for _ in range(3):
                await client.put(silent, {"spin": 3000},
                                 src=self.users[0], kind="request")
            for n in range(6):
                gone = await client.create(named(f"Simulator {n + 13}"),
                                           f"lab.simulation.Simulator,{BASES}")
                await client.terminate(gone)

    async def beats(self, box: str) -> None:
        async with self.client() as client:
            while True:
                await client.request("POST", "/mailbox/heartbeat",
                                     {"mailbox": box})
                await asyncio.sleep(self.random.uniform(20, 30))

    async def agent(self, box: str, takes: float) -> None:
        """Takes a request and answers it, one after the other."""
        conn = await Connection.open(self.port)
        async with self.client() as client:
            while True:
                answer = await conn.request(
                    "GET", "/message", {"mailbox": box, "timeout": 30})
                if answer.status != 200:
                    continue
                request = json.loads(answer.json()["message"])["header"]
                await asyncio.sleep(
                    self.random.expovariate(1 / takes) / self.pace)
                response = json.loads(message(
                    json.dumps(request["src"]), "x" * self.size(), src=box))
                response["header"]["tag"] = request["tag"]
                await client.request("PUT", "/message",
                                     {"message": json.dumps(response)})

    async def reads(self, box: str) -> None:
        """A user: an event stream, again and again."""
        while True:
            conn = await Connection.open(self.port)
            stream = await conn.listen({"mailbox": box, "timeout": 30})
            while await stream.next():
                pass
            conn.close()

    async def asks(self, box: str, rate: float) -> None:
        """Requests at random, more of them in waves of some minutes."""
        phase = self.random.uniform(0, 1.5)
        async with self.client() as client:
            while True:
                passed = time.monotonic() - self.begun
                wave = 1 + 0.5 * math.sin(passed / 190 + phase) \
                    + (0.9 if passed % 1300 > 1080 else 0)
                await asyncio.sleep(self.random.expovariate(
                    rate * self.pace * max(wave, 0.1)))
                await client.try_put(
                    box, {"action": "run", "data": "x" * self.size()},
                    src=self.random.choice(self.users), kind="request")

    async def mistakes(self) -> None:
        """What has to be refused."""
        async with self.client() as client:
            while True:
                await asyncio.sleep(self.random.expovariate(0.2 * self.pace))
                await client.try_put(named(None), "who is there?")
                if self.random.random() < 0.2:
                    await client.request("PUT", "/message",
                                         {"message": "{}"})

    def size(self) -> int:
        return min(int(self.random.lognormvariate(6.5, 1.2)), 200000)
