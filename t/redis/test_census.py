"""Whether the leader looks for what others change: only while there are some."""

import asyncio
import contextlib
import json
import re
import time
import uuid

import redis
from academy.identifier import AgentId
from academy_nginx import MODULE, run, wait_until
from academy_redis import RedisServer
from academy.exchange import HttpExchangeFactory
from exchange import Client, message

# what nodes call themselves: who calls himself that is none of the others
NODE = "academy-nginx"

SETTING = "notify-keyspace-events"

TOLD = 3                    # seconds: three looks
WITHIN = 20


@contextlib.contextmanager
def scene(nginx):
    with (
        RedisServer() as server,
        redis.Redis(unix_socket_path=str(server.socket),
                    client_name=NODE) as db,
    ):
        db.ping()
        at = nginx(exchange=False, location="academy_exchange x;", workers=2,
                   http=f"academy_redis name=x server={server.server};",
                   main=f"load_module {MODULE};")
        yield at, server, db
        at.stop()


def other(server):
    return redis.Redis(unix_socket_path=str(server.socket))


def patterns(db):
    return db.execute_command("PUBSUB", "NUMPAT")


def comes(db, number, within=TOLD):
    deadline = time.monotonic() + within
    while patterns(db) != number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def events(db):
    return set(db.config_get(SETTING)[SETTING].replace("A", "g$lshzxetd"))


def led(db):
    while not db.exists("academy:leader"):
        time.sleep(0.05)


def made(server):
    """A mailbox as a Python exchange makes it; nobody is connected then."""
    agent = AgentId.new()
    with other(server) as db:
        db.set(f"active:{agent.uid}", "ACTIVE")
        db.set(f"agent:{agent.uid}", "m.Made,m.Base")
        db.set(f"owner:{agent.uid}", "_")
    return agent


def seconds_until_found(at, agent):
    async def play():
        async with await HttpExchangeFactory(
                at.url).create_user_client() as user:
            began = time.monotonic()
            while agent not in await user.discover("m.Base"):
                assert time.monotonic() - began < WITHIN
                await asyncio.sleep(0.05)
            return time.monotonic() - began
    return run(play())


def test_alone(nginx):
    """Nothing is told to anybody while all are nodes."""
    with scene(nginx) as (at, _, db):
        led(db)
        for _ in range(20 * TOLD):
            assert patterns(db) == 0
            time.sleep(0.05)
        assert events(db) == set("Kl")


def test_somebody_comes(nginx):
    with scene(nginx) as (at, server, db):
        led(db)
        with other(server) as client:
            client.ping()
            comes(db, 1)
        # others may come again: it stays so for a while
        time.sleep(TOLD)
        assert patterns(db) == 1
        assert events(db) == set("Klg$x")


def test_what_is_set_by_hand(nginx, figures):
    """Stays, and what is needed is there again at once; what others made
    meanwhile is found."""
    with scene(nginx) as (at, server, db):
        led(db)
        with other(server) as client:
            client.ping()
            comes(db, 1)
            for kept in "z", "", "Elh":
                wait_until(lambda: events(db) >= set("Klg$x"), 5,
                           "the events are not there")
                client.config_set(SETTING, "Kl" + kept)
                took = seconds_until_found(at, made(server))
                figures(f"found after {took:.2f} s")
                assert took < 10
                wait_until(lambda: events(db) == set("Klg$x" + kept), 5,
                           "the events are not there")


def test_may_not_set(nginx):
    """The log says it, once."""
    with RedisServer(**{
            SETTING: "Kl",
            "user": "default on nopass ~* &* +@all -config|set"}) as server:
        at = nginx(exchange=False, location="academy_exchange x;",
                   http=f"academy_redis name=x server={server.server};",
                   main=f"load_module {MODULE};")
        with other(server) as client:
            client.ping()
            comes(client, 1)
            wait_until(lambda: "does not tell what others change" in at.log(),
                       5, "nothing is said")
            time.sleep(TOLD)
        assert at.log().count("does not tell what others change") == 1
        at.stop()


def test_somebody_is_there(nginx):
    """And was, before anybody led."""
    with RedisServer() as server, other(server) as client:
        client.ping()
        at = nginx(exchange=False, location="academy_exchange x;",
                   http=f"academy_redis name=x server={server.server};",
                   main=f"load_module {MODULE};")
        comes(client, 1)
        at.stop()


def test_another_database(nginx):
    with scene(nginx) as (at, server, db):
        led(db)
        with redis.Redis(unix_socket_path=str(server.socket), db=1,
                         client_name=NODE) as client:
            client.ping()
            client.client_setname("app")
            for _ in range(20 * TOLD):
                assert patterns(db) == 0
                time.sleep(0.05)


def test_gone_to_this_database(nginx):
    """Without a new connection."""
    with scene(nginx) as (at, server, db):
        led(db)
        with redis.Redis(unix_socket_path=str(server.socket), db=1,
                         single_connection_client=True) as client:
            client.ping()
            time.sleep(TOLD)
            assert patterns(db) == 0
            client.execute_command("SELECT", 0)
            client.client_setname("mover")
            comes(db, 1, WITHIN)
        assert re.search('what they change is looked for: "mover" at ',
                         at.log())


def test_it_does_not_answer_for_a_moment(nginx):
    """Nobody is taken to be there for that."""
    with scene(nginx) as (at, server, db):
        led(db)
        time.sleep(TOLD)
        db.execute_command("ACL", "SETUSER", "default", "-info")
        time.sleep(2)
        db.execute_command("ACL", "SETUSER", "default", "+info")
        time.sleep(TOLD)
        assert at.log().count("is looked for") == 0
        assert patterns(db) == 0
        assert events(db) == set("Kl")


def test_few_lists(nginx, figures):
    """To list all connections is asked for where there are new ones, and now
    and then."""
    with scene(nginx) as (at, server, db):
        led(db)
        time.sleep(TOLD)

        def calls(name):
            return db.info("commandstats").get(
                f"cmdstat_{name}", {"calls": 0})["calls"]

        lists, asked = calls("client|list"), calls("info")
        time.sleep(10)
        lists = calls("client|list") - lists
        asked = calls("info") - asked
        figures(f"{lists} lists, {asked} questions in ten seconds")
        assert 1 <= lists <= 3 and asked >= 8


def test_requests_that_expire_go(nginx, figures):
    """Where nobody tells of them: they are not to pile up, whatever tags
    their client gives them."""
    with RedisServer() as server, redis.Redis(
            unix_socket_path=str(server.socket), client_name=NODE) as db:
        at = nginx(exchange=False, location="academy_exchange x;", workers=1,
                   http=f"""academy_redis name=x server={server.server};
                            academy_message_expiry 1s;""",
                   main=f"load_module {MODULE};")

        async def play():
            client = await Client.open(at.port)
            box, src = await client.new(), await client.new()

            async def ask(times):
                for n in range(times):
                    text = json.loads(message(box, n, src=src, kind="request"))
                    text["header"]["tag"] = str(uuid.uuid4())[:-1] + "f"
                    await client.request("PUT", "/message",
                                         {"message": json.dumps(text)})

            uid = json.loads(box)["uid"]
            await ask(300)
            first = db.zcard("academy:requests:" + uid)
            await asyncio.sleep(2.5)
            await ask(600)
            figures(f"{first} requests, then "
                    f"{db.zcard('academy:requests:' + uid)}")
            assert db.zcard("academy:requests:" + uid) <= 600

        run(play(), 60)
        at.stop()


def test_came_and_went(nginx, figures):
    """What was made between two looks is found all the same."""
    with scene(nginx) as (at, server, db):
        led(db)
        time.sleep(TOLD)
        assert patterns(db) == 0
        took = [seconds_until_found(at, made(server)) for _ in range(2)]
        figures("found after " + ", ".join(f"{s:.2f} s" for s in took))
        assert max(took) < 10


def test_came_and_reset(nginx, figures):
    """Also when what Redis counts was reset by the one before."""
    with scene(nginx) as (at, server, db):
        led(db)
        time.sleep(TOLD)
        with other(server) as client:
            client.config_resetstat()
        comes(db, 1)
        took = seconds_until_found(at, made(server))
        figures(f"found after {took:.2f} s")
        assert took < 10


def test_came_at_first(nginx, figures):
    """Others come and go while the first look sees one whom nobody knows."""
    with scene(nginx) as (at, server, db):
        agents = []
        while not db.exists("academy:leader"):
            with other(server) as client:
                client.ping()
        for _ in range(5):
            agents.append(made(server))
            time.sleep(0.2)
        took = [seconds_until_found(at, agent) for agent in agents]
        figures("found after " + ", ".join(f"{s:.2f} s" for s in took))
        assert max(took) < 10


def test_may_not_look(nginx):
    """Who may not see who is connected is never alone; the log says it once."""
    with RedisServer(
            user="default on nopass ~* &* +@all -client|list -info") as server:
        at = nginx(exchange=False, location="academy_exchange x;",
                   http=f"academy_redis name=x server={server.server};",
                   main=f"load_module {MODULE};")
        with redis.Redis(unix_socket_path=str(server.socket),
                         client_name=NODE) as db:
            comes(db, 1, WITHIN)
            db.delete("academy:leader")
            led(db)
            time.sleep(TOLD)
        for name in "client list", "info":
            assert at.log().count(f'refused "{name}"') == 1
        at.stop()
