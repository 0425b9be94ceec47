"""What Redis tells of its keys, and where it does not."""

import asyncio
import time

import pytest
import redis
from academy_nginx import MODULE, run, wait_until
from academy_redis import RedisServer
from exchange import Client
from scripts import new

SETTING = "notify-keyspace-events"


def exchange(nginx, server, more=""):
    return nginx(exchange=False, location="academy_exchange x;",
                 http=f"academy_redis name=x server={server.server}{more};",
                 main=f"load_module {MODULE};")


def waits(at):
    """Seconds until a message comes to who waits for it on another
    connection."""
    async def test():
        one = await Client.open(at.port)
        other = await Client.open(at.port)
        box = await one.new()
        one.send_get(box, 20)
        await asyncio.sleep(1.5)
        began = time.monotonic()
        await other.put(box, 1)
        assert (await one.answer()).status == 200
        return time.monotonic() - began

    return run(test())


@pytest.mark.parametrize("before", ["", "KEA", "Ez", "AK"])
def test_what_is_missing_is_set(nginx, figures, before):
    with RedisServer(**{SETTING: before}) as server:
        at = exchange(nginx, server)
        took = waits(at)
        with redis.Redis(unix_socket_path=str(server.socket),
                         decode_responses=True) as client:
            flags = client.config_get(SETTING)[SETTING]
        figures(f"{before!r} became {flags!r}; woken after "
                f"{1000 * took:.1f} ms")
        # Who asks for the setting is somebody else, and that may be seen.
        flags = flags.replace("A", "g$lshzxetd")
        assert set("Kl") <= set(flags)
        assert set(before.replace("A", "g$lshzxetd")) <= set(flags)
        assert took < 0.5
        at.stop()


@pytest.mark.parametrize("flags, most", [("AK", 0.5), ("", 1.5)])
def test_what_may_not_be_set(nginx, figures, flags, most):
    """Somebody else has set it, or else the log says what to do, once, and
    messages are looked for now and then."""
    with RedisServer(**{SETTING: flags,
                        "user": "default on nopass ~* &* +@all -config"}
                     ) as server:
        at = exchange(nginx, server)
        took = waits(at)
        said = at.log().count("tells nothing of what happens to its keys")
        figures(f"{flags!r}: told {said} times, woken after "
                f"{1000 * took:.1f} ms")
        assert took < most
        assert said == (0 if flags else 1)
        at.stop()


@pytest.mark.parametrize("acl", ["-config", "-config|set"])
def test_who_cannot_see_is_told_so(nginx, acl):
    """Events come, but not those of what others change: the log says it once,
    and when somebody has set it, what they changed meanwhile is found."""
    with RedisServer(**{SETTING: "Kl",
                        "user": f"default on nopass ~* &* +@all {acl}",
                        }) as server:
        at = exchange(nginx, server)
        said = "does not tell what others change"
        with redis.Redis(unix_socket_path=str(server.socket)) as client:
            client.ping()
            wait_until(lambda: said in at.log(), 20, "nothing is said")
            uid = new()
            client.set(f"active:{uid}", "ACTIVE")
            client.set(f"agent:{uid}", "m.Made,m.Base")
            client.set(f"owner:{uid}", "_")
            time.sleep(1)
            client.execute_command("ACL", "SETUSER", "default", "+config")
            client.config_set(SETTING, "Klg$x")
            client.execute_command("ACL", "SETUSER", "default", acl)
            wait_until(lambda: client.zscore("academy:all:active:agent", uid)
                       is not None, 15, "what was made is not found")
        assert at.log().count(said) == 1
        at.stop()


@pytest.mark.parametrize("n", [2, 24])
def test_all_who_ask_are_told(nginx, figures, n):
    """That Redis is away, those also who wait behind another one's look."""
    with RedisServer() as server:
        at = exchange(nginx, server, " timeout=1s")

        async def test():
            one = await Client.open(at.port)
            box = await one.new()
            clients = [await Client.open(at.port) for _ in range(n)]
            await asyncio.to_thread(server.kill)
            began = time.monotonic()
            answers = await asyncio.gather(
                *(client.get(box, 2) for client in clients))
            took = time.monotonic() - began
            figures(f"{n} told after {took:.2f} s: "
                    f"{sorted(set(a.status for a in answers))}")
            assert {answer.status for answer in answers} == {503}
            assert took < 4

        run(test(), 30)
        at.stop()
