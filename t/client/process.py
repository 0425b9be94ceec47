"""What runs in processes of its own: one agent, or one user.

    process.py agent SETTINGS CLASS    says its id when it runs, and stays
    process.py user SETTINGS IDS       plays the scene, says what came of it

SETTINGS are what HttpExchangeFactory takes, IDS the agents to play with, both
JSON. academy-py 1.0.0 and 0.5.0 run the same lines: the two are set beside
each other in test_versions.py.
"""

import asyncio
import json
import sys

import agents
from academy.exchange import HttpExchangeFactory
from academy.handle import Handle
from academy.identifier import AgentId
from academy.runtime import Runtime

LARGE = bytes(range(256)) * 1200        # 300 KB


def factory(settings):
    settings = dict(settings)
    interval = settings.pop("heartbeat_interval", None)
    if interval:
        from academy.exchange.client_config import ExchangeClientConfig
        settings["config"] = ExchangeClientConfig(heartbeat_interval=interval)
    return HttpExchangeFactory(**settings)


async def agent(settings, kind):
    cls = getattr(agents, kind)
    given = settings.pop("agent_id", None)
    exchange = factory(settings)
    if given:
        # In the place of one that is gone.
        from academy.exchange.cloud.client import HttpAgentRegistration
        await run(cls, exchange, HttpAgentRegistration(
            agent_id=AgentId(**given)))
        return
    async with await exchange.create_user_client(start_listener=False) as user:
        registration = await user.register_agent(cls)
    await run(cls, exchange, registration)


async def run(cls, exchange, registration):
    async with Runtime(
            cls(), exchange_factory=exchange,
            registration=registration) as runtime:
        print(registration.agent_id.model_dump_json(), flush=True)
        await runtime.wait_shutdown()


async def user(settings, ids):
    """Each thing that a user does, once; ends with the sleeper's end."""
    ids = {name: AgentId(**given) for name, given in ids.items()}
    async with await factory(settings).create_user_client() as client:
        adder = Handle(ids["adder"])
        sleeper = Handle(ids["sleeper"])
        one, two = ids["one"], ids["two"]
        seen = {}

        seen["add"] = await adder.add(2, 3)
        seen["many"] = await asyncio.gather(
            *(adder.add(n, n) for n in range(50))) == [
                2 * n for n in range(50)]
        seen["fail"] = await outcome(adder.fail("no"))
        seen["unknown action"] = await outcome(adder.nothing())
        seen["large argument"] = await adder.length(LARGE)
        seen["large answer"] = await adder.echo(LARGE) == LARGE
        seen["text"] = await adder.echo("\u0000 \u00e9 \U0001f40d \\ \" \n")
        seen["ring"] = [
            str(one.uid) == uid for uid in await Handle(one).play(one, two, 4)]
        seen["agent to agent"] = await Handle(two).ask(ids["adder"], 4, 5)
        seen["discover"] = ids["adder"] in await client.discover(agents.Adder)
        seen["ping"] = await adder.ping(timeout=10) > 0

        waiting = asyncio.create_task(outcome(sleeper.sleep()))
        # The ping is behind the request: when it is back, the request is in.
        await sleeper.ping(timeout=10)
        seen["waits"] = not waiting.done()
        await client.terminate(ids["sleeper"])
        seen["terminated under way"] = await waiting
        seen["terminated before"] = await outcome(sleeper.sleep())
        seen["status after"] = (await client.status(ids["sleeper"])).value
        seen["status of none"] = (await client.status(AgentId.new())).value
    print(json.dumps(seen), flush=True)


async def outcome(call):
    try:
        return repr(await call)
    except Exception as e:
        return type(e).__name__


# What the user sees on every exchange, with every version of the agents. Read
# off the Python reference.
SCENE = {
    "add": 5,
    "many": True,
    "fail": "ValueError",
    "unknown action": "AttributeError",
    "large argument": len(LARGE),
    "large answer": True,
    "text": "\u0000 \u00e9 \U0001f40d \\ \" \n",
    "ring": [True, False, True, False, True],
    "agent to agent": 9,
    "discover": True,
    "ping": True,
    "waits": True,
    "terminated under way": "AgentTerminatedError",
    "terminated before": "AgentTerminatedError",
    "status after": "TERMINATED",
    "status of none": "MISSING",
}


if __name__ == "__main__":
    what, settings, argument = sys.argv[1:]
    settings = json.loads(settings)
    if what == "agent":
        asyncio.run(agent(settings, argument))
    else:
        asyncio.run(asyncio.wait_for(user(settings, json.loads(argument)), 60))
